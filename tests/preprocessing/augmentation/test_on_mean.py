"""The mean color around an image, and rounding to bytes."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.preprocessing.augmentation.render import on_mean, round_to_bytes


def test_round_to_bytes():
    found = round_to_bytes(tf.constant([0.0, 0.49, 0.5, 1.49, 127.5, 254.49, 254.5, 255.0]))
    assert found.dtype == tf.uint8
    assert found.numpy().tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


@settings(max_examples=25, deadline=None)
@given(
    *2 * [st.integers(0, 299).flatmap(lambda low: st.tuples(st.just(low), st.integers(0, 300 - low)))], st.booleans()
)
def test_mean_color_outside_of_what_is_shown(rows, columns, is_compiled):
    (top, height), (left, width) = rows, columns
    pixels = np.random.default_rng(0).uniform(0, 255, (300, 300, 3)).astype(np.float32)
    expected = np.empty_like(pixels)
    expected[:] = (123, 117, 104)
    expected[top : top + height, left : left + width] = pixels[top : top + height, left : left + width]
    shown = tf.constant([top, left, height, width], tf.int32)
    found = (compiled_on_mean if is_compiled else on_mean)(tf.constant(pixels), shown)
    np.testing.assert_array_equal(found, expected)


compiled_on_mean = tf.function(on_mean, jit_compile=True)
