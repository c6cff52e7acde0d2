"""Callbacks: history, progress, checkpoints, and the stop on NaN."""

import csv
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.errors import TrainingError
from ssd300.preprocessing.support.progress import bar
from ssd300.training.optimizer import averaged_weights
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings

FIELDS = ("step", "epoch", "loss", "confidence", "localization", "l2", "matches", "learning_rate", "images_per_second")
_VALIDATION = tuple(f"val_{name}" for name in ("loss", "confidence", "localization", "mAP"))
_LOG = logging.getLogger(__name__)
_WINDOW = 10  # steps that a row of the history averages


def step_of(model: keras.Model) -> int:
    """Number of updates that the optimizer has made."""
    return int(model.optimizer.iterations.numpy())


class StopAtStep(keras.callbacks.Callback):
    """Ends training when the optimizer has made `steps` updates, even within an epoch."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops after the last step."""
        if step_of(self.model) >= self._steps:
            self.model.stop_training = True


class StopOnNaN(keras.callbacks.Callback):
    """Raises `TrainingError`, naming the step, as soon as a loss is not finite."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the loss terms."""
        broken = [name for name, value in (logs or {}).items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"{', '.join(broken)} became NaN or infinite at step {step_of(self.model)}; "
                "try a lower learning rate, or inspect the data; earlier checkpoints are intact"
            )


class WarnWithoutMatches(keras.callbacks.Callback):
    """Says so, once, when no default box has matched an object for a hundred steps: nothing is learned then."""

    _PATIENCE = 100  # steps

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the steps since a match; the numbers are means since the last row of the history."""
        self._steps = 0 if (logs or {}).get("matches", 1.0) > 0 else self._steps + 1
        if self._steps == self._PATIENCE:
            _LOG.warning(
                "no default box matched an object for %d steps: nothing is learned; do the images have objects?",
                self._PATIENCE,
            )


class WarnRisingLoss(keras.callbacks.Callback):
    """Says so, once, when the loss of the last fifty steps is well above that of the fifty before, and what to try.

    A rise is one of more than a tenth: batches of few images differ by less over fifty steps.
    """

    _HALF = 50  # steps
    _RISE = 1.1

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[float] = []
        self._count, self._total = 0, 0.0
        self._is_said = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras begins its means anew."""
        self.on_means_reset()

    def on_means_reset(self) -> None:
        """The next numbers are means from here on."""
        self._count, self._total = 0, 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the step's own loss out of the running mean."""
        if self._is_said or logs is None or "loss" not in logs:
            return
        self._count += 1
        total = float(logs["loss"]) * self._count
        self._losses = [*self._losses[1 - 2 * self._HALF :], total - self._total]
        self._total = total
        if len(self._losses) < 2 * self._HALF:
            return
        before, after = (sum(part) / self._HALF for part in (self._losses[: self._HALF], self._losses[self._HALF :]))
        if after > self._RISE * before:
            self._is_said = True
            _LOG.warning(
                "the loss has risen for a hundred steps, from %.2f to %.2f: try a lower learning rate, a longer "
                "warm-up, a limit of the gradients' norm, or adam at a rate of 1e-4; for a dataset of your own "
                "`ssd300 finetune` chooses all of these",
                before,
                after,
            )


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves a checkpoint every `settings.checkpoint_steps` and at the end.

    Without that setting after each epoch that ends at least a hundred steps after the last checkpoint: writing one may
    take longer than a short epoch.
    """

    _FEWEST_STEPS = 100

    def __init__(self, run: RunDirectory, settings: TrainSettings, *, first_step: int = 0) -> None:
        super().__init__()
        self._run, self._settings, self._saved = run, settings, first_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves every `checkpoint_steps`, and at the last step: Keras puts the averages in place after it."""
        every, step = self._settings.checkpoint_steps, step_of(self.model)
        if step >= self._settings.steps or (every and step % every == 0):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves, unless `checkpoint_steps` is set or the last checkpoint is too recent."""
        if not self._settings.checkpoint_steps and step_of(self.model) - self._saved >= self._FEWEST_STEPS:
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Saves the last step."""
        self._save()

    def _save(self) -> None:
        step = step_of(self.model)
        if step != self._saved:
            with averaged_weights(self.model):
                self._run.save_checkpoint(self.model, step, keep=self._settings.keep_checkpoints)
            self._saved = step


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


