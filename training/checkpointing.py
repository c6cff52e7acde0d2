"""When a run writes a checkpoint: every so many steps, at its end, and when it is stopped."""

import tensorflow as tf

from ssd300.datasets.errors import TrainingError
from ssd300.training.callbacks import StepCallback
from ssd300.training.optimizer import averaged_weights
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.stopping import Stop

_FEWEST_STEPS, _MOST_STEPS = 100, 2_000  # between checkpoints: writing one may take longer than a short epoch


def checkpoint_interval(settings: TrainSettings, steps_per_epoch: int) -> int:
    """Steps between checkpoints: the setting, or an epoch, but neither less than 100 nor more than 2,000."""
    return settings.checkpoint_steps or max(_FEWEST_STEPS, min(steps_per_epoch, _MOST_STEPS))


class SaveCheckpoints(StepCallback):
    """Saves a checkpoint at multiples of the interval and at the last step; last of the callbacks.

    Args:
        run: where to save.
        settings: of the run.
        first_step: steps made before.
        steps_per_epoch: of the run.
        stop: asked after each step whether to stop, which it does by `TrainingStopped`.

    Raises:
        TrainingError: the weights are not finite; they are not saved.
    """

    def __init__(
        self, run: RunDirectory, settings: TrainSettings, *, first_step: int, steps_per_epoch: int, stop: Stop
    ) -> None:
        super().__init__(first_step)
        self._run, self._settings, self._saved, self._stop = run, settings, first_step, stop
        self._interval = checkpoint_interval(settings, steps_per_epoch)

    def on_step(self, previous: int) -> None:
        """Saves where it is time to: at the end here too, as Keras puts the averages in place after it."""
        is_last = self.step >= self._settings.steps or self.model.stop_training
        if is_last or self.passed(previous, self._interval):
            self.save(self.step)
        if not is_last:
            self._stop.check()

    def save(self, step: int) -> None:
        """Saves the last step, unless that was done."""
        if step == self._saved:
            return
        with averaged_weights(self.model):
            _check_finite(self.model.variables, step)
            self._run.save_checkpoint(
                self.model, step, keep=self._settings.keep_checkpoints, keep_every=self._settings.keep_every
            )
        self._saved = step


def _check_finite(variables: list, step: int) -> None:
    """A loss may be finite and its gradient not, which leaves NaN in the weights before the next loss tells."""
    finite = [tf.reduce_all(tf.math.is_finite(tf.cast(variable.value, tf.float32))) for variable in variables]
    if not all(tf.stack(finite).numpy()):
        names = [variable.path for variable, one in zip(variables, finite, strict=True) if not one]
        raise TrainingError(
            f"weights became NaN or infinite by step {step}, in {', '.join(names[:3])}"
            f"{f' and {len(names) - 3} others' if len(names) > 3 else ''}; they are not saved; try a lower learning "
            "rate or a limit of the gradients' norm (clip_norm); earlier checkpoints are intact"
        )
