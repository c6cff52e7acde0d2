"""Photometric distortion: against the standard library's colors, pixel by pixel, and the odds of its draws."""

import colorsys
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.preprocessing.augmentation.photometric import NUMBER_OF_DRAWS, Distortion, distort, draw_distortions
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION as PAPER

NEUTRAL = Distortion(0.0, 1.0, 1.0, 0.0, 1.0)
# Gray, black and white; pure colors and their mixtures; two equal channels, as the largest and as the smallest.
SPECIAL = [
    *[(level, level, level) for level in (0, 1, 127, 254, 255)],
    *[tuple(255 * bit for bit in bits) for bits in product((0, 1), repeat=3)],
    *[(200, 200, 30), (200, 30, 200), (30, 200, 200), (30, 30, 200), (30, 200, 30), (200, 30, 30)],
    *[(1, 0, 0), (0, 1, 0), (0, 0, 1), (255, 254, 255), (255, 255, 254), (254, 255, 255), (0, 255, 128)],
]
TURNS = [degrees / 360 for degrees in (-180, -150, -120, -60, -36, -1, 0, 1, 36, 60, 90, 120, 180)]


def within(channels):
    return tuple(min(max(channel, 0.0), 255.0) for channel in channels)


def reference_pixel(pixel, distortion):
    """One pixel in double precision, by way of HSV and back."""
    brightness, contrast_first, saturation, hue, contrast_last = (float(number) for number in distortion)
    pixel = within(channel + brightness for channel in pixel)
    pixel = within(channel * contrast_first for channel in pixel)
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in pixel))
    pixel = colorsys.hsv_to_rgb((h + hue) % 1.0, min(s * saturation, 1.0), v)
    return within(255 * channel * contrast_last for channel in pixel)


def check(pixels, distortion, **steps):
    pixels = np.asarray(pixels, np.float32)
    # The reference starts from the same float32 numbers.
    distortion = Distortion(*(tf.constant(number, tf.float32) for number in distortion))
    found = distort(tf.constant(pixels), distortion, **steps).numpy()
    assert found.shape == pixels.shape
    assert found.dtype == np.float32
    expected = [reference_pixel(pixel, distortion) for pixel in pixels.reshape(-1, 3).tolist()]
    np.testing.assert_allclose(found.reshape(-1, 3), expected, rtol=0, atol=5e-3)


def random_pixels(height=20, width=30, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [0, 100, 250]),
        ({"brightness": 20.0}, [20, 120, 255]),
        ({"brightness": -20.0}, [0, 80, 230]),
        # Caffe multiplies: no mean takes part.
        ({"contrast_first": 1.5}, [0, 150, 255]),
        ({"contrast_last": 0.5}, [0, 50, 125]),
        # Cut at 255 in between, and halved then: 100 -> 120 -> 240 -> 120, 250 -> 255 -> 255 -> 127.5.
        ({"brightness": 20.0, "contrast_first": 2.0, "contrast_last": 0.5}, [20, 120, 127.5]),
        # Gray of the largest channel.
        ({"saturation": 0.0}, [250, 250, 250]),
        # The distances from 250, which are 250, 150 and 0, halved.
        ({"saturation": 0.5}, [125, 175, 250]),
        # The saturation is 1 already.
        ({"saturation": 1.5}, [0, 100, 250]),
        # A third of the circle: what blue was, red is; what red was, green is.
        ({"hue": 1 / 3}, [250, 0, 100]),
        ({"hue": -1 / 3}, [100, 250, 0]),
        # The hue is 216 degrees; 36, opposite, lies 6/10 of the way from red to yellow.
        ({"hue": 0.5}, [250, 150, 0]),
    ],
)
def test_one_pixel_by_hand(change, expected):
    found = distort(tf.constant([[[0.0, 100.0, 250.0]]]), NEUTRAL._replace(**change))
    np.testing.assert_allclose(found, [[expected]], atol=1e-3)


def test_saturation_ends_at_one():
    # Value 200, saturation .5; times 1.5 the distances of 100 and 50 are 150 and 75, times 4 only doubled to 200.
    for factor, expected in ((1.5, [50, 200, 125]), (4.0, [0, 200, 100])):
        found = distort(tf.constant([[[100.0, 200.0, 150.0]]]), NEUTRAL._replace(saturation=factor))
        np.testing.assert_allclose(found, [[expected]], atol=1e-3)


