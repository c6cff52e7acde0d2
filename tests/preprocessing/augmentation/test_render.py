"""Pixels from a JPEG and a window: against a slow bilinear reference, at every scale that the decoder knows."""

import io
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from PIL import Image

from ssd300.preprocessing.augmentation.render import decode_resized, on_mean, render, round_to_bytes

WHOLE = (0, 0, 300, 300)
# One trace for all: as in the reader, and far faster than one operation after the other.
rendered = tf.function(
    render,
    input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((4,), tf.int32), tf.TensorSpec((4,), tf.int32)],
    autograph=False,
)


def stored(pixels, *, subsampling=0, quality=95, **options):
    """Bytes of a JPEG; without a subsampling of its colors a part of it decodes to the same pixels as the whole."""
    buffer = io.BytesIO()
    colors = {} if pixels.ndim == 2 else {"subsampling": subsampling}
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=quality, **colors, **options)
    return buffer.getvalue()


def picture(height, width, *, cell=8, seed=0):
    """A gradient that differs along both axes, and noise in cells of so many pixels."""
    random = np.random.default_rng(seed)
    y, x = np.linspace(200, 50, height)[:, None], np.linspace(50, 200, width)[None]
    noise = random.uniform(-50, 50, (-(-height // cell), -(-width // cell), 3))
    noise = noise.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return np.clip(np.stack([x + 0 * y, y + 0 * x, (x + y) / 2], axis=-1) + noise, 0, 255)


def decoded(jpeg):
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy().astype(np.float64)


def reference_weights(size, length):
    """[length, size]: how much of each pixel is in each of the result; centers lie at halves, no antialiasing."""
    weights = np.zeros((length, size))
    for place in range(length):
        at = (place + 0.5) * size / length - 0.5
        low = int(np.floor(at))
        weights[place, min(max(low, 0), size - 1)] += low + 1 - at
        weights[place, min(max(low + 1, 0), size - 1)] += at - low
    return weights


def reference_resize(pixels, height, width):
    rows, columns = reference_weights(pixels.shape[0], height), reference_weights(pixels.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, pixels, columns, optimize=True)


def reference(jpeg, source, target):
    top, left, height, width = source
    to_top, to_left, to_height, to_width = target
    canvas = np.zeros((300, 300, 3))
    part = decoded(jpeg)[top : top + height, left : left + width]
    canvas[to_top : to_top + to_height, to_left : to_left + to_width] = reference_resize(part, to_height, to_width)
    return canvas


def check(jpeg, source, target=WHOLE, tolerance=1e-2):
    found = rendered(jpeg, source, target)
    assert found.shape == (300, 300, 3)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, reference(jpeg, source, target), rtol=0, atol=tolerance)


LANDSCAPE = stored(picture(200, 300))


@pytest.mark.parametrize(
    "source",
    [(0, 0, 200, 300), (13, 57, 120, 200), (199, 0, 1, 300), (0, 299, 200, 1), (77, 131, 1, 1), (150, 210, 50, 90)],
)
def test_windows_inside_the_picture_fill_the_input(source):
    check(LANDSCAPE, source)


def test_a_larger_window_without_a_whole_ratio():
    # 599 of 300 pixels are below two to one: no scaling in the decoder, whatever the other side.
    jpeg = stored(picture(700, 599, cell=1))
    check(jpeg, (0, 0, 700, 599))
    check(jpeg, (50, 100, 599, 450))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        # An expansion: the whole image, at its own size, upwards and downwards.
        ((0, 0, 200, 300), (40, 0, 200, 300)),
        ((0, 0, 200, 300), (99, 150, 201, 150)),
        ((0, 0, 200, 300), (0, 1, 300, 299)),
        # A crop of an expansion: part of the image at an edge of the input.
        ((120, 0, 80, 170), (0, 210, 260, 90)),
        ((5, 6, 7, 8), (299, 0, 1, 300)),
        ((5, 6, 1, 1), (17, 290, 1, 1)),
    ],
)
def test_a_part_goes_to_its_place_with_nothing_around(source, target):
    check(LANDSCAPE, source, target)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_window_and_any_place(data):
    def span(length, least=1):
        size = data.draw(st.integers(least, length))
        return data.draw(st.integers(0, length - size)), size

    (top, height), (left, width) = span(200), span(300)
    # Less than two to one along an axis, so that nothing is scaled by the decoder.
    (to_top, to_height), (to_left, to_width) = span(300, height // 2 + 1), span(300)
    check(LANDSCAPE, (top, left, height, width), (to_top, to_left, to_height, to_width))


def test_nothing_visible_is_zero_and_then_mean():
    blank = rendered(LANDSCAPE, (199, 299, 1, 1), (0, 0, 0, 0))
    assert blank.shape == (300, 300, 3)
    assert not blank.numpy().any()
    assert (round_to_bytes(on_mean(blank, tf.zeros(4, tf.int32))).numpy() == (123, 117, 104)).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 400), (400, 1), (2, 3), (3000, 1), (1, 3000)])
