"""Validation while a run trains: its loss or its mAP after each epoch, and the stop when the mAP no longer rises."""

import sys
from typing import Any

import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.model.detection import make_detector
from ssd300.preprocessing.support.terminal import say
from ssd300.training.callbacks import Recorder, StepCallback
from ssd300.training.evaluation.average_precision import mean_average_precision
from ssd300.training.evaluation.evaluate import class_results
from ssd300.training.optimizer import averaged_weights
from ssd300.training.run_directory import Best, RunDirectory
from ssd300.training.settings import EvaluateSettings, TrainSettings
from ssd300.training.stopping import Stop


def is_exhausted(best: Best | None, settings: TrainSettings, step: int, steps_per_epoch: int) -> bool:
    """Whether at this step `settings.patience` epochs have passed without a better mAP."""
    return (
        best is not None and settings.patience is not None and step - best.step >= settings.patience * steps_per_epoch
    )


class Validation(StepCallback):
    """Calls `validate` after each epoch of the run and after its last step.

    Args:
        settings: of the run.
        recorder: told the result; the time is not the training's.
        first_step: steps made before.
        steps_per_epoch: of the run.
        stop: asked to stop at once while validating.
    """

    def __init__(
        self, settings: TrainSettings, recorder: Recorder, *, first_step: int, steps_per_epoch: int, stop: Stop
    ) -> None:
        super().__init__(first_step)
        self._settings, self._recorder, self._steps_per_epoch, self._stop = settings, recorder, steps_per_epoch, stop

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes up for the validation that the stop of a run cut short."""
        step = self._first_step
        if step and step % self._steps_per_epoch == 0 and not self._recorder.is_validated(step):
            self._validate_and_write()

    def on_step(self, previous: int) -> None:
        """Validates where an epoch ends."""
        if self.passed(previous, self._steps_per_epoch) or self.step == self._settings.steps:
            self._validate_and_write()

    def _validate_and_write(self) -> None:
        self._recorder.on_test_begin()
        self._recorder.write_validation(self.validate())
        self._recorder.on_test_end()

    def validate(self) -> dict[str, float]:
        """The numbers of this step, by the names of the history's columns."""
        raise NotImplementedError


class ValidateLoss(Validation):
    """Computes the loss of the validation split: the same on all its images, whatever the batches."""

    def __init__(self, batches: tf.data.Dataset, steps: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches, self._steps = batches, steps

    def validate(self) -> dict[str, float]:
        """Evaluates the averaged weights, if there are any."""
        with averaged_weights(self.model), self._stop.at_once():
            logs = self.model.evaluate(self._batches, steps=self._steps, verbose=0, return_dict=True)
        return {f"val_{name}": value for name, value in logs.items()}


class KeepBest(Validation):
    """Computes the validation split's mAP (VOC 2007), and keeps the weights with the highest.

    With a moving average of the weights, it is the average that is judged and kept. After `settings.patience` epochs
    without a better mAP training stops.
    """

    def __init__(self, run: RunDirectory, dataset: EncodedDataset, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run, self._dataset = run, dataset
        self._detector: Any = None

    def validate(self) -> dict[str, float]:
        """Computes the mAP, and keeps the weights if it is the highest."""
        best = self._run.read_best()
        settings = EvaluateSettings(self._settings.validation_split or "", self._settings.batch_size)
        self._detector = self._detector or make_detector(self.model)
        with averaged_weights(self.model):
            with self._stop.at_once():
                results = class_results(self.model, self._dataset, settings, detector=self._detector)
            mean = mean_average_precision(results, definition="voc2007")
            if best is None or mean > best.mAP:
                best, note = Best(self.step, mean), "the best so far"
                self._run.save_best(self.model, best)
            else:
                note = f"the best is {best.mAP:.3f} at step {best.step:,}"
        say(f"step {self.step:,}: validation mAP {mean:.3f}, {note}", file=sys.stderr)
        if is_exhausted(best, self._settings, self.step, self._steps_per_epoch) and self.step < self._settings.steps:
            say(f"stopped: no better mAP in {self._settings.patience} epochs", file=sys.stderr)
            self.model.stop_training = True
        return {"val_mAP": mean}
