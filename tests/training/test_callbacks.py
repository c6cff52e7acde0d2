"""The callbacks by themselves, on a model that computes nothing."""

import csv
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from ssd300.datasets.errors import TrainingError
from ssd300.training import callbacks
from ssd300.training.callbacks import FIELDS, Recorder, WarnWaiting, WarnWithoutMatches
from ssd300.training.checkpointing import SaveCheckpoints, checkpoint_interval
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.step_means import Means
from ssd300.training.stopping import Stop, TrainingStopped

MEANS = {"loss": 3.0, "confidence": 2.0, "localization": 1.0, "l2": 0.5, "matches": 7.0, "waiting": 0.1}


class Row:
    """The means of a model whose steps are all alike."""

    def __init__(self):
        self.steps, self.first_broken, self.resets = 0, None, 0

    def read(self):
        return Means(dict(MEANS), self.steps, self.first_broken)

    def reset(self):
        self.steps, self.resets = 0, self.resets + 1


class Model:
    """What the callbacks use of a Keras model."""

    def __init__(self):
        self.stop_training, self.row, self.variables = False, Row(), []
        self.optimizer = SimpleNamespace(learning_rate=0.25)

    def save_weights(self, path):
        path.write_text("weights")


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    (run.path / "checkpoints").mkdir(parents=True)
    return run


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: now.seconds)
    return now


def attached(callback, model):
    callback.set_model(model)
    return callback


def steps_of(run):
    return [step for step, _ in run.checkpoints()]


def rows_of(run):
    with run.history_path.open(newline="") as file:
        return list(csv.DictReader(file))


def saver(run, model, *, first_step=0, steps_per_epoch=1, stop=None, **settings):
    options = {"first_step": first_step, "steps_per_epoch": steps_per_epoch, "stop": stop or Stop()}
    return attached(SaveCheckpoints(run, TrainSettings("d", **{"keep_checkpoints": 99, **settings}), **options), model)


def make_steps(callback, until):
    for step in range(callback.step, until):
        callback.on_train_batch_end(step - callback._first_step)


def test_checkpoints_come_at_multiples_and_at_the_end(model, run):
    callback = saver(run, model, checkpoint_steps=3, steps=7)
    make_steps(callback, 7)
    assert steps_of(run) == [3, 6, 7]


def test_a_resumed_run_saves_at_the_same_steps(model, run):
    callback = saver(run, model, first_step=4, checkpoint_steps=3, steps=8)
    make_steps(callback, 8)
    assert steps_of(run) == [6, 8]


@pytest.mark.parametrize(
    ("steps_per_epoch", "interval"), [(1, 100), (99, 100), (150, 150), (2_000, 2_000), (9_999, 2_000)]
)
def test_without_a_setting_an_epoch_lies_between_checkpoints_within_limits(steps_per_epoch, interval):
    assert checkpoint_interval(TrainSettings("d"), steps_per_epoch) == interval
    assert checkpoint_interval(TrainSettings("d", checkpoint_steps=7), steps_per_epoch) == 7


def test_executions_of_several_steps_save_at_the_next_end(model, run):
    callback = saver(run, model, checkpoint_steps=6, steps=12, steps_per_execution=2)
    for last in (1, 3, 5, 7):  # index of an execution's last batch
        callback.on_train_batch_end(last)
    assert steps_of(run) == [6]


def test_the_newest_and_the_multiples_are_kept(model, run):
    callback = saver(run, model, checkpoint_steps=1, steps=11, keep_checkpoints=2, keep_every=4)
    make_steps(callback, 11)
    assert steps_of(run) == [4, 8, 10, 11]


def test_a_stop_for_early_stopping_saves(model, run):
    callback = saver(run, model, steps=500)
    make_steps(callback, 2)
    model.stop_training = True
    make_steps(callback, 3)
    assert steps_of(run) == [3]


def test_a_signal_stops_after_its_step_and_the_step_is_saved_once(model, run):
    stop = Stop()
    callback = saver(run, model, stop=stop, steps=500)
    make_steps(callback, 5)
    stop.receive(signal.SIGTERM, None)
    with pytest.raises(TrainingStopped, match="stopped by SIGTERM"):
        make_steps(callback, 6)
    callback.save(6)
    _, path = run.newest_checkpoint()
    assert steps_of(run) == [6]
    path.write_text("once")
    callback.save(6)
    assert path.read_text() == "once"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(model, run, value):
    callback = saver(run, model, checkpoint_steps=2, steps=9)
    make_steps(callback, 2)
    model.variables = [keras.Variable([1.0], name="fine"), keras.Variable([1.0, value], name="broken")]
    with pytest.raises(TrainingError, match=r"weights became NaN or infinite by step 4, in broken; they are not saved"):
        make_steps(callback, 4)
    assert steps_of(run) == [2]


def test_a_hundred_steps_without_a_match_are_said_once(caplog):
    listener = WarnWithoutMatches()
    for matches in [0.0] * 9 + [0.5] + [0.0] * 25:
        listener.on_row({**MEANS, "matches": matches})
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "no default box matched an object for 100 steps: no"
    ]


@pytest.mark.parametrize(("share", "said"), [(0.3, 0), (0.35, 1)])
def test_waiting_for_data_over_a_third_of_the_time_is_said_once(caplog, share, said):
    listener = WarnWaiting()
    for _ in range(30):
        listener.on_row({**MEANS, "waiting": share})
    assert len(caplog.records) == said
    if said:
        assert caplog.records[0].getMessage().startswith("35% of the last hundred steps' time was spent waiting")


