import colorsys

import numpy as np
import pytest
import tensorflow as tf

from ssd300.training import photometric


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.float32)


def test_brightness_and_contrast_by_hand():
    pixels = tf.constant([[[0.0, 100.0, 250.0]]])
    np.testing.assert_allclose(photometric.brightness(pixels, 20.0), [[[20, 120, 255]]])
    np.testing.assert_allclose(photometric.brightness(pixels, -20.0), [[[0, 80, 230]]])
    # Caffe multiplies: no mean takes part.
    np.testing.assert_allclose(photometric.contrast(pixels, 1.5), [[[0, 150, 255]]])


@pytest.mark.parametrize(
    ("operation", "amount"), [("saturation", 0.6), ("saturation", 1.5), ("hue", 0.1), ("hue", -0.1)]
)
def test_saturation_and_hue_against_the_standard_library(pixels, operation, amount):
    expected = np.empty_like(pixels)
    for index in np.ndindex(pixels.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(pixels[index] / 255))
        if operation == "saturation":
            s = min(s * amount, 1)
        else:
            h = (h + amount) % 1
        expected[index] = np.array(colorsys.hsv_to_rgb(h, s, v)) * 255
    np.testing.assert_allclose(getattr(photometric, operation)(tf.constant(pixels), amount), expected, atol=0.05)


def test_distort_is_stateless_and_keeps_shape_and_range(pixels):
    image = tf.cast(pixels, tf.uint8)
    first, again, other = (photometric.distort(image, tf.constant(seed)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    assert first.dtype == np.uint8
    assert first.shape == (20, 30, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_each_operation_is_applied_half_of_the_time(monkeypatch, pixels):
    calls = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0)
    for name in calls:

        def count(image, amount, name=name):
            calls[name] += 1
            return image

        monkeypatch.setattr(photometric, name, count)
    for seed in range(400):
        photometric.distort(tf.zeros((2, 3, 3), tf.uint8), tf.constant([7, seed]))
    # 400 fair draws stay within 5 standard deviations (10 each) of 200.
    assert all(150 < count < 250 for count in calls.values()), calls


def test_contrast_comes_first_or_last(monkeypatch):
    orders = set()
    order = []
    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(photometric, name, lambda image, amount, name=name: order.append(name) or image)
    for seed in range(200):
        order.clear()
        photometric.distort(tf.zeros((1, 2, 3), tf.uint8), tf.constant([3, seed]))
        if len(order) == 4:
            orders.add(tuple(order))
    assert orders == {
        ("brightness", "contrast", "saturation", "hue"),
        ("brightness", "saturation", "hue", "contrast"),
    }
