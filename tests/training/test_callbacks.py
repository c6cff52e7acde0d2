"""The callbacks by themselves, on a model that only counts its updates."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from ssd300.datasets.errors import TrainingError
from ssd300.training import callbacks
from ssd300.training.callbacks import FIELDS, Recorder, SaveCheckpoints, StopAtStep, StopOnNaN, WarnWithoutMatches
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings

LOGS = {"loss": 3.0, "confidence": 2.0, "localization": 1.0, "l2": 0.5, "matches": 7.0}


class Model:
    """What the callbacks use of a Keras model."""

    def __init__(self):
        self.stop_training, self.resets, self.step = False, 0, 0
        self.optimizer = SimpleNamespace(iterations=SimpleNamespace(numpy=lambda: self.step), learning_rate=0.25)

    def reset_metrics(self):
        self.resets += 1

    def save_weights(self, path):
        path.write_text(f"{self.step}")


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


@pytest.mark.parametrize(("step", "stops"), [(0, False), (4, False), (5, True), (6, True)])
def test_training_stops_at_its_step(model, step, stops):
    model.step = step
    attached(StopAtStep(5), model).on_train_batch_end(0)
    assert model.stop_training == stops


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(model, value):
    model.step = 17
    with pytest.raises(TrainingError, match="confidence became NaN or infinite at step 17"):
        attached(StopOnNaN(), model).on_train_batch_end(0, {**LOGS, "confidence": value})


def test_finite_losses_and_no_losses_do_not_stop(model):
    attached(StopOnNaN(), model).on_train_batch_end(0, LOGS)
    attached(StopOnNaN(), model).on_train_batch_end(0)


def test_checkpoints_come_every_so_many_steps_and_once_at_the_end(model, run):
    callback = attached(SaveCheckpoints(run, TrainSettings("d", checkpoint_steps=3, keep_checkpoints=9)), model)
    for model.step in range(1, 8):
        callback.on_train_batch_end(0)
        if model.step == 4:
            callback.on_epoch_end(0)
    callback.on_train_end()
    assert steps_of(run) == [3, 6, 7]


def test_without_a_number_of_steps_checkpoints_come_once_per_epoch_but_not_too_often(model, run):
    callback = attached(SaveCheckpoints(run, TrainSettings("d", keep_checkpoints=2), first_step=10), model)
    for model.step in (60, 109, 110, 160, 260, 400):
        callback.on_train_batch_end(0)
        callback.on_epoch_end(0)
    _, newest = run.newest_checkpoint()
    newest.write_text("saved once")
    callback.on_train_end()
    assert steps_of(run) == [260, 400]
    assert newest.read_text() == "saved once"


def test_a_short_run_has_its_last_checkpoint(model, run):
    callback = attached(SaveCheckpoints(run, TrainSettings("d")), model)
    for model.step in (1, 2, 3):
        callback.on_epoch_end(0)
    callback.on_train_end()
    assert steps_of(run) == [3]


def test_a_hundred_steps_without_a_match_are_said_once(model, caplog):
    callback = attached(WarnWithoutMatches(), model)
    for matches in [0.0] * 99 + [0.5] + [0.0] * 250:
        callback.on_train_batch_end(0, {**LOGS, "matches": matches})
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "no default box matched an object for 100 steps: no"
    ]


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
    for model.step in steps:
        clock.seconds += seconds
        recorder.on_train_batch_end(0, LOGS)


def test_a_row_is_written_every_ten_steps_and_at_the_last(model, run, clock):
    recorder = recorder_of(run, model, 13, steps_per_epoch=6)
    recorder.on_train_begin()
    record(recorder, model, range(1, 14), clock)
    recorder.on_train_end()
    rows = rows_of(run)
    assert list(rows[0]) == [*FIELDS, "val_loss", "val_confidence", "val_localization", "val_mAP"]
    assert [(row["step"], row["epoch"]) for row in rows] == [("10", "1.667"), ("13", "2.167")]
    assert [row["images_per_second"] for row in rows] == ["8.0", "8.0"]  # 4 images in half a second
    assert [float(row[name]) for row in rows[:1] for name in LOGS] == list(LOGS.values())
    assert rows[0]["learning_rate"] == "0.25"
    assert model.resets == 2  # so that the next row is the mean of its own steps


def test_validation_is_a_row_of_its_own_whose_time_does_not_count(model, run, clock):
    recorder = recorder_of(run, model, 10, steps_per_epoch=5)
    recorder.on_train_begin()
    record(recorder, model, range(1, 6), clock)
    recorder.on_test_begin()
    clock.seconds += 1000
    recorder.on_epoch_end(0, {**LOGS, "val_loss": 4.0, "val_confidence": 3.0, "val_localization": 1.0})
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
