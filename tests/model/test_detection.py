"""From scores and boxes to detections: literals, and slow sequential references in exact arithmetic."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings, strategies as st

from ssd300.model import detection as nms
from ssd300.model.default_boxes import default_boxes
from ssd300.model.detection import Detections, suppress
from ssd300.model.spec import ARTICLE, PAPER, SuppressionSpec

GREEDY = SuppressionSpec(keep=8)
AVERAGE = SuppressionSpec(method="average", iou_threshold=0.3, keep=8)


def run(boxes, scores, spec):
    """One image: boxes [A, 4] and scores [A, C]; detections as arrays."""
    arrays = tf.constant(boxes, tf.float32)[None], tf.constant(scores, tf.float32)[None]
    return Detections(*(tensor[0].numpy() for tensor in suppress(*arrays, spec=spec)))


def one_class(scores):
    """Scores [A, 2] of a single class; the background gets the rest."""
    return [[1 - score, score] for score in scores]


def found(detections):
    """The detections without their padding: (label, score, box), rounded."""
    rows = zip(detections.labels, detections.scores, detections.boxes, strict=True)
    return [
        (int(label), round(float(score), 4), tuple(round(float(v), 4) for v in box))
        for label, score, box in rows
        if label > 0
    ]


def exact_iou(first, second):
    first, second = ([Fraction(v) for v in box] for box in (first, second))
    sides = [max(min(first[i + 2], second[i + 2]) - max(first[i], second[i]), 0) for i in (0, 1)]
    shared = sides[0] * sides[1]
    areas = sum(max(b[2] - b[0], 0) * max(b[3] - b[1], 0) for b in (first, second))
    return shared / (areas - shared) if areas > shared else Fraction(0)


def slow_greedy(boxes, scores, spec):
    """Caffe's ApplyNMSFast a class, then the best of the image; rows of (label, score, box)."""
    threshold, rows = Fraction(str(spec.iou_threshold)), []
    for label in range(1, len(scores[0])):
        order = [i for i in range(len(boxes)) if scores[i][label] > spec.score_threshold]
        order = sorted(order, key=lambda i: -scores[i][label])[: spec.candidates]
        kept = []
        for i in order:
            if all(exact_iou(boxes[i], boxes[k]) <= threshold for k in kept):
                kept.append(i)
        rows += [(label, scores[i][label], boxes[i]) for i in kept]
    return sorted(rows, key=lambda row: -row[1])[: spec.keep]


def slow_average(boxes, scores, spec):
    """The article's suppression, sequentially; also how near the threshold an IoU of means came."""
    threshold, rows, margin = Fraction(str(spec.iou_threshold)), [], Fraction(1)
    for label in range(1, len(scores[0])):
        order = [
            i for i, row in enumerate(scores) if max(row) == row[label] > max([*row[:label], spec.score_threshold])
        ]
        order = sorted(order, key=lambda i: -scores[i][label])[: spec.candidates]
        rest, first = [(scores[i][label], boxes[i]) for i in order], True
        while True:
            merged, free = [], list(rest)
            while free:
                leader, *others = free
                overlaps = [exact_iou(leader[1], box) for _, box in others]
                if not first:
                    margin = min([margin, *(abs(o - threshold) for o in overlaps)])
                group = [leader] + [other for other, o in zip(others, overlaps, strict=True) if o >= threshold]
                free = [other for other, o in zip(others, overlaps, strict=True) if o < threshold]
                mean = tuple(sum(Fraction(b[i]) for _, b in group) / len(group) for i in range(4))
                merged.append((leader[0], mean))
            if len(merged) == len(rest):
                break
            rest, first = merged, False
        rows += [(label, score, box) for score, box in rest]
    return sorted(rows, key=lambda row: -row[1])[: spec.keep], margin