def test_tiny_and_thin_pictures(height, width):
    jpeg = stored(picture(height, width, cell=1))
    check(jpeg, (0, 0, height, width))
    check(jpeg, (height - 1, width - 1, 1, 1), (10, 20, 33, 44))
    assert decode_resized(jpeg).shape == (300, 300, 3)


def test_grey_pictures_become_three_equal_channels():
    jpeg = stored(picture(200, 300)[..., 2])
    assert tf.io.extract_jpeg_shape(jpeg).numpy().tolist() == [200, 300, 1]
    check(jpeg, (20, 30, 150, 160), (5, 6, 200, 210))
    pixels = decode_resized(jpeg).numpy()
    assert np.ptp(pixels, axis=-1).max() == 0
    assert np.ptp(pixels) > 100
    large = rendered(stored(picture(640, 700, cell=16)[..., 1]), (0, 0, 640, 700), WHOLE).numpy()
    assert np.ptp(large, axis=-1).max() == 0


def reduced(pixels, ratio):
    """Means of squares of so many pixels, whose number must divide the sides."""
    height, width, _ = pixels.shape
    return pixels.reshape(height // ratio, ratio, width // ratio, ratio, 3).mean(axis=(1, 3))


@pytest.mark.parametrize(
    ("ratio", "source", "target"),
    [
        (2, (0, 0, 640, 720), WHOLE),
        (2, (80, 64, 600, 1160), WHOLE),  # 2 and 3 to one: the smaller counts
        (2, (120, 0, 640, 1360), (17, 40, 281, 260)),
        (4, (0, 0, 1200, 1360), WHOLE),
        (4, (240, 400, 480, 480), (100, 30, 120, 100)),
        (8, (0, 0, 1200, 1360), (200, 10, 75, 160)),
        (8, (64, 160, 1040, 960), (1, 2, 50, 53)),
    ],
)
@pytest.mark.parametrize("subsampling", [0, 2])
def test_large_pictures_are_averaged(ratio, source, target, subsampling):
    jpeg = large_picture(subsampling)
    top, left, height, width = source
    part = decoded(jpeg)[top : top + height, left : left + width]
    expected = reference_resize(reduced(part, ratio), *target[2:])
    found = rendered(jpeg, source, target).numpy()
    rows, columns = slice(target[0], target[0] + target[2]), slice(target[1], target[1] + target[3])
    shown = found[rows, columns].copy()
    found[rows, columns] = 0
    assert not found.any()
    error = np.abs(shown - expected).mean()
    assert error < (1.0 if subsampling == 0 else 2.0)
    # A shift by half a pixel would show.
    for axis in (0, 1):
        shifted = (expected + np.roll(expected, 1, axis)) / 2
        assert np.abs(shown - shifted).mean() > 1.5 * error


@lru_cache
def large_picture(subsampling):
    return stored(picture(1200, 1360, cell=20), subsampling=subsampling)


def edge(levels):
    """Where a row of levels of 30, then 230, changes, from their sum."""
    return len(levels) - (levels - 30).sum() / 200


@pytest.mark.parametrize(
    ("side", "first"), [(599, 101), (600, 101), (1200, 103), (2399, 101), (2400, 103), (2400, 111)]
)
def test_edges_stay_within_a_pixel_where_the_window_is_no_multiple_of_the_scale(side, first):
    # Dark left of and above the middle of the window, at every scale; the window begins at an odd pixel.
    middle = first + side // 3
    gray = np.full((first + side + 5, first + side + 9), 30)
    gray[:, middle:] = 230
    found = rendered(stored(gray), (first, first, side, side), WHOLE).numpy()
    assert edge(found[150, :, 0]) == pytest.approx((middle - first) / side * 300, abs=1)
    found = rendered(stored(gray.T), (first, first, side, side), WHOLE).numpy()
    assert edge(found[:, 150, 0]) == pytest.approx((middle - first) / side * 300, abs=1)


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"progressive": True, "subsampling": 2},
    ],
    ids=str,
)
def test_a_part_equals_the_same_part_of_the_whole(options):
    # Colors are smooth, so that what the decoder cannot know at the borders of the part is little.
    y, x = np.mgrid[0:200, 0:300]
    pixels = np.stack([x * 0.8, y * 1.2, (x + y) * 0.5], axis=-1) + 20 * np.sin(x / 5)[..., None]
    jpeg = stored(np.clip(pixels, 0, 255), **options)
    whole = decoded(jpeg)
    for top, left in ((0, 0), (1, 1), (7, 9), (16, 32), (37, 61), (100, 201)):
        for height, width in ((16, 16), (33, 50), (99, 98)):
            # Each pixel of the part is 1, 2, ... of the input, at its own size.
            found = rendered(jpeg, (top, left, height, width), (3, 4, height, width)).numpy()
            error = np.abs(found[3 : 3 + height, 4 : 4 + width] - whole[top : top + height, left : left + width])
            assert error.max() <= 6
            assert error.mean() < 0.5
            if options.get("subsampling") == 0:
                assert error.max() == 0


