"""Images that are scaled down while they are decoded: what is shown lies where its window is."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.preprocessing.augmentation.render import render

SIZES = [(607, 613), (805, 1201), (1207, 1215), (2405, 2411)]  # ratios of 2, 2, 4 and 8; none divides a side


def ramp(width: int, height: int, axis: int, *, falls: bool) -> tuple[bytes, float]:
    """A JPEG that gets steadily brighter or darker along an axis, and its change per pixel."""
    count = (height, width)[axis]
    values = 20 + 200 * (np.arange(count) + 0.5) / count
    values = values[::-1] if falls else values
    pixels = np.broadcast_to(values[:, None] if axis == 0 else values[None], (height, width))
    # Rounded up or down at random, so that means have no steps.
    pixels = np.round(pixels + np.random.default_rng(0).uniform(-0.5, 0.5, pixels.shape)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue(), (-200 if falls else 200) / count


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_moves(width, height, axis):
    """By a twentieth of a pixel of the input at most; a window on whole pixels of the scaled image was up to .9 off."""
    for window in ((0, 0, height, width), (3, 5, height - 11, width - 9), (1, 7, height - 8, width - 7)):
        low, extent = window[axis], window[axis + 2]
        places = low + (np.arange(300) + 0.5) * extent / 300
        errors = []
        for falls in (False, True):  # an error of brightness has opposite signs in the two
            jpeg, slope = ramp(width, height, axis, falls=falls)
            shown = render(jpeg, tf.constant(window), tf.constant([0, 0, 300, 300])).numpy()[..., 0].mean(1 - axis)
            start = 220 if falls else 20
            errors.append((shown - (start + slope * places)) / (slope * extent / 300))
        for part in (slice(3, 80), slice(110, 190), slice(220, 297)):
            assert abs(np.mean(errors, axis=0)[part].mean()) < 0.05


@pytest.mark.parametrize(("width", "height"), [(601, 600), (4803, 2402)])
def test_the_outermost_pixels_are_not_black(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 200, 200)).save(buffer, "JPEG", quality=95)
    shown = render(buffer.getvalue(), tf.constant([0, 0, height, width]), tf.constant([0, 0, 300, 300])).numpy()
    assert shown.min() > 195