# Ten boxes on a grid of 1/8, where float32 is exact: equal overlaps and overlaps of exactly 9/20 and 3/10 occur.
grid_side = st.tuples(st.integers(0, 7), st.integers(1, 5)).map(lambda s: (s[0] / 8, min(s[0] + s[1], 8) / 8))
grid_box = st.tuples(grid_side, grid_side).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1]))
score_rows = st.tuples(*[st.integers(0, 8)] * 3).map(lambda r: [v / 8 for v in r])
pictures = st.tuples(*(st.lists(element, min_size=10, max_size=10) for element in (grid_box, score_rows)))


def compiled(spec):
    signature = [tf.TensorSpec([1, 10, 4]), tf.TensorSpec([1, 10, 3])]
    return tf.function(lambda b, s: suppress(b, s, spec=spec), input_signature=signature)


def check_rows(detections, expected, keep):
    detections = Detections(*(tensor[0].numpy() for tensor in detections))
    assert detections.count == len(expected)
    assert detections.labels.tolist() == [row[0] for row in expected] + [0] * (keep - len(expected))
    np.testing.assert_allclose(detections.scores, [row[1] for row in expected] + [0.0] * (keep - len(expected)))
    boxes = [[float(v) for v in row[2]] for row in expected] + [[0.0] * 4] * (keep - len(expected))
    np.testing.assert_allclose(detections.boxes, boxes, atol=1e-5)


GREEDY_SMALL = SuppressionSpec(score_threshold=0.125, candidates=6, keep=7)
AVERAGE_SMALL = replace(GREEDY_SMALL, method="average", iou_threshold=0.3)
greedy_in_graph, average_in_graph = compiled(GREEDY_SMALL), compiled(AVERAGE_SMALL)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_greedy_equals_the_sequential_algorithm(picture):
    boxes, scores = picture
    check_rows(greedy_in_graph([boxes], [scores]), slow_greedy(boxes, scores, GREEDY_SMALL), keep=7)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_average_equals_the_sequential_algorithm(picture):
    boxes, scores = picture
    expected, margin = slow_average(boxes, scores, AVERAGE_SMALL)
    assume(margin > 1e-5)  # means are rounded in float32: too close to call
    check_rows(average_in_graph([boxes], [scores]), expected, keep=7)


def test_greedy_keeps_what_only_a_suppressed_box_overlaps():
    # Neighbors share .6 of 1.0, the first and the third .4 of 1.2: only the second is dropped.
    chain = [[0, 0.0, 0.2, 0.8], [0, 0.2, 0.2, 1.0], [0, 0.4, 0.2, 1.2]]
    detections = run(chain, one_class([0.9, 0.8, 0.7]), GREEDY)
    assert found(detections) == [(1, 0.9, (0, 0, 0.2, 0.8)), (1, 0.7, (0, 0.4, 0.2, 1.0))]


def test_the_order_is_that_of_the_scores_not_of_the_boxes():
    boxes = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.5, 0.5, 1, 1]]
    detections = run(boxes, one_class([0.3, 0.6, 0.9]), GREEDY)
    assert found(detections) == [(1, 0.9, (0.5, 0.5, 1, 1)), (1, 0.6, (0, 0, 0.5, 0.45))]
    assert detections.count == 2


@pytest.mark.parametrize(("width", "kept"), [(0.45, 2), (0.46, 1)])
def test_greedy_drops_only_what_overlaps_by_more_than_the_threshold(width, kept):
    # The second box is a part of the first, so the IoU is `width`.
    detections = run([[0, 0, 1, 1], [0, 0, 1, width]], one_class([0.9, 0.8]), GREEDY)
    assert detections.count == kept


def test_a_score_must_be_higher_than_the_threshold():
    scores = np.array([0.01, np.nextafter(np.float32(0.01), np.float32(1)), 0.009], np.float32)
    boxes = [[0, 0, 0.1, 0.1], [0.2, 0.2, 0.3, 0.3], [0.4, 0.4, 0.5, 0.5]]
    detections = run(boxes, np.stack([1 - scores, scores], axis=1), GREEDY)
    assert detections.count == 1
    np.testing.assert_allclose(detections.boxes[0], boxes[1])