@pytest.mark.parametrize("turn", TURNS)
def test_special_and_random_pixels_of_every_turn(turn):
    pixels = np.concatenate([np.array(SPECIAL, np.float32), random_pixels(4, 30).reshape(-1, 3)])[None]
    for saturation in (0.0, 0.5, 1.0, 1.5, 3.0):
        check(pixels, NEUTRAL._replace(hue=turn, saturation=saturation))


@settings(max_examples=80, deadline=None)
@given(
    pixels=st.lists(st.tuples(*3 * [st.floats(0, 255, width=32)]), min_size=6, max_size=6),
    brightness=st.floats(-255, 255, width=32),
    contrast=st.floats(0.125, 2, width=32),
    saturation=st.floats(0, 3, width=32),
    hue=st.floats(-0.5, 0.5, width=32),
    first=st.booleans(),
)
def test_any_pixels_and_any_distortion(pixels, brightness, contrast, saturation, hue, first):
    contrasts = (contrast, 1.0) if first else (1.0, contrast)
    pixels = np.array(pixels).reshape(2, 3, 3)
    check(pixels, Distortion(brightness, contrasts[0], saturation, hue, contrasts[1]))


def test_contrast_first_and_last_differ():
    # Saturation .5, hue a sixth: red 200 is cut at 255 by a first contrast of 1.5, before colors change.
    pixels = tf.constant([[[200.0, 40.0, 80.0]]])
    color = NEUTRAL._replace(saturation=0.5)
    # First: (255, 60, 120), whose distances 0, 195, 135 are halved. Last: (200, 120, 140) times 1.5.
    np.testing.assert_allclose(distort(pixels, color._replace(contrast_first=1.5)), [[[255, 157.5, 187.5]]], atol=1e-3)
    np.testing.assert_allclose(distort(pixels, color._replace(contrast_last=1.5)), [[[255, 180, 210]]], atol=1e-3)


def test_a_neutral_distortion_changes_nothing():
    pixels = np.concatenate([random_pixels(), np.array(SPECIAL[:20], np.float32).reshape(20, 1, 3)], axis=1)
    for saturation, hue in product((False, True), repeat=2):
        found = distort(tf.constant(pixels), NEUTRAL, saturation=saturation, hue=hue)
        np.testing.assert_allclose(found, pixels, rtol=0, atol=2e-3 if hue else 1e-4)
    np.testing.assert_array_equal(distort(tf.constant(pixels), NEUTRAL, saturation=False, hue=False), pixels)


def test_a_step_left_out_is_the_neutral_step():
    pixels = random_pixels(3, 5)
    check(pixels, Distortion(-9.0, 1.2, 1.0, 0.07, 1.0), saturation=False)
    check(pixels, Distortion(-9.0, 1.0, 1.4, 0.0, 1.2), hue=False)
    check(pixels, Distortion(14.0, 0.7, 1.0, 0.0, 1.0), saturation=False, hue=False)


def test_turns_add_up():
    pixels = tf.constant(random_pixels(6, 7))
    once = distort(pixels, NEUTRAL._replace(hue=0.5))
    np.testing.assert_allclose(distort(once, NEUTRAL._replace(hue=0.5)), pixels, atol=5e-3)
    thrice = distort(distort(pixels, NEUTRAL._replace(hue=0.1)), NEUTRAL._replace(hue=0.4))
    np.testing.assert_allclose(thrice, once, atol=5e-3)


