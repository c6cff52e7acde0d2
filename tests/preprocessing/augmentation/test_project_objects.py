"""Which objects a window shows, and where, against literals and a plain-Python port of Caffe."""

import random

import numpy as np
import pytest
import tensorflow as tf
from drawing_windows import random_batch
from hypothesis import given, settings, strategies as st

from ssd300.preprocessing.augmentation.windows import project_objects

WHOLE = [0.0, 0.0, 1.0, 1.0]


def slow_project_objects(window, boxes):
    """MeetEmitConstraint CENTER and ProjectBBox; numbers and boxes of what is seen, and how close it was."""
    seen, margin = [], 1.0
    height, width = window[2] - window[0], window[3] - window[1]
    for i, (ymin, xmin, ymax, xmax) in enumerate(boxes):
        y, x = (ymin + ymax) / 2, (xmin + xmax) / 2
        distances = y - window[0], window[2] - y, x - window[1], window[3] - x
        margin = min([margin, *(abs(distance) for distance in distances)])
        if min(distances) < 0:
            continue
        box = [(ymin - window[0]) / height, (xmin - window[1]) / width]
        box += [(ymax - window[0]) / height, (xmax - window[1]) / width]
        box = [min(max(number, 0.0), 1.0) for number in box]
        if box[2] > box[0] and box[3] > box[1]:
            seen.append((i, box))
    return seen, margin


def seen(windows, boxes, owners):
    visible = project_objects(
        np.asarray(windows, np.float32), np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(owners, np.int32)
    )
    assert (visible.indices.dtype, visible.boxes.dtype) == (tf.int32, tf.float32)
    return visible.indices.numpy(), visible.boxes.numpy()


@pytest.mark.parametrize(
    ("window", "box", "expected"),
    [
        # The window is half as high and a quarter as wide as the image.
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.5625, 0.625, 0.625], [0.25, 0.25, 0.75, 0.5]),
        # Cut at all four borders.
        ([0.25, 0.5, 0.75, 0.75], [0.0, 0.25, 1.0, 1.0], [0, 0, 1, 1]),
        ([0.25, 0.5, 0.75, 0.75], [0.0, 0.5625, 0.625, 0.625], [0, 0.25, 0.75, 0.5]),
        # Centers on the borders: y = .25, y = .75, x = .5, x = .75.
        ([0.25, 0.5, 0.75, 0.75], [0.125, 0.5625, 0.375, 0.625], [0, 0.25, 0.25, 0.5]),
        ([0.25, 0.5, 0.75, 0.75], [0.625, 0.5625, 0.875, 0.625], [0.75, 0.25, 1, 0.5]),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.4375, 0.625, 0.5625], [0.25, 0, 0.75, 0.25]),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.6875, 0.625, 0.8125], [0.25, 0.75, 0.75, 1]),
        # Just beyond them.
        ([0.25, 0.5, 0.75, 0.75], [0.124, 0.5625, 0.375, 0.625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.625, 0.5625, 0.876, 0.625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.437, 0.625, 0.5625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.688, 0.625, 0.8125], None),
        # No area: neither before nor after.
        ([0.25, 0.5, 0.75, 0.75], [0.5, 0.5625, 0.5, 0.625], None),
        # A window over the image's border, as after an expansion to twice the size.
        ([-0.5, -0.25, 1.5, 1.75], [0.0, 0.0, 1.0, 0.5], [0.25, 0.125, 0.75, 0.375]),
    ],
)
def test_project_objects(window, box, expected):
    numbers, boxes = seen([window], [box], [0])
    assert numbers.tolist() == ([] if expected is None else [0])
    np.testing.assert_allclose(boxes, np.reshape(expected or [], (-1, 4)), rtol=0, atol=1e-6)


def test_objects_are_numbered_over_the_batch():
    quarter, inside, outside = [0, 0, 0.5, 0.5], [0, 0, 0.25, 0.25], [0.75, 0.75, 1, 1]
    numbers, boxes = seen([quarter, WHOLE, quarter], [outside, inside, inside, outside, outside], [0, 0, 1, 1, 2])
    assert numbers.tolist() == [1, 2, 3]
    assert boxes.tolist() == [[0, 0, 0.5, 0.5], inside, outside]


def test_no_object_is_seen_where_there_is_none():
    numbers, boxes = seen([WHOLE, [2, 2, 3, 3]], [], [])
    assert (numbers.shape, boxes.shape) == ((0,), (0, 4))
    numbers, boxes = seen([[2, 2, 3, 3]], [[0, 0, 1, 1]], [0])
    assert (numbers.shape, boxes.shape) == ((0,), (0, 4))


def drawn_windows(count):
    draws = np.random.default_rng(2).random([count, 4])
    low = draws[:, :2] * 1.5 - 0.75
    return np.concatenate([low, low + 0.2 + draws[:, 2:]], axis=1).astype(np.float32)


def test_project_objects_equals_caffes_loops():
    boxes, owners = random_batch(random.Random(1), 200, 0.002)
    windows = drawn_windows(200)
    windows[:3] = WHOLE
    numbers, found = seen(windows, boxes, owners)
    assert (np.diff(numbers) > 0).all()
    left_out = kept = 0
    for i, window in enumerate(windows.astype(float).tolist()):
        own = np.flatnonzero(owners == i)
        expected, margin = slow_project_objects(window, boxes[own].astype(float).tolist())
        if margin < 1e-6:
            left_out += 1
            continue
        got = np.isin(numbers, own)
        assert numbers[got].tolist() == [own[j] for j, _ in expected]
        np.testing.assert_allclose(found[got], np.array([box for _, box in expected]).reshape(-1, 4), rtol=0, atol=1e-5)
        kept += len(expected)
    assert left_out <= 2
    assert 0 < kept < len(boxes)


# Corners in pixels of an image of 200 x 300, as they come from annotations.
pixel_boxes = st.tuples(st.integers(0, 199), st.integers(0, 299), st.integers(1, 200), st.integers(1, 300)).map(
    lambda c: [min(c[0], c[2] - 1) / 200, min(c[1], c[3] - 1) / 300, c[2] / 200, c[3] / 300]
)
sides = st.tuples(st.floats(-3, 1, width=32), st.floats(0.0625, 4, width=32))  # low, size
any_windows = st.tuples(sides, sides).map(
    lambda s: np.array([s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]], np.float32)
)
look = tf.function(
    project_objects,
    input_signature=[
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
    ],
)


@settings(max_examples=200, deadline=None)
@given(any_windows, st.lists(pixel_boxes, max_size=6))
def test_what_is_seen_is_inside(window, boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    numbers, found = (array.numpy() for array in look(window[None], boxes, np.zeros(len(boxes), np.int32)))
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])).all()
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert ((centers[numbers] >= window[:2]) & (centers[numbers] <= window[2:])).all()
    # What is clearly in it and clearly has an area there is kept.
    rest = np.setdiff1d(np.arange(len(boxes)), numbers)
    assert not ((centers[rest] >= window[:2]) & (centers[rest] <= window[2:])).all(axis=1).any()


@settings(max_examples=100, deadline=None)
@given(st.lists(pixel_boxes, max_size=6))
def test_through_the_whole_picture_boxes_stay_bit_for_bit(boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    owners = np.sort(np.arange(len(boxes), dtype=np.int32) % 2)
    numbers, found = look(np.array([WHOLE, WHOLE], np.float32), boxes, owners)
    assert numbers.numpy().tolist() == list(range(len(boxes)))
    np.testing.assert_array_equal(found, boxes)