def test_classes_do_not_suppress_each_other():
    box = [0.25, 0.25, 0.75, 0.5]
    detections = run([box, box], [[0.1, 0.5, 0.4], [0.1, 0.3, 0.6]], GREEDY)
    assert found(detections) == [(2, 0.6, tuple(box)), (1, 0.5, tuple(box))]


def test_the_background_is_never_detected():
    detections = run([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [[1.0, 0.0, 0.0], [0.98, 0.005, 0.015]], GREEDY)
    assert found(detections) == [(2, 0.015, (0.5, 0.5, 1, 1))]


@pytest.mark.parametrize("spec", [GREEDY, AVERAGE], ids=["greedy", "average"])
def test_padding_is_zeros_and_label_0(spec):
    for scores, count in (([0.9, 0.001], 1), ([0.001, 0.002], 0)):
        detections = run([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], one_class(scores), spec)
        assert detections.count == count
        assert [array.shape for array in detections] == [(8, 4), (8,), (8,), ()]
        assert [array.dtype for array in detections] == [np.float32, np.float32, np.int32, np.int32]
        for array in detections[:3]:
            assert (array[count:] == 0).all()


def test_only_the_top_400_of_a_class_take_part():
    # 400 copies of one box outscore a lone box elsewhere, which therefore is not even a candidate.
    boxes = [[0, 0, 0.5, 0.5]] * 400 + [[0.5, 0.5, 1, 1]]
    detections = run(boxes, one_class([0.9] * 400 + [0.8]), PAPER.suppression)
    assert found(detections) == [(1, 0.9, (0, 0, 0.5, 0.5))]
    detections = run(boxes[1:], one_class([0.9] * 399 + [0.8]), PAPER.suppression)
    assert detections.count == 2


def test_200_remain_over_all_classes():
    edges, scores = np.linspace(0, 1, 151), np.linspace(0.9, 0.1, 150)
    boxes = np.stack([np.zeros(150), edges[:-1], np.ones(150), edges[1:]], axis=1)  # side by side
    # Class 2 is always a little surer than class 1 of the same box.
    detections = run(boxes, np.stack([0 * scores, scores, scores + 1e-4], axis=1), PAPER.suppression)
    assert detections.count == 200
    assert detections.labels.tolist() == [2, 1] * 100
    np.testing.assert_allclose(detections.scores[::2], scores[:100] + 1e-4, rtol=1e-6)
    np.testing.assert_allclose(detections.boxes[1::2], boxes[:100], atol=1e-6)


def test_boxes_are_clipped_only_after_suppression():
    # Inside the image the two are the same; as they are, they share 1 of 3 (1 · 1, 1 · 3): IoU 1/3.
    detections = run([[0, 0, 1, 1], [0, 0, 1, 3]], one_class([0.9, 0.8]), GREEDY)
    assert found(detections) == [(1, 0.9, (0, 0, 1, 1)), (1, 0.8, (0, 0, 1, 1))]
    detections = run([[-0.5, -0.25, 0.5, 0.75]], one_class([0.9]), GREEDY)
    assert found(detections) == [(1, 0.9, (0, 0, 0.5, 0.75))]


def test_average_of_three_boxes_of_which_two_overlap():
    boxes = [[0.5, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5], [0.125, 0.0, 0.625, 0.5]]
    # The last two share .375 · .5 of .3125: IoU .6. Their mean has the higher score; the first stays as it was.
    detections = run(boxes, one_class([0.7, 0.6, 0.8]), AVERAGE)
    assert found(detections) == [(1, 0.8, (0.0625, 0.0, 0.5625, 0.5)), (1, 0.7, (0.5, 0.5, 0.75, 1.0))]


@pytest.mark.parametrize(("width", "kept"), [(0.3, 1), (0.29, 2)])
def test_average_joins_from_the_threshold_on(width, kept):
    detections = run([[0, 0, 1, 1], [0, 0, 1, width]], one_class([0.9, 0.8]), AVERAGE)
    assert detections.count == kept


def test_average_is_repeated_until_nothing_overlaps():
    # Columns. Pass 1: the best, [0, .4], joins [.2, .6] (.2 of .6) but not [.3, .7] (.1 of .7): mean [.1, .5]. The
    # second best, [.3, .7], overlaps [.2, .6] as well (.3 of .5), but a better box has that one.
    # Pass 2: the mean shares .2 of .6 with [.3, .7] and joins it: [.2, .6].
    boxes = [[0, 0.0, 1, 0.4], [0, 0.2, 1, 0.6], [0, 0.3, 1, 0.7]]
    detections = run(boxes, one_class([0.9, 0.6, 0.7]), AVERAGE)
    assert found(detections) == [(1, 0.9, (0, 0.2, 1, 0.6))]


def test_with_average_a_box_belongs_to_its_best_class_alone():
    boxes = [[0, 0, 0.25, 0.25], [0.5, 0.5, 0.75, 0.75]]
    # The second box is background first of all: it is no detection, although .4 is over the threshold.
    detections = run(boxes, [[0.2, 0.35, 0.45], [0.6, 0.4, 0.0]], AVERAGE)
    assert found(detections) == [(2, 0.45, (0, 0, 0.25, 0.25))]


@pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)
def test_detect_softmaxes_and_decodes_a_batch_inside_a_graph(spec):
    logits = np.full((2, 8732, 4), [10.0, 0.0, 0.0, 0.0], np.float32)
    logits[0, 8728, 3] = 10 + np.log(3)  # three to one: .75, less what the others have
    logits[1, 8692, 1] = 12.0
    offsets = np.zeros((2, 8732, 4), np.float32)
    outputs = {"logits": tf.constant(logits), "offsets": tf.constant(offsets)}
    detections = tf.function(lambda o: nms.detect(o, spec))(outputs)
    assert detections.boxes.shape == (2, 200, 4)
    assert detections.count.numpy().tolist() == [1, 1]
    assert detections.labels.numpy()[:, 0].tolist() == [3, 1]
    # 3 / (3 + 1 + 2·exp(-10)), and exp(2) / (exp(2) + 1 + 2·exp(-10))
    expected = [3 / (4 + 2 * np.exp(-10)), np.exp(2) / (np.exp(2) + 1 + 2 * np.exp(-10))]
    np.testing.assert_allclose(detections.scores.numpy()[:, 0], expected, rtol=1e-5)
    for picture, index in enumerate((8728, 8692)):
        cx, cy, w, h = default_boxes(spec)[index].tolist()
        corners = np.clip([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], 0, 1)
        np.testing.assert_allclose(detections.boxes.numpy()[picture, 0], corners, atol=1e-6)
    eager = nms.detect(outputs, spec)
    for in_graph, eagerly in zip(detections, eager, strict=True):
        np.testing.assert_allclose(in_graph, eagerly, rtol=1e-6)


def test_detect_compares_boxes_as_decoded():
    # 8730 and 8731 are 264 px at ratio 2 and 1/2: 373.4 x 186.7, crossed. As they are they share 186.7² of
    # 2 · 264² - 186.7² (1/3); cut to the image 186.7² of 2 · 300 · 186.7 - 186.7² (.452): one would be dropped.
    logits = np.full((1, 8732, 2), [10.0, 0.0], np.float32)
    logits[0, [8730, 8731]] = [[0.0, 9.0], [0.0, 8.0]]
    detections = nms.detect({"logits": tf.constant(logits), "offsets": tf.zeros([1, 8732, 4])}, PAPER)
    half = 264 / 2**0.5 / 300 / 2
    expected = [[0.5 - half, 0, 0.5 + half, 1], [0, 0.5 - half, 1, 0.5 + half]]
    assert detections.count.numpy().tolist() == [2]
    np.testing.assert_allclose(detections.boxes[0, :2], expected, atol=1e-6)
