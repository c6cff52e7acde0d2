"""Several workers, here two processes on this machine, make the updates of one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.model.spec import PAPER
from ssd300.training.distribution import is_chief, is_multi_worker, refuse_workers
from ssd300.training.fit import train
from ssd300.training.reading.reader import BatchShare, training_batches
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.workers import _lost_worker

SMALL = ("--width", ".02", "--weights", "none", "--batch-size", "4", "--seed", "3")
RECIPE = (
    *("--learning-rate", "1e-4", "--schedule", "constant", "--clip-norm", "3", "--ema", ".5"),
    *("--checkpoint-steps", "8", "--validation-split", "test", "--keep-best"),
)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_workers(dataset, output, *options):
    """Two processes of ``ssd300 train`` that share each batch."""
    train = ["-m", "ssd300.training.cli.main", "train", dataset, "--output", str(output)]
    return start_two([*train, *SMALL, *options])


def start_two(arguments):
    """Two Python processes with these arguments that ``TF_CONFIG`` makes the workers of a cluster."""
    addresses, processes = [f"127.0.0.1:{port}" for port in free_ports(2)], []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen([sys.executable, *arguments], env=environment, text=True, **pipes))
    return processes


def finish(processes, code=0, seconds=240):
    outputs = [process.communicate(timeout=seconds) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == code, errors
    return outputs


def wait_for_row(run, seconds=200):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if run.history_path.exists() and len(run.history_path.read_text().splitlines()) > 1:
            return
        time.sleep(0.2)
    pytest.fail("no row of the history was written")


def losses_of(run):
    return [float(line.split(",")[2]) for line in run.history_path.read_text().splitlines()[1:] if line.split(",")[2]]


def test_two_workers_make_the_updates_of_one_device(shapes_dataset, tmp_path):
    settings = TrainSettings(
        shapes_dataset, width=0.02, weights="none", batch_size=4, seed=3, learning_rate=1e-4, schedule="constant",
        clip_norm=3.0, ema=0.5, checkpoint_steps=8, steps=20, validation_split="test", keep_best=True,
    )  # fmt: skip
    run = RunDirectory(tmp_path / "two")
    said = finish(start_workers(shapes_dataset, run.path, *RECIPE, "--steps", "20"))
    assert f"trained to step 20; newest checkpoint {run.path}" in said[0][0]
    assert said[1][0] == ""  # the chief speaks
    one = train(settings, tmp_path / "one")
    np.testing.assert_allclose(losses_of(one), losses_of(run), rtol=1e-3)
    for alone, together in zip(one.load_model()[0].get_weights(), run.load_model()[0].get_weights(), strict=True):
        np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_workers_resume_bit_for_bit(shapes_dataset, tmp_path):
    whole, cut = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "cut")
    finish(start_workers(shapes_dataset, whole.path, *RECIPE, "--steps", "20"))
    finish(start_workers(shapes_dataset, cut.path, *RECIPE, "--steps", "8"))
    finish(start_workers(shapes_dataset, cut.path, "--resume", "--steps", "20"))
    for one, other in zip(whole.load_model()[0].get_weights(), cut.load_model()[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_signal_to_one_worker_stops_both_with_a_checkpoint(shapes_dataset, tmp_path):
    run = RunDirectory(tmp_path / "run")
    processes = start_workers(shapes_dataset, run.path, "--steps", "100000")
    wait_for_row(run)
    processes[1].send_signal(signal.SIGTERM)
    finish(processes, code=128 + signal.SIGTERM)
    assert run.newest_checkpoint()[0] > 0


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_job_with_its_name(shapes_dataset, tmp_path):
    run = RunDirectory(tmp_path / "run")
    processes = start_workers(shapes_dataset, run.path, "--steps", "100000")
    wait_for_row(run)
    processes[1].kill()
    _, errors = processes[0].communicate(timeout=240)
    assert processes[0].returncode == 1, errors
    assert "ssd300 train: worker 1 (127.0.0.1:" in errors.splitlines()[-1]


FIT = """
import sys
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import keras
with strategy.scope():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
data = tf.data.Dataset.from_tensors((tf.ones([4, 2]), tf.ones([4, 1]))).repeat()
model.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
"""


@pytest.mark.slow
def test_fit_still_fails_on_several_workers():
    """Once Keras has mended its issue 20585, `ssd300.training.workers` is no longer needed."""
    processes = start_two(["-c", FIT])
    outputs = [process.communicate(timeout=240)[1] for process in processes]
    assert any(process.returncode for process in processes), "fit works: use it for several workers too"
    assert any("PerReplica" in output for output in outputs), outputs


def test_a_lost_worker_is_named_with_its_address(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 0}}')
    own = "device_/job:worker/replica:0/task:0/device:CPU:0}} Collective ops is aborted by: "
    assert _lost_worker(f"{own}remote target /job:worker/replica:0/task:1 while calling") == "worker 1 (b:2)"
    assert _lost_worker(f"{own}connection reset") == "a worker"


def test_shares_of_batches_are_the_batches(shapes_dataset):
    dataset = EncodedDataset.open(shapes_dataset)

    def read(**options):
        batches = training_batches(dataset, "train", spec=PAPER, batch_size=8, seed=5, first_step=2, **options)
        return [tf.concat([pixels, pixels[:0]], axis=0).numpy() for pixels, _ in batches.take(options.get("take", 4))]

    whole = read()
    parts = {(worker, pieces): read(share=BatchShare(worker, 2, pieces)) for worker in (0, 1) for pieces in (1, 2)}
    for number, batch in enumerate(whole):
        np.testing.assert_array_equal(batch, np.concatenate([parts[0, 1][number], parts[1, 1][number]]))
    for number, batch in enumerate(whole[:2]):
        pieces = [parts[worker, 2][2 * number + piece] for worker in (0, 1) for piece in (0, 1)]
        np.testing.assert_array_equal(batch, np.concatenate(pieces))


@pytest.mark.parametrize(
    ("config", "several", "chief"),
    [
        (None, False, True),
        ("", False, True),
        ('{"cluster": {"worker": ["a:1"]}}', False, True),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}', True, True),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', True, False),
    ],
)
def test_several_workers_are_named_by_tf_config(monkeypatch, config, several, chief):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    assert (is_multi_worker(), is_chief()) == (several, chief)


def test_what_is_for_one_process_is_refused(monkeypatch):
    refuse_workers("a replay")
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}')
    with pytest.raises(InputError, match="a replay is for one process, but TF_CONFIG names several workers"):
        refuse_workers("a replay")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--validation-split", "test"), "a validation split without keep_best is for one process"),
        (("--steps-per-execution", "2"), "steps_per_execution is for one process"),
        (("--batch-size", "3"), "the batch size must be a multiple of the 2 devices that share a batch, got 3"),
    ],
)
def test_options_that_several_workers_cannot_use_are_refused(shapes_dataset, tmp_path, options, message):
    outputs = finish(start_workers(shapes_dataset, tmp_path / "run", "--steps", "2", *options), code=2)
    assert all(message in errors.splitlines()[-1] for _, errors in outputs)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("worker 1", "TF_CONFIG is not the JSON object"),
        ("[1]", "TF_CONFIG is not the JSON object"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}}', "a cluster of workers alone, .* got ps, worker"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 2}}', "index 2 of 2"),
    ],
)
def test_a_tf_config_that_cannot_be_used_is_refused(monkeypatch, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=message):
        is_multi_worker()
