"""Means over steps that are computed on the device and read once for many steps."""

from typing import NamedTuple

import tensorflow as tf

REPORTED = ("loss", "confidence", "localization", "l2", "matches")
NAMES = (*REPORTED, "waiting")  # the last in seconds


class Means(NamedTuple):
    """What `StepMeans.read` gives."""

    means: dict[str, float]  # by the names of `NAMES`
    steps: int  # number of steps that they are of
    first_broken: int | None  # number, from 1, of the first of these steps whose loss was not finite


class StepMeans:
    """Weighted means of the values of steps, in one variable, so that reading them waits for the device once.

    Make it in the scope of the strategy that trains. Nothing of it is part of a model's weights or checkpoints.
    """

    def __init__(self) -> None:
        # The weighted sums of `NAMES`, the sum of the weights, the steps, and those before the first broken one.
        self._sums = tf.Variable(
            tf.zeros([len(NAMES) + 3]), trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )

    def add(self, values: tf.Tensor, weight: tf.Tensor | float = 1.0) -> None:
        """Adds the values of a step ``[6]``, the same on all replicas."""
        sums = self._sums
        steps, whole = sums[-2], sums[-1]
        goes_on = tf.cast((whole == steps) & tf.math.is_finite(values[0]), tf.float32)
        weight = tf.cast(weight, tf.float32)
        sums.assign_add(tf.concat([values * weight, [weight, 1.0, goes_on]], axis=0))

    def result(self) -> dict[str, tf.Tensor]:
        """The means of `REPORTED` so far as tensors, inside a graph too."""
        sums = tf.convert_to_tensor(self._sums)
        means = sums[: len(REPORTED)] / tf.maximum(sums[len(NAMES)], 1e-9)
        return dict(zip(REPORTED, tf.unstack(means, len(REPORTED)), strict=True))

    def read(self) -> Means:
        """The means since the last reset."""
        sums = self._sums.numpy()
        steps, whole = int(sums[-2]), int(sums[-1])
        means = dict(zip(NAMES, (sums[: len(NAMES)] / max(sums[len(NAMES)], 1e-9)).tolist(), strict=True))
        return Means(means, steps, whole + 1 if whole < steps else None)

    def reset(self) -> None:
        """Begins anew."""
        self._sums.assign(tf.zeros_like(self._sums))
