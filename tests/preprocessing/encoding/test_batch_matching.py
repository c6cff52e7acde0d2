"""Matching images together, on candidate pairs alone, gives what each image's whole IoU matrix gives."""

from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, CLAMPED, PAPER, TORCHVISION
from ssd300.preprocessing.encoding import batch_matching
from ssd300.preprocessing.encoding.candidates import candidate_pairs
from ssd300.preprocessing.encoding.matching import match
from ssd300.preprocessing.encoding.targets import encode_batch

SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE, CLAMPED, TORCHVISION], ids=lambda spec: spec.name)
WHOLE = [0, 0, 1, 1]


def corners_of(spec) -> np.ndarray:
    return box_ops.to_corners(default_boxes(spec))


@lru_cache
def batch_encoder(spec):
    """`encode_batch` traced once for any number of objects and images, as the job runs it."""
    signature = [tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.int32)]
    return tf.function(lambda *arguments: encode_batch(*arguments, spec), input_signature=signature)


@lru_cache
def batch_matcher(spec):
    """`match_batch`, traced once; the third argument, the number of images, makes its result dense ``[B, A]``."""
    corners = tf.constant(corners_of(spec))
    signature = [tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.int32)]
    run = tf.function(
        lambda boxes, owners: batch_matching.match_batch(boxes, owners, corners, spec), input_signature=signature
    )
    return lambda boxes, owners, count: densely(run(boxes, owners), count, spec)


def densely(result, count, spec):
    """The object of each default box, -1 for none, and the highest overlaps."""
    slots, objects, highest = (array.numpy() for array in result)
    assert (np.diff(slots) > 0).all()
    matches = np.full(count * spec.boxes, -1)
    matches[slots] = objects
    return matches.reshape(count, spec.boxes), highest


def dense(boxes: np.ndarray, spec) -> np.ndarray:
    return match(tf.constant(box_ops.iou(boxes, corners_of(spec))), spec).numpy()


def assert_batch_equals_dense(pictures: list, spec) -> None:
    """Images are arrays [G, 4] of their objects, or lists of such rows."""
    pictures = [np.array(boxes, np.float32).reshape(-1, 4) for boxes in pictures]
    boxes, counts = np.concatenate(pictures), [len(boxes) for boxes in pictures]
    owners = np.repeat(np.arange(len(pictures), dtype=np.int32), counts)
    matches, highest = batch_matcher(spec)(boxes, owners, len(pictures))
    truly = box_ops.iou(boxes, corners_of(spec)).max(axis=1, initial=0)
    known = (truly >= spec.match_iou) | (spec.matching == "bipartite")
    np.testing.assert_array_equal(highest[known], truly[known])
    assert (highest <= truly).all()
    first = np.cumsum([0, *counts])
    expected = np.stack([
        np.where((own := dense(one, spec)) >= 0, own + first[number], -1) for number, one in enumerate(pictures)
    ])  # fmt: skip
    np.testing.assert_array_equal(matches, expected)

    targets = batch_encoder(spec)(boxes, owners)
    rows, places = np.nonzero(expected >= 0)
    np.testing.assert_array_equal(targets.pictures, rows)
    np.testing.assert_array_equal(targets.indices, places)
    np.testing.assert_array_equal(targets.objects, expected[rows, places])
    offsets = box_coder.encode(boxes[expected[rows, places]], default_boxes(spec)[places], variances=spec.variances)
    np.testing.assert_allclose(targets.offsets, offsets, rtol=1e-5, atol=1e-5)


def random_boxes(random: np.random.Generator, count: int, smallest: float = 0.01, largest: float = 1.0) -> np.ndarray:
    """Boxes inside the image, their sides spread evenly over the orders of magnitude."""
    sides = np.exp(random.uniform(np.log(smallest), np.log(largest), (count, 2)))
    starts = random.uniform(0, 1 - sides)
    return np.concatenate([starts, starts + sides], axis=1).astype(np.float32)


def crowd(random: np.random.Generator, count: int, side: float) -> np.ndarray:
    """Nearly equal objects at one place: all want the same default boxes."""
    middle = random.uniform(0.3, 0.6, 2)
    starts = middle + random.normal(0, side / 50, (count, 2))
    return np.concatenate([starts, starts + side * random.uniform(0.95, 1.05, (count, 2))], axis=1).astype(np.float32)


@SPECS
@pytest.mark.parametrize("seed", range(4))
def test_random_objects(spec, seed):
    random = np.random.default_rng(seed)
    assert_batch_equals_dense([random_boxes(random, count) for count in (3, 0, 1, 12, 0, 40)], spec)


@SPECS
@pytest.mark.parametrize("pictures", [[[]], [[], []], [[], [WHOLE], []], [[WHOLE], []]], ids=str)
def test_pictures_without_objects(spec, pictures):
    assert_batch_equals_dense(pictures, spec)


@SPECS
def test_no_picture_at_all_matches_nothing(spec):
    none = np.zeros((0, 4), np.float32)
    matches, highest = batch_matcher(spec)(none, np.zeros(0, np.int32), 0)
    assert (matches.shape, highest.shape) == ((0, 8732), (0,))


@SPECS
def test_duplicates_share_as_they_do_in_the_whole_matrix(spec):
    random = np.random.default_rng(5)
    several = random_boxes(random, 6, 0.05)
    assert_batch_equals_dense([several.repeat(3, axis=0), [WHOLE] * 9, np.tile(several[:2], (5, 1))], spec)


