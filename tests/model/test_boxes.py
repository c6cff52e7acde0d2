"""Conversions, areas and overlaps: literals, both libraries, and a slow scalar reference."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.model import boxes as box_ops

LIBRARIES = pytest.mark.parametrize("convert", [np.array, tf.constant], ids=["numpy", "tensorflow"])


def box_array(rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def slow_iou(first, second):
    """One pair, in Python's float64."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    shared = height * width if height > 0 and width > 0 else 0.0
    areas = [max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0) for b in (first, second)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


# On a grid of 1/16 every area is exact in float32; swapped and empty boxes are among them.
grid_boxes = st.lists(st.tuples(*[st.integers(0, 16)] * 4), min_size=0, max_size=6).map(
    lambda rows: box_array(rows) / np.float32(16)
)


@LIBRARIES
def test_to_centers_and_to_corners_of_an_asymmetric_box(convert):
    corners = box_array([[0.1, 0.2, 0.5, 0.8], [-0.25, 0.5, 0.25, 1.5]])
    # cx = (.2 + .8) / 2, cy = (.1 + .5) / 2, w = .8 - .2, h = .5 - .1; and (.5 + 1.5) / 2, 0, 1, .5
    centers = box_array([[0.5, 0.3, 0.6, 0.4], [1.0, 0.0, 1.0, 0.5]])
    np.testing.assert_allclose(box_ops.to_centers(convert(corners)), centers, atol=1e-7)
    np.testing.assert_allclose(box_ops.to_corners(convert(centers)), corners, atol=1e-7)


@LIBRARIES
def test_conversions_keep_leading_dimensions_and_dtype(convert):
    corners = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)
    centers = box_ops.to_centers(convert(corners))
    assert tuple(centers.shape) == (2, 3, 5, 4)
    assert centers.dtype == np.float32
    np.testing.assert_array_equal(box_ops.to_corners(centers), corners)


@LIBRARIES
def test_each_function_returns_what_it_was_given(convert):
    boxes = convert(box_array([[0.1, 0.2, 0.5, 0.8]]))
    for function in (box_ops.to_centers, box_ops.to_corners, box_ops.area, box_ops.clip, box_ops.flip):
        assert tf.is_tensor(function(boxes)) == tf.is_tensor(boxes), function.__name__
    for function in (box_ops.intersection, box_ops.iou):
        assert tf.is_tensor(function(boxes, boxes)) == tf.is_tensor(boxes), function.__name__


@LIBRARIES
def test_area(convert):
    boxes = box_array(
        [
            [0.1, 0.2, 0.5, 0.8],  # .4 · .6
            [-1.0, -2.0, 1.0, 1.0],  # 2 · 3: nothing is clipped
            [0.3, 0.2, 0.3, 0.8],  # no height
            [0.5, 0.2, 0.1, 0.8],  # swapped in y
            [0.5, 0.8, 0.1, 0.2],  # swapped in both: not a positive product of two negatives
        ]
    )
    np.testing.assert_allclose(box_ops.area(convert(boxes)), [0.24, 6.0, 0.0, 0.0, 0.0], atol=1e-7)


# Each with its intersection and IoU.
PAIRS = {
    # .2 · .3 shared; .24 + .24 - .06 = .42
    "overlapping": ([0.0, 0.0, 0.4, 0.6], [0.2, 0.3, 0.6, 0.9], 0.06, 1 / 7),
    # .5 · .25 shared = .125; 1 · .25 + .5 · .75 - .125 = .5
    "asymmetric": ([0.0, 0.0, 1.0, 0.25], [0.25, 0.0, 0.75, 0.75], 0.125, 0.25),
    "equal": ([0.1, 0.2, 0.5, 0.8], [0.1, 0.2, 0.5, 0.8], 0.24, 1.0),
    # .2 · .5 within 1 · .5
    "contained": ([0.0, 0.5, 1.0, 1.0], [0.4, 0.5, 0.6, 1.0], 0.1, 0.2),
    "disjoint in both axes": ([0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], 0.0, 0.0),
    # The same rows, columns apart: a product with a negative width would be wrong.
    "disjoint in x only": ([0.0, 0.0, 0.5, 0.2], [0.0, 0.5, 0.5, 0.9], 0.0, 0.0),
    "touching": ([0.0, 0.0, 0.5, 0.5], [0.0, 0.5, 0.5, 1.0], 0.0, 0.0),
    "a line inside a box": ([0.0, 0.0, 1.0, 1.0], [0.2, 0.5, 0.8, 0.5], 0.0, 0.0),
    "a point with itself": ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], 0.0, 0.0),
    "swapped in y": ([0.0, 0.0, 1.0, 1.0], [0.8, 0.2, 0.2, 0.8], 0.0, 0.0),
    "swapped in both": ([0.0, 0.0, 1.0, 1.0], [0.8, 0.8, 0.2, 0.2], 0.0, 0.0),
}


