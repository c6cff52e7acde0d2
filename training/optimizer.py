"""The optimizer of a run and the schedule of its learning rate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from ssd300.training.settings import TrainSettings

# Shares of the steps after which the schedule `step` divides by ten: 80,000 and 100,000 of 120,000.
_DROPS = (2 / 3, 5 / 6)


@keras.saving.register_keras_serializable("ssd300")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise over the first `steps` on top of another schedule (or a constant rate)."""

    def __init__(self, schedule: Any, steps: int) -> None:
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """The rate at a step, counted from 0."""
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        return rate * keras.ops.minimum((keras.ops.cast(step, "float32") + 1.0) / self.steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"schedule": self.schedule, "steps": self.steps}


def make_optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule, which counts updates."""
    rate: Any = settings.learning_rate
    length = settings.schedule_steps or settings.steps
    if settings.schedule == "step":
        # Steps count from 0, and the rate falls at step 80,000 itself; Keras keeps the old one up to its boundary.
        boundaries = [max(round(share * length) - 1, 0) for share in _DROPS]
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [rate, rate / 10, rate / 100])
    elif settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, length)
    if settings.warmup_steps:
        rate = WarmUp(rate, settings.warmup_steps)
    options: dict[str, Any] = {}
    if settings.ema is not None:
        options = {"use_ema": True, "ema_momentum": settings.ema}
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, **options)
    return keras.optimizers.Adam(rate, **options)


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it the model has the moving average of its weights, if its optimizer keeps one; after it its own again."""
    swap_averages(model)
    try:
        yield
    finally:
        swap_averages(model)


def swap_averages(model: keras.Model) -> None:
    """Exchanges the weights and their moving averages, if the optimizer keeps any.

    Keras's own SwapEMAWeights does it at the ends of epochs only.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a loss scale
    if not getattr(optimizer, "use_ema", False):
        return
    averages = optimizer._model_variables_moving_average
    with model.distribute_strategy.scope():
        _exchange(model.trainable_variables, averages)


def _exchange(variables: Sequence[Any], averages: Sequence[Any]) -> None:
    for variable, average in zip(variables, averages, strict=True):
        weights = keras.ops.convert_to_numpy(variable)
        variable.assign(average)
        average.assign(weights)