@SPECS
def test_tiny_objects(spec):
    random = np.random.default_rng(6)
    assert_batch_equals_dense([random_boxes(random, 30, 1e-3, 1.1e-3), crowd(random, 20, 1e-3)], spec)


@SPECS
def test_objects_at_the_borders_and_of_odd_shapes(spec):
    assert_batch_equals_dense(
        [
            [WHOLE, [0, 0, 1, 0.02], [0, 0.98, 1, 1], [0, 0, 0.02, 1], [0.98, 0, 1, 1]],
            [[0, 0, 0.01, 0.01], [0.99, 0.99, 1, 1], [0, 0.995, 0.005, 1], [0.4, 0, 0.401, 1]],
            [WHOLE, [0.001, 0.001, 0.999, 0.999], [0, 0.2, 1, 0.8]],
        ],
        spec,
    )


@SPECS
def test_objects_that_are_default_boxes(spec):
    """Every overlap ties with those of equal cells, and the best is exactly 1."""
    boxes = corners_of(spec)[[3, 700, 701, 4000, 5776, 6000, 8000, 8600, 8700, 8728, 8731]]
    assert_batch_equals_dense([box_ops.clip(boxes), box_ops.clip(boxes[::-1]), []], spec)


@SPECS
@pytest.mark.parametrize("side", [0.004, 0.03, 0.1, 0.4])
def test_crowds_of_nearly_equal_objects(spec, side):
    random = np.random.default_rng(7)
    pictures = [crowd(random, 60, side), random_boxes(random, 2), [], crowd(random, 25, side)]
    assert_batch_equals_dense(pictures, spec)


@pytest.fixture
def matched_again(monkeypatch) -> list[list[int]]:
    """Numbers of the images that were matched on their whole matrices, by call; outside graphs alone."""
    again: list[list[int]] = []
    run = batch_matching._match_again
    monkeypatch.setattr(
        batch_matching,
        "_match_again",
        lambda *arguments: (again.append(arguments[2].numpy().tolist()), run(*arguments))[1],
    )
    return again


def test_a_crowd_that_uses_up_its_candidates_is_matched_on_the_whole_matrix_and_it_alone(matched_again):
    random = np.random.default_rng(8)
    pictures = [random_boxes(random, 3, 0.1), crowd(random, 60, 0.03), np.zeros((0, 4), np.float32)]
    owners = np.repeat(np.arange(3, dtype=np.int32), [3, 60, 0])
    result = batch_matching.match_batch(
        tf.constant(np.concatenate(pictures)), tf.constant(owners), tf.constant(corners_of(PAPER)), PAPER
    )
    matches, _ = densely(result, 3, PAPER)
    assert matched_again == [[1]]
    assert set(matches[1][matches[1] >= 0]) == set(range(3, 63))  # each has a default box of its own
    np.testing.assert_array_equal(np.where(matches[1] >= 0, matches[1] - 3, -1), dense(pictures[1], PAPER))


def test_few_objects_need_no_whole_matrix(matched_again):
    boxes, owners = random_boxes(np.random.default_rng(9), 4, 0.1), np.array([0, 0, 1, 1], np.int32)
    batch_matching.match_batch(tf.constant(boxes), tf.constant(owners), tf.constant(corners_of(PAPER)), PAPER)
    assert matched_again == []


sides = st.sampled_from([0.001, 0.004, 0.02, 0.033, 0.1, 0.2, 0.37, 0.6, 0.95, 1.0]) | st.floats(0.001, 1)
places = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)


def box_of(y: float, x: float, height: float, width: float) -> list[float]:
    """A box of these sides inside the image; y and x tell how far it is from 0 to the other border."""
    return [y * (1 - height), x * (1 - width), y * (1 - height) + height, x * (1 - width) + width]


objects = st.builds(box_of, places, places, sides, sides)
# A few objects, each there once or as often as makes a conflict.
pictures_of_objects = st.lists(st.tuples(objects, st.sampled_from([1, 1, 1, 2, 7])), max_size=5).map(
    lambda groups: [box for box, times in groups for _ in range(times)]
)


@SPECS
@settings(max_examples=50, deadline=None)
@given(pictures=st.lists(pictures_of_objects, min_size=1, max_size=4))
def test_any_pictures_match_as_each_of_them_does(spec, pictures):
    assert_batch_equals_dense(pictures, spec)


@SPECS
@settings(max_examples=50, deadline=None)
@given(boxes=st.lists(objects, min_size=1, max_size=8))
def test_candidates_hold_every_pair_of_the_threshold_and_each_objects_best(spec, boxes):
    boxes = np.array(boxes, np.float32)
    found = [tensor.numpy() for tensor in candidate_pairs(tf.constant(boxes), spec)]
    pairs = set(zip(*(numbers.tolist() for numbers in found), strict=True))
    assert len(pairs) == len(found[0])  # none is there twice
    assert (np.diff(found[0]) >= 0).all()
    overlaps = box_ops.iou(boxes, corners_of(spec))
    wanted = overlaps >= spec.match_iou
    if spec.matching == "bipartite":
        wanted |= overlaps == overlaps.max(axis=1, keepdims=True)
    assert set(zip(*(numbers.tolist() for numbers in np.nonzero(wanted)), strict=True)) <= pairs


@SPECS
def test_candidates_are_few(spec):
    boxes = random_boxes(np.random.default_rng(10), 200, 0.02)
    assert len(candidate_pairs(tf.constant(boxes), spec)[0]) < 200 * 8732 / 20
