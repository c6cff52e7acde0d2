"""Runs that are killed or stopped go on, by the same command, as if nothing had been."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from ssd300.datasets.errors import InputError
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION
from ssd300.training.cli.main import main
from ssd300.training.fit import resume, train
from ssd300.training.optimizer import make_optimizer
from ssd300.training.replaying import replay
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.stopping import Stop, TrainingStopped, catching_signals

# Kills itself right after a step, before or after what the other callbacks do at it.
KILLED = """
import os, signal, sys
from ssd300.training.checkpointing import SaveCheckpoints
from test_stopping import train_in
at, save_first = int(sys.argv[1]), sys.argv[2] == "after"
original = SaveCheckpoints.on_step
def on_step(self, previous):
    if save_first:
        original(self, previous)
    if self.step == at:
        os.kill(os.getpid(), signal.SIGKILL)
    if not save_first:
        original(self, previous)
SaveCheckpoints.on_step = on_step
train_in(*sys.argv[3:])
"""
STEPS = 14


def settings_for(dataset, **changes):
    small = {"width": 0.02, "weights": "none", "batch_size": 8, "augmentation": PAPER_AUGMENTATION, "seed": 3}
    # An epoch has 3 steps; the mAP of such a run stays at nothing, so it would stop after 15.
    best = {"validation_split": "test", "keep_best": True, "patience": 5, "ema": 0.5, "optimizer": "adam"}
    return TrainSettings(dataset, **{**small, **best, "steps": STEPS, "checkpoint_steps": 4, **changes})


def train_in(dataset, output):
    train(settings_for(dataset), output)


def files_of(run):
    """The bytes that count: weights, optimizer and best weights, without HDF5's times."""
    model, _, step = run.load_model()
    return step, [array.tobytes() for array in model.get_weights()]


def rows_of(run):
    """The history without what the clock says."""
    lines = run.history_path.read_text().splitlines()
    clock = [lines[0].split(",").index(name) for name in ("images_per_second", "waiting")]
    return [[cell for i, cell in enumerate(line.split(",")) if i not in clock] for line in lines]


@pytest.fixture(scope="module")
def whole(shapes_dataset, tmp_path_factory):
    return train(settings_for(shapes_dataset), tmp_path_factory.mktemp("whole") / "run")


def check_killed_run(dataset, whole, folder, kills):
    output = folder / "run"
    for at, when in kills:
        command = [sys.executable, "-c", KILLED, str(at), when, dataset, str(output)]
        done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parent, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    train(settings_for(dataset), output)
    run = RunDirectory(output)
    assert [step for step, _ in run.checkpoints()] == [step for step, _ in whole.checkpoints()]
    newest = [
        {**dict(zip(("step", "weights"), files_of(one), strict=True)), "best": one.read_best()} for one in (run, whole)
    ]
    assert newest[0] == newest[1]
    digests = []
    for one in (run, whole):
        again = replay(one)
        assert again.is_same
        digests.append(again.found)
    assert digests[0] == digests[1]
    return run


def test_a_killed_run_ends_as_the_whole_one_bit_for_bit(shapes_dataset, whole, tmp_path):
    check_killed_run(shapes_dataset, whole, tmp_path, [(2, "before"), (9, "after")])


@pytest.mark.slow
def test_ten_kills_change_nothing(shapes_dataset, whole, tmp_path):
    chosen = random.Random(0)
    steps = sorted(chosen.sample(range(1, STEPS), 10))
    # A later kill must come after the checkpoint that the run resumes from, or it would never be reached again.
    check_killed_run(shapes_dataset, whole, tmp_path, [(step, chosen.choice(["before", "after"])) for step in steps])


def command_line(dataset, output, *more):
    small = ("--width", ".02", "--weights", "none", "--batch-size", "4", "--augmentation", "none", "--steps", "100000")
    return ["train", dataset, "--output", str(output), *small, *more]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_ends_and_the_same_command_goes_on(shapes_dataset, tmp_path, number):
    run = RunDirectory(tmp_path / "run")
    command = [sys.executable, "-m", "ssd300.training.cli.main", *command_line(shapes_dataset, run.path)]
    last = 0
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:  # until it has trained further than before
            rows = run.history_path.read_text().splitlines() if run.history_path.exists() else []
            if len(rows) > 1 and int(rows[-1].split(",")[0]) > last:
                break
            time.sleep(0.2)
        begin = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - begin < 30
        assert process.returncode == 128 + number
        step, _ = run.newest_checkpoint()
        assert step > last
        line = f"ssd300 train: stopped by {number.name} at step {step:,}, with a checkpoint; the same command resumes"
        assert line in said.splitlines()[-1]
        last = step


