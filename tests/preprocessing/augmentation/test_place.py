"""How windows meet the pixels of the image and of the input."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings, strategies as st

from ssd300.preprocessing.augmentation.windows import place

WHOLE = [0.0, 0.0, 1.0, 1.0]


def placed(windows, sizes):
    placement = place(np.asarray(windows, np.float32), np.asarray(sizes, np.int32))
    assert (placement.source.dtype, placement.target.dtype) == (tf.int32, tf.int32)
    assert placement.windows.dtype == tf.float32
    return [array.numpy() for array in placement]


# Windows of an image of 300 x 200: height 200, width 300. Window, source, target and window as it comes back.
PLACED = {
    "the whole picture": (WHOLE, (0, 0, 200, 300), (0, 0, 300, 300), WHOLE),
    # Rows 20 to 180, columns 60 to 240.
    "on pixels": ([0.1, 0.2, 0.9, 0.8], (20, 60, 160, 180), (0, 0, 300, 300), [0.1, 0.2, 0.9, 0.8]),
    # Rows 20.4 to 179.6 and columns 60.3 to 239.7.
    "near pixels": ([0.102, 0.201, 0.898, 0.799], (20, 60, 160, 180), (0, 0, 300, 300), [0.1, 0.2, 0.9, 0.8]),
    # Rows 20.6 to 179.4: 21 to 179.
    "the other way": ([0.103, 0.2, 0.897, 0.8], (21, 60, 158, 180), (0, 0, 300, 300), [0.105, 0.2, 0.895, 0.8]),
    # Twice the size. Rows: the image lies from 75 to 225 of 300. Columns: from 37.4 to 187.4, so 37 to 187; an input
    # pixel is two of the image's, so the window reaches 74 to the left and 300 + 2 * 113 to the right.
    "expanded": (
        [-0.5, -0.249, 1.5, 1.751],
        (0, 0, 200, 300),
        (75, 37, 150, 150),
        [-0.5, -74 / 300, 1.5, 526 / 300],
    ),
    # Rows -100 to 100: the upper half is empty. Columns 150 to 450: the right half is.
    "beyond two borders": ([-0.5, 0.5, 0.5, 1.5], (0, 150, 100, 150), (150, 0, 150, 150), [-0.5, 0.5, 0.5, 1.5]),
    # Rows 10.4 to 110.4 and columns -99.5 to 200.5: 10 to 110, and 0 to 200 for 99.5 to 300, which are 100 to 300:
    # one pixel each, so the window is from -100 to 200.
    "beyond one border": (
        [0.052, -99.5001 / 300, 0.552, 200.4999 / 300],
        (10, 0, 100, 200),
        (0, 100, 300, 200),
        [0.05, -1 / 3, 0.55, 2 / 3],
    ),
    # Of the input 15 columns show the image, columns 285 to 300 of the window: it stays as drawn.
    "a sliver": ([0.1021, -0.95, 0.9, 0.05], (20, 0, 160, 15), (0, 285, 300, 15), [0.1021, -0.95, 0.9, 0.05]),
    # 16 columns are enough: rows 20.42 become 20.
    "no sliver": (
        [0.1021, -284 / 300, 0.9, 16 / 300],
        (20, 0, 160, 16),
        (0, 284, 300, 16),
        [0.1, -284 / 300, 0.9, 16 / 300],
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_place(name):
    window, source, target, fitted = PLACED[name]
    windows, sources, targets = placed([window], [[200, 300]])
    assert sources.tolist() == [list(source)]
    assert targets.tolist() == [list(target)]
    np.testing.assert_allclose(windows, [fitted], rtol=0, atol=2e-6)


@settings(max_examples=100, deadline=None)
@example(1, 1)
@example(1, 5000)
@example(5000, 1)
@example(65535, 65535)
@given(st.integers(1, 20000), st.integers(1, 20000))
def test_the_whole_picture_stays_the_whole_picture(height, width):
    windows, source, target = placed([WHOLE, [-0.0, -0.0, 1.0, 1.0]], [[height, width]] * 2)
    assert windows.tolist() == [WHOLE] * 2
    assert source.tolist() == [[0, 0, height, width]] * 2
    assert target.tolist() == [[0, 0, 300, 300]] * 2


BESIDE = [
    [1.0, 0.2, 1.5, 0.7],  # touches the image's lower border
    [-0.5, 0.2, 0.0, 0.7],
    [0.2, 1.0, 0.7, 1.5],
    [0.2, -0.5, 0.7, 0.0],
    [1.1, 1.1, 2.0, 2.0],
    [-3.0, -3.0, -2.0, -2.0],
    [-0.5, 1.2, 1.5, 3.2],
]


@pytest.mark.parametrize("size", [(200, 300), (1, 1), (1, 5000)])
def test_windows_outside_the_picture_show_nothing_of_it(size):
    windows, source, target = placed(BESIDE, [size] * len(BESIDE))
    np.testing.assert_array_equal(windows, np.array(BESIDE, np.float32))
    assert (target[:, 2:] == 0).all()
    check_inside(source, target, np.array([size] * len(BESIDE)))


def check_inside(source, target, sizes):
    """The source is of the image, the target of the input, as far as they can be read and written."""
    assert (source[:, :2] >= 0).all()
    assert (source[:, 2:] >= 1).all()
    assert (source[:, :2] + source[:, 2:] <= sizes).all()
    assert (target >= 0).all()
    assert (target[:, :2] + target[:, 2:] <= 300).all()


def test_pictures_of_a_batch_are_placed_by_themselves():
    windows = [window for window, *_ in PLACED.values()]
    together = placed(windows, [[200, 300]] * len(windows))
    for i, window in enumerate(windows):
        for one, of_all in zip(placed([window], [[200, 300]]), together, strict=True):
            np.testing.assert_array_equal(one[0], of_all[i])


# A canvas of up to four times the image and a crop of it, as the paper draws them.
axes = st.tuples(*[st.floats(0, 1, width=32)] * 4)


def drawn_window(y, x):
    def span(ratio, offset, scale, shift):
        ratio, scale = 1 + 3 * ratio, 0.2 + 0.8 * scale
        low = -offset * (ratio - 1) + shift * (1 - scale) * ratio
        return low, low + scale * ratio

    (ymin, ymax), (xmin, xmax) = span(*y), span(*x)
    return np.array([ymin, xmin, ymax, xmax], np.float32)


drawn_windows = st.builds(drawn_window, axes, axes)
picture_sides = st.sampled_from([1, 2, 3, 5000]) | st.integers(1, 2000)
fit = tf.function(place, input_signature=[tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None, 2], tf.int32)])


@settings(max_examples=400, deadline=None)
@given(drawn_windows, picture_sides, picture_sides)
@example(drawn_window((0, 0, 0.37, 0.37), (0, 0, 0.81, 0.2)), 1, 1)
@example(drawn_window((1, 0.9, 0, 0.7), (0, 0, 0.5, 0.5)), 1, 5000)
def test_placements_fit(window, height, width):
    size = np.array([height, width])
    windows, source, target = (array.numpy() for array in fit(window[None], size[None].astype(np.int32)))
    check_inside(source, target, size[None])
    window, fitted = window.astype(float), windows[0].astype(float)
    visible = (window[:2] < 1) & (window[2:] > 0)
    assert (target[0, 2:] > 0).all() == visible.all()
    if not visible.all():
        assert (target[0, 2:] == 0).all()
        np.testing.assert_array_equal(fitted, window)
        return
    low, high = window[:2] * size, window[2:] * size
    first, last = source[0, :2], source[0, :2] + source[0, 2:]
    begin, end = target[0, :2], target[0, :2] + target[0, 2:]
    per_pixel = 300 / (high - low)  # pixels of the input for one of the image
    for axis in range(2):
        # Less than a pixel of the image or of the input becomes one, then edges move further.
        shown = min(high[axis], size[axis]) - max(low[axis], 0)
        slack = 0.5 + 1e-5 * size[axis] + 1e-3
        if shown >= 1:
            assert abs(first[axis] - max(low[axis], 0)) <= slack
            assert abs(last[axis] - min(high[axis], size[axis])) <= slack
        if shown * per_pixel[axis] >= 1:
            assert abs(begin[axis] - max(-low[axis], 0) * per_pixel[axis]) <= 0.501
            assert abs(end[axis] - min((size[axis] - low[axis]) * per_pixel[axis], 300)) <= 0.501
        # Where a border of the window is in the image, it is the input's border, and the other way round.
        assert (begin[axis] == 0) or (low[axis] < 0 and first[axis] == 0)
        assert (end[axis] == 300) or (high[axis] > size[axis] and last[axis] == size[axis])
    if target[0, 2:].min() < 16:
        np.testing.assert_array_equal(fitted, window)
        return
    # Boxes meet the pixels: the source's edges, seen through the window that comes back, are the target's.
    edges = (np.stack([first, last]) / size - fitted[:2]) / (fitted[2:] - fitted[:2]) * 300
    np.testing.assert_allclose(edges, np.stack([begin, end]), rtol=0, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(drawn_windows, st.integers(100, 2000), st.integers(100, 2000))
def test_a_fitted_window_stays_where_it_is(window, height, width):
    sizes = np.array([[height, width]], np.int32)
    windows, source, target = (array.numpy() for array in fit(window[None], sizes))
    assume(target[0, 2:].min() >= 16)
    again = [array.numpy() for array in fit(windows, sizes)]
    np.testing.assert_allclose(again[0], windows, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(again[1], source)
    np.testing.assert_array_equal(again[2], target)