class Recorder(keras.callbacks.Callback):
    """Writes the history (CSV and TensorBoard) and shows the progress on standard error.

    A row is the mean over ten steps. Rows of steps after the checkpoint that a run resumes from are dropped.

    Args:
        run: where to write.
        settings: of the run.
        first_step: steps made before.
        steps_per_epoch: for the epoch of a row.
        on_means_reset: called where the means of the logs begin anew.
    """

    def __init__(
        self,
        run: RunDirectory,
        settings: TrainSettings,
        *,
        first_step: int,
        steps_per_epoch: int,
        on_means_reset: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._on_means_reset = on_means_reset
        self._run, self._settings, self._steps_per_epoch = run, settings, steps_per_epoch
        self._first_step = first_step
        self._window = 0
        self._since = 0.0
        self._opened: list[Any] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the files."""
        path = self._run.history_path
        rows = _rows_until(self._first_step, path) if path.exists() else []
        self._file = path.open("w", newline="")
        self._csv = csv.DictWriter(self._file, [*FIELDS, *_VALIDATION], restval="")
        self._csv.writeheader()
        self._csv.writerows(rows)
        self._summaries = tf.summary.create_file_writer(str(self._run.logs_path))
        self._bar = bar("training", self._settings.steps, unit=" steps", initial=self._first_step)
        self._opened = [self._bar, self._file, self._summaries]
        self._clock = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts, and writes a row where a window ends."""
        self._window += 1
        step = step_of(self.model)
        if self._window == _WINDOW or step == self._settings.steps:
            self._write(step, dict(logs or {}))
        self._bar.update(step - self._bar.n)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Excludes the time of a validation from the speed."""
        self._since = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the validation's losses as a row of their own."""
        if self._since:
            self._clock += time.perf_counter() - self._since
            self._since = 0.0
        row = {name: value for name, value in (logs or {}).items() if name in _VALIDATION}
        if row:
            step = step_of(self.model)
            self._csv.writerow({"step": step, "epoch": self._epoch(step), **row})
            self._summarize(step, row)
            if "val_loss" in row:
                self._bar.write(f"step {step}: validation loss {row['val_loss']:.3f}", file=sys.stderr)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the files."""
        self.close()

    def close(self) -> None:
        """Closes the files; Keras does not call `on_train_end` when training is interrupted."""
        for opened in self._opened:
            opened.close()
        self._opened = []

    def _epoch(self, step: int) -> float:
        return round(step / self._steps_per_epoch, 3)

    def _write(self, step: int, logs: dict[str, Any]) -> None:
        now = time.perf_counter()
        speed = self._window * self._settings.batch_size / (now - self._clock)
        rate = float(self.model.optimizer.learning_rate)
        row = {**logs, "learning_rate": rate, "images_per_second": round(speed, 2)}
        self._csv.writerow({"step": step, "epoch": self._epoch(step), **row})
        self._file.flush()
        self._summarize(step, row)
        self._bar.set_postfix_str(
            f"loss {logs['loss']:.3f} (conf {logs['confidence']:.3f}, loc {logs['localization']:.3f}), "
            f"{logs['matches']:.1f} matches, lr {rate:.2g}, {speed:.1f} images/s",
            refresh=False,
        )
        self.model.reset_metrics()  # so that the next row is the mean of the next window
        self._on_means_reset()
        self._window, self._clock = 0, now

    def _summarize(self, step: int, row: dict[str, Any]) -> None:
        with self._summaries.as_default():
            for name, value in row.items():
                tf.summary.scalar(name, value, step=step)
