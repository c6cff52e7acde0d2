"""Validation while a run trains: mAP after each epoch, the best weights kept, and the stop when it no longer rises."""

import sys
from typing import Any

import keras

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.model.detection import make_detector
from ssd300.preprocessing.support.terminal import say
from ssd300.training.callbacks import Recorder, step_of
from ssd300.training.evaluation.average_precision import mean_average_precision
from ssd300.training.evaluation.evaluate import class_results
from ssd300.training.optimizer import averaged_weights
from ssd300.training.run_directory import Best, RunDirectory
from ssd300.training.settings import EvaluateSettings, TrainSettings


def is_exhausted(best: Best | None, settings: TrainSettings, step: int, steps_per_epoch: int) -> bool:
    """Whether at this step `settings.patience` epochs have passed without a better mAP."""
    return (
        best is not None and settings.patience is not None and step - best.step >= settings.patience * steps_per_epoch
    )


class KeepBest(keras.callbacks.Callback):
    """Computes the validation split's mAP (VOC 2007) after each epoch, and keeps the weights with the highest.

    With a moving average of the weights, it is the average that is judged and kept.

    Args:
        run: where the best weights go.
        dataset: the run's dataset.
        settings: of the run; its `validation_split`, and its `patience`: the number of epochs without a better mAP
            after which training stops.
        recorder: told about the validation, whose time is not the training's.
        steps_per_epoch: of the run.
    """

    def __init__(
        self,
        run: RunDirectory,
        dataset: EncodedDataset,
        settings: TrainSettings,
        recorder: Recorder,
        *,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self._steps_per_epoch = steps_per_epoch
        self._run, self._dataset, self._settings, self._recorder = run, dataset, settings, recorder
        self._detector: Any = None
        self._judged = -1  # step of the last validation

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validates, and adds ``val_mAP`` to the logs."""
        if self._judged != step_of(self.model):
            mean = self._validate()
            if logs is not None:
                logs["val_mAP"] = mean

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Validates the last step, if it ended no epoch."""
        if self._judged != step_of(self.model):
            self._validate()

    def _validate(self) -> float:
        self._recorder.on_test_begin()
        step = self._judged = step_of(self.model)
        best = self._run.read_best()
        settings = EvaluateSettings(self._settings.validation_split or "", self._settings.batch_size)
        self._detector = self._detector or make_detector(self.model)
        with averaged_weights(self.model):
            results = class_results(self.model, self._dataset, settings, detector=self._detector)
            mean = mean_average_precision(results, definition="voc2007")
            if best is None or mean > best.mAP:
                best, note = Best(step, mean), "the best so far"
                self._run.save_best(self.model, best)
            else:
                note = f"the best is {best.mAP:.3f} at step {best.step:,}"
        say(f"step {step:,}: validation mAP {mean:.3f}, {note}", file=sys.stderr)
        if is_exhausted(best, self._settings, step, self._steps_per_epoch) and step < self._settings.steps:
            say(f"stopped: no better mAP in {self._settings.patience} epochs", file=sys.stderr)
            self.model.stop_training = True
        return mean