def test_eager_graph_and_compiled_agree():
    pixels = tf.constant(np.concatenate([random_pixels(20, 24), random_pixels(20, 1, seed=1) // 255 * 255], axis=1))
    graph, compiled = tf.function(distort), tf.function(distort, jit_compile=True)
    for numbers in [
        NEUTRAL,
        Distortion(-32.0, 1.0, 1.5, 0.1, 0.5),
        Distortion(32.0, 1.5, 0.5, -0.1, 1.0),
        Distortion(0.0, 1.0, 2.0, -0.5, 1.0),
    ]:
        distortion = Distortion(*(tf.constant(number, tf.float32) for number in numbers))
        eager = distort(pixels, distortion)
        np.testing.assert_allclose(graph(pixels, distortion), eager, rtol=0, atol=1e-3)
        np.testing.assert_allclose(compiled(pixels, distortion), eager, rtol=0, atol=1e-3)


# ---- draws ----------------------------------------------------------------------------------------------------------

NAMES = ("brightness", "contrast", "saturation", "hue")


def drawn(count, augmentation, *, seed=0):
    """The distortions of this many images, as arrays; contrast joined, and whether it came first."""
    draws = np.random.default_rng(seed).random((count, NUMBER_OF_DRAWS)).astype(np.float32)
    draws = np.minimum(draws, np.float32(1 - 2**-24))  # the rounding to float32 may give 1
    found = Distortion(*(column.numpy() for column in draw_distortions(tf.constant(draws), augmentation)))
    assert all(column.shape == (count,) and column.dtype == np.float32 for column in found)
    return found


def applied(found):
    contrast = (found.contrast_first != 1) | (found.contrast_last != 1)
    return np.stack([found.brightness != 0, contrast, found.saturation != 1, found.hue != 0])


def assert_share(share, expected, count):
    """A share of so many fair draws, within five standard deviations."""
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count), (share, expected)


def test_the_lowest_and_the_highest_numbers():
    always = replace(PAPER, photometric_probability=1.0)
    low = draw_distortions(tf.zeros([1, NUMBER_OF_DRAWS]), always)
    np.testing.assert_allclose(np.stack(low)[:, 0], [-32, 0.5, 0.5, -0.1, 1])  # 36 of 360 degrees are .1
    high = draw_distortions(tf.fill([1, NUMBER_OF_DRAWS], 1 - 2**-24), always)
    np.testing.assert_allclose(np.stack(high)[:, 0], [32, 1, 1.5, 0.1, 1.5], rtol=1e-6)
    # Never applied: 1 - 2**-24 is not below one half.
    np.testing.assert_array_equal(
        draw_distortions(tf.fill([1, NUMBER_OF_DRAWS], 1 - 2**-24), PAPER), np.array(NEUTRAL)[:, None]
    )


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_each_step_comes_by_itself_with_the_probability(probability):
    count = 6000
    steps = applied(drawn(count, replace(PAPER, photometric_probability=probability)))
    for step in steps:
        assert_share(step.mean(), probability, count)
    for first, second in ((a, b) for a in range(4) for b in range(a)):
        assert_share((steps[first] & steps[second]).mean(), probability**2, count)
    assert_share(steps.all(axis=0).mean(), probability**4, count)


def test_probability_zero_and_one():
    for column, neutral in zip(drawn(50, replace(PAPER, photometric_probability=0.0)), NEUTRAL, strict=True):
        assert (column == neutral).all()
    assert applied(drawn(2000, replace(PAPER, photometric_probability=1.0))).mean() > 0.999


def test_the_numbers_fill_their_ranges_evenly():
    count = 6000
    augmentation = replace(PAPER, photometric_probability=1.0, contrast=(0.6, 1.2), saturation=(0.9, 3.0))
    found = drawn(count, augmentation)
    contrast = found.contrast_first * found.contrast_last  # one of them is 1
    for numbers, low, high in (
        (found.brightness, -32, 32),
        (contrast, 0.6, 1.2),
        (found.saturation, 0.9, 3.0),
        (found.hue, -0.1, 0.1),
    ):
        assert low - 1e-6 <= numbers.min() < numbers.max() <= high + 1e-6
        for part in np.histogram(numbers, bins=5, range=(low, high + 1e-6))[0] / count:
            assert_share(part, 0.2, count)


def test_contrast_comes_first_half_of_the_time():
    count = 6000
    found = drawn(count, replace(PAPER, photometric_probability=1.0))
    first, last = found.contrast_first != 1, found.contrast_last != 1
    assert not (first & last).any()
    assert_share(first.mean(), 0.5, count)
    # The place says nothing of the factor: the means of 3000 uniform numbers have a deviation of .29 / 55 = .0053.
    assert abs(found.contrast_first[first].mean() - 1) < 0.03
    assert abs(found.contrast_last[last].mean() - 1) < 0.03


def test_the_numbers_are_unrelated():
    found = np.stack(drawn(6000, replace(PAPER, photometric_probability=1.0)))
    contrast = found[1] * found[4]
    related = np.corrcoef([found[0], contrast, found[2], found[3]])
    assert np.abs(related - np.eye(4)).max() < 5 / math.sqrt(6000)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_off_is_neutral(name):
    steps = applied(drawn(300, replace(PAPER, photometric_probability=1.0, **{name: None})))
    assert steps.mean(axis=1).round(2).tolist() == [float(other != name) for other in NAMES]


def test_all_steps_off():
    found = drawn(40, replace(PAPER, brightness=None, contrast=None, saturation=None, hue=None))
    assert not applied(found).any()
