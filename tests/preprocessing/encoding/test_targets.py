"""Encoding ground truth: literals, every way it is run, and a slow reference on random and on real objects."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.annotation import fractions, parse_annotation
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.encoding.targets import SparseTargets, encode_ground_truth, to_dense

SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)


def in_graph(spec):
    """The encoder traced once for any number of objects."""
    signature = [tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.int32)]
    return tf.function(lambda boxes, labels: encode_ground_truth(boxes, labels, spec), input_signature=signature)


def reference_overlaps(boxes, spec):
    """IoU [G, 8732] in float32: matching compares equal overlaps, so the reference must round as the encoder does."""
    cx, cy, w, h = default_boxes(spec).T
    half = np.float32(2)
    corners = (cy - h / half, cx - w / half, cy + h / half, cx + w / half)
    truth = [boxes[:, i, None] for i in range(4)]
    height = np.minimum(truth[2], corners[2]) - np.maximum(truth[0], corners[0])
    width = np.minimum(truth[3], corners[3]) - np.maximum(truth[1], corners[1])
    shared = np.where((height > 0) & (width > 0), height * width, np.float32(0))
    sizes = (corners[2] - corners[0]) * (corners[3] - corners[1])
    union = (truth[2] - truth[0]) * (truth[3] - truth[1]) + sizes - shared
    assert shared.dtype == union.dtype == np.float32
    return shared / union


def reference_matches(overlaps, spec):
    """The object of each matched default box, {default box: object}: the greedy part one pair at a time."""
    matches = {}
    if spec.matching == "threshold":
        for a in np.flatnonzero((overlaps >= 0.5).any(axis=0)).tolist():
            matches[a] = next(g for g in range(len(overlaps)) if overlaps[g, a] >= 0.5)
        return matches
    free = overlaps.T.copy()  # [A, G]: the first maximum is the lowest default box, then the earliest object
    for _ in range(len(overlaps)):
        a, g = np.unravel_index(free.argmax(), free.shape)
        if free[a, g] <= 1e-6:
            break
        matches[int(a)] = int(g)
        free[a], free[:, g] = -1, -1
    for a in np.flatnonzero((overlaps >= 0.5).any(axis=0)).tolist():
        matches.setdefault(a, int(overlaps[:, a].argmax()))
    return matches


def reference_targets(boxes, labels, spec):
    matches = reference_matches(reference_overlaps(boxes, spec), spec) if len(boxes) else {}
    indices, rows = sorted(matches), []
    for a in indices:
        ymin, xmin, ymax, xmax = boxes[matches[a]].astype(np.float64).tolist()
        dcx, dcy, dw, dh = default_boxes(spec)[a].astype(np.float64).tolist()
        cx, cy, w, h = (xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin
        if spec.variances is None:
            rows.append((cx - dcx, cy - dcy, w - dw, h - dh))
        else:
            rows.append((10 * (cx - dcx) / dw, 10 * (cy - dcy) / dh, 5 * math.log(w / dw), 5 * math.log(h / dh)))
    return indices, [int(labels[matches[a]]) for a in indices], np.array(rows).reshape(-1, 4)


def check(targets, boxes, labels, spec):
    indices, expected_labels, offsets = reference_targets(boxes, labels, spec)
    assert targets.indices.numpy().tolist() == indices
    assert targets.labels.numpy().tolist() == expected_labels
    np.testing.assert_allclose(targets.offsets, offsets, rtol=1e-4, atol=2e-4)


def random_objects(seed, count):
    """Boxes inside the image with sides from 1 % to all of it, and their labels, all different."""
    random = np.random.default_rng(seed)
    sides = np.exp(random.uniform(np.log(0.01), 0, (count, 2)))
    corners = random.uniform(0, 1, (count, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    return boxes, random.permutation(count).astype(np.int32) + 1


# One of each stage whose boxes fit into the image.
@pytest.mark.parametrize("index", [1568, 1570, 6831, 8213, 8617, 8708, 8728])
def test_a_default_box_as_ground_truth_matches_itself_with_zero_offsets(index):
    cx, cy, w, h = default_boxes(PAPER)[index].tolist()
    targets = encode_ground_truth([[cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2]], [7])
    [place] = np.flatnonzero(targets.indices.numpy() == index)
    np.testing.assert_allclose(targets.offsets[place], [0, 0, 0, 0], atol=2e-5)
    assert set(targets.labels.numpy().tolist()) == {7}


def test_literals_of_the_paper():
    # In pixels of 300: x 0..264, y 36..300, so the center is (132, 168), both sides 264.
    targets = encode_ground_truth([[36 / 300, 0, 1, 264 / 300]], [3])
    indices = targets.indices.numpy().tolist()
    # Number 8728 is 264 x 264 at (150, 150): shared 246², IoU 60516 / (2·69696 - 60516) = .767. 8729, of side
    # sqrt(264·315) = 288.4, shares 258.2² (x 5.8..264, y 36..294.2) of 69696 + 83160: .774.
    assert {8728, 8729} <= set(indices)
    assert set(targets.labels.numpy().tolist()) == {3}
    offsets = dict(zip(indices, targets.offsets.numpy(), strict=True))
    # (132 - 150)/264/.1, (168 - 150)/264/.1, ln 1/.2, ln 1/.2
    np.testing.assert_allclose(offsets[8728], [-0.681818, 0.681818, 0, 0], atol=1e-5)
    side = math.sqrt(264 * 315)
    log_side = math.log(264 / side) / 0.2
    np.testing.assert_allclose(offsets[8729], [-180 / side, 180 / side, log_side, log_side], atol=1e-5)


def test_literals_of_the_article():
    # The article's example (cx, cy, w, h) = (.293, .56, .48, .88), and its eight default boxes from the end.
    targets = encode_ground_truth([[0.12, 0.053, 1.0, 0.533]], [15], ARTICLE)
    numbers = [123, 121, 119, 93, 91, 89, 27, 25]
    assert targets.indices.numpy().tolist() == [8732 - number for number in numbers]
    assert targets.labels.numpy().tolist() == [15] * 8
    # Number 25 is 4 · 6 + 1 from the end of 3 x 3 cells with 4 shapes after the last 4: cell (row 1, column 0), shape
    # 3 (ratio 2), center (1/6, 1/2), w = .725/sqrt(2), h = .725·sqrt(2).
    expected = [0.293 - 1 / 6, 0.56 - 1 / 2, 0.48 - 0.725 / 2**0.5, 0.88 - 0.725 * 2**0.5]
    np.testing.assert_allclose(targets.offsets[-1], expected, atol=1e-6)


def test_a_small_object_takes_its_best_default_box_alone():
    # 6 x 8 pixels around (12, 4): 48 square pixels of at least 900 of a default box (225 in the article), far below .5.
    box = np.array([[0.0, 9 / 300, 8 / 300, 15 / 300]], np.float32)
    targets = encode_ground_truth(box, [2])
    assert targets.labels.numpy().tolist() == [2]
    cx, cy, w, h = (default_boxes(PAPER)[int(targets.indices[0])] * 300).tolist()
    # Of those that hold it whole, one of the smallest.
    assert cx - w / 2 <= 9 <= 15 <= cx + w / 2
    assert cy - h / 2 <= 0 <= 8 <= cy + h / 2
    assert w * h == pytest.approx(900, rel=1e-5)
    assert encode_ground_truth(box, [2], ARTICLE).indices.shape == (0,)


@SPECS
def test_without_objects_there_are_no_targets(spec):
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    for targets in (encode_ground_truth(*empty, spec), in_graph(spec)(*empty), encode_ground_truth([], [], spec)):
        assert [tuple(tensor.shape) for tensor in targets] == [(0,), (0,), (0, 4)]
        assert [tensor.dtype for tensor in targets] == [tf.int32, tf.int32, tf.float32]
        dense = to_dense(targets, spec)
        assert not dense.labels.numpy().any()
        assert not dense.offsets.numpy().any()


@SPECS
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_random_objects_equal_the_slow_reference(spec, count):
    encode = in_graph(spec)
    for seed in range(8):
        boxes, labels = random_objects(seed, count)
        check(encode(boxes, labels), boxes, labels, spec)


@SPECS
def test_objects_that_compete_equal_the_slow_reference(spec):
    # Seven times the same object and five a little wider ones, by less than a default box's step: all want the same.
    boxes = np.tile(np.array([[0.4, 0.45, 0.46, 0.5]], np.float32), (12, 1))
    boxes[6:, 3] += np.linspace(0, 0.01, 6, dtype=np.float32)
    labels = np.arange(1, 13, dtype=np.int32)
    targets = encode_ground_truth(boxes, labels, spec)
    check(targets, boxes, labels, spec)
    if spec is PAPER:
        assert set(targets.labels.numpy().tolist()) == set(range(1, 13))


def test_every_object_of_the_paper_gets_a_default_box():
    for seed in range(10):
        boxes, labels = random_objects(100 + seed, 30)
        assert set(encode_ground_truth(boxes, labels).labels.numpy().tolist()) == set(labels.tolist())


@SPECS
def test_a_dataset_of_any_number_of_objects_gives_the_eager_bits(spec):
    pictures = [random_objects(seed, count) for seed, count in enumerate((3, 0, 1, 17))]
    signature = (tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.int32))
    dataset = tf.data.Dataset.from_generator(lambda: iter(pictures), output_signature=signature)
    encoded = dataset.map(lambda boxes, labels: encode_ground_truth(boxes, labels, spec), num_parallel_calls=2)
    for targets, objects in zip(encoded, pictures, strict=True):
        for mapped, eager in zip(targets, encode_ground_truth(*objects, spec), strict=True):
            np.testing.assert_array_equal(mapped, eager)


def test_arrays_lists_and_tensors_of_other_types_encode_alike():
    boxes, labels = random_objects(1, 4)
    expected = encode_ground_truth(boxes, labels)
    for other in (
        (boxes.tolist(), labels.tolist()),
        (boxes.astype(np.float64), labels.astype(np.int64)),
        (tf.constant(boxes), tf.constant(labels, tf.int64)),
    ):
        for tensor, expected_tensor in zip(encode_ground_truth(*other), expected, strict=True):
            assert tensor.dtype == expected_tensor.dtype
            np.testing.assert_array_equal(tensor, expected_tensor)


def test_to_dense_scatters_and_fills_with_background():
    offsets = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    sparse = SparseTargets(tf.constant([3, 8731], tf.int64), tf.constant([20, 4], tf.int64), tf.constant(offsets))
    labels, dense = to_dense(sparse)
    assert (labels.dtype, dense.dtype) == (tf.int32, tf.float32)
    assert (tuple(labels.shape), tuple(dense.shape)) == ((8732,), (8732, 4))
    assert np.flatnonzero(labels).tolist() == [3, 8731]
    assert labels.numpy()[[3, 8731]].tolist() == [20, 4]
    np.testing.assert_array_equal(dense.numpy()[[3, 8731]], offsets)
    assert np.count_nonzero(dense) == 8


@SPECS
def test_real_annotations_equal_the_slow_reference(spec, real_data):
    paths = sorted((real_data / "voc200/VOCdevkit/VOC2007/Annotations").glob("*.xml"))
    if not paths:
        pytest.skip("the real data hold no voc200 annotations")
    encode, objects = in_graph(spec), 0
    for path in paths:
        annotation = parse_annotation(path.read_bytes(), str(path))
        width, height = annotation.size
        rows = [fractions((o.xmin, o.ymin, o.xmax, o.ymax), width=width, height=height) for o in annotation.objects]
        boxes = np.clip(np.array(rows, np.float32).reshape(-1, 4), 0, 1)
        labels = np.arange(1, len(rows) + 1, dtype=np.int32)  # the objects' own numbers: a mix-up shows
        targets = encode(boxes, labels)
        check(targets, boxes, labels, spec)
        if spec is PAPER:
            assert set(targets.labels.numpy().tolist()) == set(labels.tolist()), path
        objects += len(rows)
    assert objects > len(paths)
