"""Callbacks: history, progress and warnings, by the steps of a run."""

import csv
import logging
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from ssd300.datasets.errors import TrainingError
from ssd300.preprocessing.support.progress import bar
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings

FIELDS = (
    *("step", "epoch", "loss", "confidence", "localization", "l2", "matches", "learning_rate", "images_per_second"),
    "waiting",
)
_VALIDATION = tuple(f"val_{name}" for name in ("loss", "confidence", "localization", "mAP"))
_LOG = logging.getLogger(__name__)
ROW_STEPS = 10  # that a row of the history averages


class StepCallback(keras.callbacks.Callback):
    """A callback of a `fit` whose one epoch is all the steps of a run that are left.

    Keras's epochs begin where a run resumes; here everything goes by the run's own steps, so that a resumed run does
    the same at the same step as one that was never stopped.
    """

    def __init__(self, first_step: int) -> None:
        super().__init__()
        self._first_step = self.step = first_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts, and calls `on_step`."""
        previous, self.step = self.step, self._first_step + batch + 1
        self.on_step(previous)

    def on_step(self, previous: int) -> None:
        """Called after every execution; the steps from `previous` to `step` have been made since the last one."""

    def passed(self, previous: int, every: int) -> bool:
        """Whether a multiple of `every` lies among the steps since the last call."""
        return self.step // every > previous // every


class RowListener(Protocol):
    """What is told about each row of the history."""

    def on_row(self, row: dict[str, float]) -> None:
        """Takes the means of a row."""


class WarnWithoutMatches:
    """Says so, once, when no default box has matched an object for a hundred steps: nothing is learned then."""

    _PATIENCE = 10  # rows

    def __init__(self) -> None:
        self._rows = 0

    def on_row(self, row: dict[str, float]) -> None:
        """Counts the rows since a match."""
        self._rows = 0 if row["matches"] > 0 else self._rows + 1
        if self._rows == self._PATIENCE:
            _LOG.warning(
                "no default box matched an object for %d steps: nothing is learned; do the images have objects?",
                self._PATIENCE * ROW_STEPS,
            )


class WarnRisingLoss:
    """Says so, once, when the loss of the last fifty steps is well above that of the fifty before, and what to try.

    A rise is one of more than a tenth: batches of few images differ by less over fifty steps.
    """

    _HALF = 5  # rows
    _RISE = 1.1

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=2 * self._HALF)
        self._is_said = False

    def on_row(self, row: dict[str, float]) -> None:
        """Compares the last rows."""
        self._losses.append(row["loss"])
        if self._is_said or len(self._losses) < 2 * self._HALF:
            return
        losses = list(self._losses)
        before, after = (sum(part) / self._HALF for part in (losses[: self._HALF], losses[self._HALF :]))
        if after > self._RISE * before:
            self._is_said = True
            _LOG.warning(
                "the loss has risen for a hundred steps, from %.2f to %.2f: try a lower learning rate, a longer "
                "warm-up, a limit of the gradients' norm, or adam at a rate of 1e-4; for a dataset of your own "
                "`ssd300 finetune` chooses all of these",
                before,
                after,
            )


class WarnWaiting:
    """Says so, once, when a hundred steps have spent over a third of their time waiting for data, and what helps."""

    _ROWS = 10
    _SHARE = 1 / 3

    def __init__(self) -> None:
        self._shares: deque[float] = deque(maxlen=self._ROWS)
        self._is_said = False

    def on_row(self, row: dict[str, float]) -> None:
        """Averages the last rows."""
        self._shares.append(row.get("waiting", 0.0))
        share = sum(self._shares) / self._ROWS
        if not self._is_said and len(self._shares) == self._ROWS and share > self._SHARE:
            self._is_said = True
            _LOG.warning(
                "%.0f%% of the last hundred steps' time was spent waiting for data: augmented copies "
                "(`ssd300 preprocess --copies`, `ssd300 train --augmentation copies`), the augmentation light, or "
                "other machines that read (--data-service) make batches faster",
                100 * share,
            )


def _rows_until(step: int, path: Path) -> list[dict[str, str]]:
    """The rows of a history until a step; those that are damaged, as after a crash, are left out."""
    rows, damaged = [], 0
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(line.replace("\0", "") for line in file):
            if not (row.get("step") or "").isdecimal() or None in row or None in row.values():
                damaged += 1
            elif int(row["step"]) <= step:
                rows.append({name: value for name, value in row.items() if name in (*FIELDS, *_VALIDATION)})
    if damaged:
        _LOG.warning("%s: %d rows are damaged and left out", path, damaged)
    return rows


class Recorder(StepCallback):
    """Writes the history (CSV and TensorBoard) and shows the progress on standard error.

    A row is the mean over the ten steps up to a multiple of ten; reading it is the only wait for the device. Rows of
    steps after the checkpoint that a run resumes from are dropped.

    Args:
        run: where to write.
        settings: of the run.
        first_step: steps made before.
        steps_per_epoch: for the epoch of a row.
        listeners: told about each row.
        waiting_is_known: whether the model's steps know how long they waited for their batch.

    Raises:
        TrainingError: a loss became NaN or infinite.
    """

    def __init__(
        self,
        run: RunDirectory,
        settings: TrainSettings,
        *,
        first_step: int,
        steps_per_epoch: int,
        listeners: Sequence[RowListener] = (),
        waiting_is_known: bool = True,
    ) -> None:
        super().__init__(first_step)
        self._run, self._settings, self._steps_per_epoch = run, settings, steps_per_epoch
        self._listeners, self._waiting_is_known = listeners, waiting_is_known
        self._since = 0.0
        self._validated: set[int] = set()
        self._opened: list[Any] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the files."""
        path = self._run.history_path
        rows = _rows_until(self._first_step, path) if path.exists() else []
        self._validated = {int(row["step"]) for row in rows if any(row.get(name) for name in _VALIDATION)}
        self._file = path.open("w", newline="")
        self._csv = csv.DictWriter(self._file, [*FIELDS, *_VALIDATION], restval="")
        self._csv.writeheader()
        self._csv.writerows(rows)
        self._summaries = tf.summary.create_file_writer(str(self._run.logs_path))
        self._bar = bar("training", self._settings.steps, unit=" steps", initial=self._first_step)
        self._opened = [self._bar, self._file, self._summaries]
        self.model.row.reset()
        self._clock = time.perf_counter()

    def on_step(self, previous: int) -> None:
        """Writes a row where one ends."""
        if self.passed(previous, ROW_STEPS) or self.step == self._settings.steps:
            self._write()
        self._bar.update(self.step - self._bar.n)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """The time of a validation is not the training's."""
        self._since = time.perf_counter()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """The training goes on."""
        self._clock += time.perf_counter() - self._since

    def is_validated(self, step: int) -> bool:
        """Whether the history that the run resumed with has a validation of this step."""
        return step in self._validated

    def write_validation(self, values: dict[str, float]) -> None:
        """Adds a validation's numbers, such as ``val_loss``, as a row of their own."""
        row = {name: value for name, value in values.items() if name in _VALIDATION}
        self._csv.writerow({"step": self.step, "epoch": self._epoch(), **row})
        self._file.flush()
        self._summarize(row)
        if "val_loss" in row:
            self._bar.write(f"step {self.step}: validation loss {row['val_loss']:.3f}", file=sys.stderr)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the files."""
        self.close()

    def close(self) -> None:
        """Closes the files; Keras does not call `on_train_end` when training is interrupted."""
        for opened in self._opened:
            opened.close()
        self._opened = []

    def _epoch(self) -> float:
        return round(self.step / self._steps_per_epoch, 3)

    def _write(self) -> None:
        means, steps, first_broken = self.model.row.read()
        if first_broken is not None:
            raise TrainingError(
                f"the loss became NaN or infinite at step {self.step - steps + first_broken}; "
                "try a lower learning rate, or inspect the data; earlier checkpoints are intact"
            )
        now = time.perf_counter()
        seconds = max(now - self._clock, 1e-9)
        speed = steps * self._settings.images_per_step / seconds
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {**means, "learning_rate": rate, "images_per_second": round(speed, 2)}
        waiting = row.pop("waiting") * steps / seconds
        if self._waiting_is_known:
            row["waiting"] = round(waiting, 4)
        self._csv.writerow({"step": self.step, "epoch": self._epoch(), **row})
        self._file.flush()
        self._summarize(row)
        said = f", waiting for data {waiting:.0%}" if self._waiting_is_known else ""
        self._bar.set_postfix_str(
            f"loss {row['loss']:.3f} (conf {row['confidence']:.3f}, loc {row['localization']:.3f}), "
            f"{row['matches']:.1f} matches, lr {rate:.2g}, {speed:.1f} images/s{said}",
            refresh=False,
        )
        for listener in self._listeners:
            listener.on_row(row)
        self.model.row.reset()
        self._clock = now

    def _summarize(self, row: dict[str, Any]) -> None:
        with self._summaries.as_default():
            for name, value in row.items():
                tf.summary.scalar(name, value, step=self.step)