@pytest.mark.parametrize(
    ("damage", "kept", "message"),
    [
        (lambda text: text[: text.rindex(",") - 20], [10], "1 rows are damaged"),
        (lambda text: "", [], ""),
        (lambda text: "\0" + text.replace("20,", "2x,"), [10], "1 rows are damaged"),
        (lambda text: text.replace("10,", "\udcff\x00,", 1), [20], "1 rows are damaged"),
    ],
)
def test_damaged_rows_of_a_history_are_left_out(model, run, clock, caplog, damage, kept, message):
    recorder = recorder_of(run, model, 20)
    recorder.on_train_begin()
    record(recorder, model, range(1, 21), clock)
    recorder.close()
    text = run.history_path.read_text()
    run.history_path.write_bytes(damage(text).encode("utf-8", "surrogateescape"))
    again = recorder_of(run, model, 30, first_step=20)
    again.on_train_begin()
    again.close()
    assert [int(row["step"]) for row in rows_of(run)] == kept
    assert message in caplog.text
    assert not message or str(run.history_path) in caplog.text


def recorder_of(run, model, steps, *, first_step=0, steps_per_epoch=6):
    settings = TrainSettings("d", steps=steps, batch_size=4)
    return attached(Recorder(run, settings, first_step=first_step, steps_per_epoch=steps_per_epoch), model)


def record(recorder, model, steps, clock, seconds=0.5):
    for step in steps:
        clock.seconds += seconds
        model.row.steps += 1
        recorder.on_train_batch_end(step - 1 - recorder._first_step)


def test_a_row_is_written_every_ten_steps_and_at_the_last(model, run, clock):
    recorder = recorder_of(run, model, 13, steps_per_epoch=6)
    recorder.on_train_begin()
    record(recorder, model, range(1, 14), clock)
    recorder.on_train_end()
    rows = rows_of(run)
    assert list(rows[0]) == [*FIELDS, "val_loss", "val_confidence", "val_localization", "val_mAP"]
    assert [(row["step"], row["epoch"]) for row in rows] == [("10", "1.667"), ("13", "2.167")]
    assert [row["images_per_second"] for row in rows] == ["8.0", "8.0"]  # 4 images in half a second
    expected = {**MEANS, "waiting": 0.2}  # a share of the time: .1 of .5 seconds
    assert {name: float(rows[0][name]) for name in MEANS} == expected
    assert rows[0]["learning_rate"] == "0.25"
    assert model.row.resets == 3  # at the start, and so that each row is the mean of its own steps


def test_the_rows_of_a_resumed_run_end_at_the_same_steps(model, run, clock):
    recorder = recorder_of(run, model, 25, first_step=13)
    recorder.on_train_begin()
    record(recorder, model, range(14, 26), clock)
    recorder.close()
    assert [row["step"] for row in rows_of(run)] == ["20", "25"]


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(model, run, clock):
    recorder = recorder_of(run, model, 30)
    recorder.on_train_begin()
    record(recorder, model, range(1, 20), clock)
    model.row.first_broken = 7
    with pytest.raises(TrainingError, match="the loss became NaN or infinite at step 17"):
        record(recorder, model, range(20, 21), clock)
    recorder.close()
    assert [row["step"] for row in rows_of(run)] == ["10"]


def test_waiting_that_is_not_known_is_left_out(model, run, clock):
    recorder = recorder_of(run, model, 10)
    recorder._waiting_is_known = False
    recorder.on_train_begin()
    record(recorder, model, range(1, 11), clock)
    recorder.close()
    assert rows_of(run)[0]["waiting"] == ""


def test_validation_is_a_row_of_its_own_whose_time_does_not_count(model, run, clock):
    recorder = recorder_of(run, model, 10, steps_per_epoch=5)
    recorder.on_train_begin()
    record(recorder, model, range(1, 6), clock)
    recorder.on_test_begin()
    clock.seconds += 1000
    recorder.write_validation({"val_loss": 4.0, "val_confidence": 3.0, "val_localization": 1.0, "val_l2": 9.0})
    recorder.on_test_end()
    record(recorder, model, range(6, 11), clock)
    recorder.on_train_end()
    validation, training = rows_of(run)
    assert (validation["step"], validation["val_loss"], validation["loss"]) == ("5", "4.0", "")
    assert (training["step"], training["val_loss"], training["images_per_second"]) == ("10", "", "8.0")


def test_a_resumed_run_keeps_the_rows_up_to_its_checkpoint(model, run, clock):
    first = recorder_of(run, model, 30)
    first.on_train_begin()
    record(first, model, range(1, 31), clock)
    first.close()
    second = recorder_of(run, model, 30, first_step=20)
    second.on_train_begin()
    record(second, model, range(21, 31), clock, seconds=2.0)
    second.close()
    assert [(row["step"], row["images_per_second"]) for row in rows_of(run)] == [
        ("10", "8.0"), ("20", "8.0"), ("30", "2.0"),
    ]  # fmt: skip


def test_closing_twice_does_no_harm(model, run, clock):
    recorder = recorder_of(run, model, 30)
    recorder.close()
    recorder.on_train_begin()
    recorder.close()
    recorder.close()
    assert rows_of(run) == []