@LIBRARIES
@pytest.mark.parametrize("name", PAIRS)
def test_overlap_of_a_pair(convert, name):
    first, second, shared, expected = PAIRS[name]
    for a, b in ((first, second), (second, first)):
        a, b = convert(box_array([a])), convert(box_array([b]))
        np.testing.assert_allclose(box_ops.intersection(a, b), [shared], atol=1e-7)
        np.testing.assert_allclose(box_ops.iou(a, b), [[expected]], atol=1e-6)


@LIBRARIES
def test_iou_has_rows_of_the_first_and_columns_of_the_second(convert):
    first = box_array([[0, 0, 1, 1], [0, 0, 0.5, 1]])
    second = box_array([[0, 0, 1, 1], [0.5, 0, 1, 1], [0, 0, 0.5, 0.5]])
    # Row 0: 1, .5 of 1, .25 of 1. Row 1: .5 of 1, nothing shared, .25 of .5.
    expected = np.array([[1, 0.5, 0.25], [0.5, 0, 0.5]], np.float32)
    np.testing.assert_allclose(box_ops.iou(convert(first), convert(second)), expected)
    np.testing.assert_allclose(box_ops.iou(convert(second), convert(first)), expected.T)


@LIBRARIES
def test_iou_of_batches_pairs_only_within_a_batch(convert):
    first = np.stack([box_array([[0, 0, 1, 1]]), box_array([[0, 0, 0.5, 0.5]])])  # [2, 1, 4]
    second = np.stack([box_array([[0, 0, 1, 0.5], [0, 0, 1, 1]]), box_array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 1]])])
    overlaps = box_ops.iou(convert(first), convert(second))
    np.testing.assert_allclose(overlaps, [[[0.5, 1.0]], [[1.0, 0.5]]])


@LIBRARIES
def test_iou_without_boxes_has_no_entries(convert):
    nothing, some = convert(box_array([])), convert(box_array([[0, 0, 1, 1]] * 3))
    assert tuple(box_ops.iou(nothing, some).shape) == (0, 3)
    assert tuple(box_ops.iou(some, nothing).shape) == (3, 0)


@settings(max_examples=60, deadline=None)
@given(grid_boxes, grid_boxes)
def test_iou_equals_a_scalar_loop_in_both_libraries(first, second):
    expected = np.array([[slow_iou(a, b) for b in second.tolist()] for a in first.tolist()])
    expected = expected.reshape(len(first), len(second))
    numpy_result = box_ops.iou(first, second)
    np.testing.assert_allclose(numpy_result, expected, rtol=1e-6)
    np.testing.assert_array_equal(box_ops.iou(tf.constant(first), tf.constant(second)), numpy_result)


@LIBRARIES
def test_clip_cuts_each_side_at_the_border(convert):
    boxes = box_array([[-0.1, 0.2, 0.5, 1.3], [0.1, -0.4, 1.2, 0.3], [1.1, 1.2, 1.3, 1.4]])
    expected = box_array([[0, 0.2, 0.5, 1], [0.1, 0, 1, 0.3], [1, 1, 1, 1]])
    np.testing.assert_array_equal(box_ops.clip(convert(boxes)), expected)


@LIBRARIES
def test_flip_mirrors_the_columns_alone(convert):
    boxes = box_array([[0.1, 0.25, 0.7, 0.375]])
    # xmin = 1 - .375, xmax = 1 - .25; the rows stay.
    flipped = box_ops.flip(convert(boxes))
    np.testing.assert_array_equal(flipped, box_array([[0.1, 0.625, 0.7, 0.75]]))
    np.testing.assert_array_equal(box_ops.flip(flipped), boxes)