def test_a_stop_during_the_validation_saves_the_step_and_the_validation_is_made_up_for(
    shapes_dataset, whole, tmp_path, monkeypatch
):
    def results(*_, **__):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the validation went on")

    with monkeypatch.context() as patched:
        patched.setattr("ssd300.training.validation.class_results", results)
        with pytest.raises(TrainingStopped, match="stopped by SIGTERM at step 3, with a checkpoint"):
            train(settings_for(shapes_dataset), tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert run.newest_checkpoint()[0] == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    train(settings_for(shapes_dataset), run.path)
    assert files_of(run) == files_of(whole)
    assert [row[0] for row in rows_of(run)] == [row[0] for row in rows_of(whole)]
    assert run.read_best() == whole.read_best()


def test_a_second_signal_is_not_caught():
    code = """
import signal
from ssd300.training.stopping import catching_signals
with catching_signals():
    signal.raise_signal(15)
    print("caught", flush=True)
    signal.raise_signal(15)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "caught\n")


def test_without_a_signal_nothing_stops():
    with catching_signals() as stop:
        stop.check()
        with stop.at_once():
            pass
    assert isinstance(stop, Stop)
    assert stop.number is None


def test_the_same_command_on_a_finished_run_trains_no_further(whole, shapes_dataset):
    before = rows_of(whole)
    train(settings_for(shapes_dataset), whole.path)
    assert rows_of(whole) == before


def test_another_command_is_refused_with_what_differs(whole, shapes_dataset):
    with pytest.raises(InputError, match=r"already holds a run with other settings \(seed, ema\); resume it, or"):
        train(settings_for(shapes_dataset, seed=4, ema=None), whole.path)


def rate_at(settings, step):
    rate = make_optimizer(settings)._learning_rate
    return float(rate(step) if callable(rate) else rate)


def test_the_schedule_keeps_its_length_unless_it_is_extended(shapes_dataset, tmp_path, capsys):
    plain = {"keep_best": False, "patience": None, "ema": None, "optimizer": "sgd", "validation_split": None}
    run = train(settings_for(shapes_dataset, **plain, steps=6), tmp_path / "run")
    assert rate_at(run.read_config().settings, 5) == pytest.approx(1e-5)
    resume(run.path, steps=8)
    assert (
        "the schedule has ended after its 6 steps: the learning rate stays at its last value" in capsys.readouterr().err
    )
    stored = run.read_config().settings
    assert (stored.steps, stored.schedule_steps) == (8, 6)
    assert rate_at(stored, 7) == pytest.approx(1e-5)
    resume(run.path, steps=12, extend_schedule=True)
    assert "the schedule of 6 steps is stretched to 12" in capsys.readouterr().err
    assert rate_at(run.read_config().settings, 9) == pytest.approx(1e-4)


def test_a_cosine_that_has_ended_is_said_to_learn_nothing(shapes_dataset, tmp_path):
    plain = {"keep_best": False, "patience": None, "validation_split": None, "schedule": "cosine"}
    run = train(settings_for(shapes_dataset, **plain, steps=1), tmp_path / "run")
    with pytest.raises(InputError, match="cosine has ended at a learning rate of zero after its 1 steps, so 2 steps"):
        resume(run.path, steps=2)
    resume(run.path, steps=2, extend_schedule=True)
    assert run.newest_checkpoint()[0] == 2


def test_verify_says_what_came_out(whole, capsys):
    assert main(["verify", str(whole.path)]) == 0
    assert (
        "steps 13 to 14 came out the same as in the run's checkpoint of step 14, bit for bit" in capsys.readouterr().out
    )
    assert main(["verify", str(whole.path), "--from", "8", "--steps", "2"]) == 0
    assert "steps 9 to 10 came out the same as in a second replay" in capsys.readouterr().out
    assert main(["verify", str(whole.path), "--from", "7"]) == 2
    assert "has no checkpoint of step 7, but of 8, 12, 14" in capsys.readouterr().err


def test_verify_finds_a_weight_that_was_changed(shapes_dataset, tmp_path, capsys):
    plain = {"keep_best": False, "patience": None, "validation_split": None, "ema": None}
    run = train(settings_for(shapes_dataset, **plain, steps=4, checkpoint_steps=2), tmp_path / "run")
    path = run.newest_checkpoint()[1]
    path.with_name(f"{path.name}.sha256").unlink()
    with h5py.File(path, "r+") as file:
        kernels = []
        file["layers"].visititems(lambda _, item: kernels.append(item) if getattr(item, "ndim", 0) == 4 else None)
        kernels[0][0, 0, 0, 0] = np.nextafter(kernels[0][0, 0, 0, 0], np.float32(np.inf))
    assert main(["verify", str(run.path)]) == 1
    assert "steps 3 to 4 came out otherwise than in the run's checkpoint of step 4" in capsys.readouterr().err
