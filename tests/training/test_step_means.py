"""Means over steps, read at once."""

import numpy as np
import pytest
import tensorflow as tf

from ssd300.training.step_means import NAMES, StepMeans

VALUES = tf.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_means_are_weighted_and_begin_anew():
    means = StepMeans()
    means.add(VALUES, weight=3.0)
    means.add(VALUES + 8, weight=1.0)
    read = means.read()
    assert read.means == dict(zip(NAMES, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0], strict=True))  # (3 * 1 + 9) / 4 and so on
    assert (read.steps, read.first_broken) == (2, None)
    assert {name: float(value) for name, value in means.result().items()} == {
        "loss": 3.0, "confidence": 4.0, "localization": 5.0, "l2": 6.0, "matches": 7.0,
    }  # fmt: skip
    means.reset()
    means.add(VALUES)
    assert means.read().means["loss"] == 1.0


def test_before_the_first_step_they_are_zero():
    read = StepMeans().read()
    assert set(read.means.values()) == {0.0}
    assert (read.steps, read.first_broken) == (0, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_broken_step_is_known(value):
    means = StepMeans()
    for loss in (1.0, 2.0, value, 3.0, value):
        means.add(tf.concat([[loss], VALUES[1:]], axis=0))
    assert means.read().first_broken == 3
    means.reset()
    means.add(VALUES)
    assert means.read().first_broken is None


def test_they_are_added_inside_a_graph():
    means = StepMeans()
    add = tf.function(lambda values: means.add(values))
    add(VALUES)
    add(3 * VALUES)
    assert means.read().means["matches"] == 10.0