def test_only_the_visible_part_is_decoded():
    # The lower half of the file is missing: what lies above can be shown, the whole cannot.
    jpeg = stored(picture(800, 300))
    cut = jpeg[: len(jpeg) // 2]
    found = rendered(cut, (40, 50, 100, 120), WHOLE)
    np.testing.assert_allclose(found, reference(jpeg, (40, 50, 100, 120), WHOLE), atol=1e-2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        rendered(cut, (0, 0, 800, 300), WHOLE)


@pytest.mark.parametrize("size", [(200, 300), (301, 97), (300, 300)])
def test_decode_is_the_resize_of_the_whole_picture(jpeg, size):
    data = jpeg(size[1], size[0])
    pixels = decode_resized(data)
    assert pixels.shape == (300, 300, 3)
    assert pixels.dtype == tf.uint8
    expected = tf.image.resize(tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"), (300, 300)).numpy()
    np.testing.assert_array_equal(pixels, np.floor(expected + 0.5))


def test_decode_keeps_left_left_and_top_top():
    pixels = np.zeros((200, 300, 3))
    pixels[:, :150, 0] = 200
    pixels[:50, :, 2] = 200
    red, _, blue = np.moveaxis(decode_resized(stored(pixels, quality=100)).numpy().astype(int), -1, 0)
    assert abs(red[200, 100] - 200) <= 3
    assert red[200, 200] <= 3
    # Row 50 of 200 is row 75 of 300.
    assert abs(blue[70, 220] - 200) <= 3
    assert blue[80, 220] <= 3


def test_graph_and_dataset_give_the_eager_bits():
    jpegs = [LANDSCAPE, stored(picture(700, 640)), LANDSCAPE]
    sources = np.array([(13, 57, 120, 200), (20, 10, 650, 620), (0, 0, 1, 1)], np.int32)
    targets = np.array([WHOLE, (0, 0, 280, 300), (0, 0, 0, 0)], np.int32)
    mapped = tf.data.Dataset.from_tensor_slices((jpegs, sources, targets)).map(render, num_parallel_calls=2)
    assert mapped.element_spec == tf.TensorSpec((300, 300, 3), tf.float32)
    for found, *arguments in zip(mapped, jpegs, sources, targets, strict=True):
        eager = render(arguments[0], tf.constant(arguments[1]), tf.constant(arguments[2]))
        np.testing.assert_array_equal(found, eager)
        np.testing.assert_array_equal(rendered(*arguments), eager)
    plain = next(iter(tf.data.Dataset.from_tensors(LANDSCAPE).map(decode_resized)))
    np.testing.assert_array_equal(plain, decode_resized(LANDSCAPE))
