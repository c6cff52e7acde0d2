import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ssd300.training.evaluation.average_precision import DetectionEvaluator, average_precision, mean_average_precision

LEFT, RIGHT = [0.1, 0.1, 0.5, 0.4], [0.1, 0.6, 0.5, 0.9]


def evaluate(pictures, num_classes=3):
    evaluator = DetectionEvaluator(num_classes)
    for boxes, scores, labels, true_boxes, true_labels, difficult in pictures:
        evaluator.add(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(labels, np.int32),
            true_boxes=np.array(true_boxes, np.float32).reshape(-1, 4),
            true_labels=np.array(true_labels, np.int32),
            difficult=np.array(difficult, bool),
        )
    return evaluator.results()


def slow_results(pictures, label):
    """VOCevaldet, sequentially: precision and recall of one class."""
    detections, positives, used = [], 0, {}
    for index, (boxes, scores, labels, _, true_labels, difficult) in enumerate(pictures):
        positives += sum(t == label and not d for t, d in zip(true_labels, difficult, strict=True))
        detections += [
            (-s, index, b) for b, s, given_label in zip(boxes, scores, labels, strict=True) if given_label == label
        ]
    detections.sort(key=lambda row: row[0])
    true = false = 0
    recall, precision = [], []
    for _, index, box in detections:
        _, _, _, true_boxes, true_labels, difficult = pictures[index]
        best, best_iou = None, -1.0
        for g, (true_box, true_label) in enumerate(zip(true_boxes, true_labels, strict=True)):
            if true_label == label:
                height = min(box[2], true_box[2]) - max(box[0], true_box[0])
                width = min(box[3], true_box[3]) - max(box[1], true_box[1])
                shared = max(height, 0) * max(width, 0)
                areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, true_box))
                if shared / (areas - shared) > best_iou:
                    best, best_iou = g, shared / (areas - shared)
        if best_iou >= 0.5 and difficult[best]:
            continue
        if best_iou >= 0.5 and (index, best) not in used:
            used[index, best] = True
            true += 1
        else:
            false += 1
        recall.append(true / positives if positives else 0.0)
        precision.append(true / (true + false))
    return positives, recall, precision


def test_average_precision_by_hand():
    # true, false, true of two objects: recall .5 .5 1, precision 1 1/2 2/3.
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    # 2007: recalls 0 to .5 (6 points) see precision 1, .6 to 1 (5 points) see 2/3.
    assert average_precision(recall, precision, definition="voc2007") == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    # 2010: .5 wide at 1, .5 wide at 2/3.
    assert average_precision(recall, precision, definition="voc2010") == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_average_precision_of_no_detections_is_zero():
    for definition in ("voc2007", "voc2010"):
        assert average_precision(np.zeros(0), np.zeros(0), definition=definition) == 0.0


def test_a_recall_of_exactly_three_tenths_counts_at_that_point():
    # 3 of 10 objects: 3/10 and 0:0.1:1 differ in floating point.
    recall, precision = np.array([0.1, 0.2, 3 / 10]), np.ones(3)
    assert average_precision(recall, precision, definition="voc2007") == pytest.approx(4 / 11)


def test_unknown_definition_is_refused():
    with pytest.raises(ValueError, match="voc2012"):
        average_precision(np.ones(1), np.ones(1), definition="voc2012")


def test_a_second_detection_of_an_object_is_false():
    results = evaluate([([LEFT, LEFT], [0.9, 0.8], [1, 1], [LEFT], [1], [False])])
    np.testing.assert_allclose(results[1].precision, [1.0, 0.5])
    np.testing.assert_allclose(results[1].recall, [1.0, 1.0])
    assert results[1].voc2010 == pytest.approx(1.0)


def test_difficult_objects_count_neither_way():
    results = evaluate([([LEFT, RIGHT], [0.9, 0.8], [1, 1], [LEFT, RIGHT], [1, 1], [True, False])])
    assert (results[1].positives, results[1].detections) == (1, 1)
    assert results[1].voc2007 == pytest.approx(1.0)


def test_another_class_or_picture_is_no_hit():
    results = evaluate(
        [([LEFT], [0.9], [2], [LEFT], [1], [False]), ([RIGHT], [0.8], [1], [], [], [])],
    )
    assert results[1].voc2010 == results[1].voc2007 == 0.0
    assert np.isnan(results[2].voc2007)
    assert results[2].positives == 0


def test_an_overlap_of_exactly_one_half_is_enough():
    # The same corner; the object is half of the detection.
    results = evaluate([([[0, 0, 0.5, 0.8]], [0.9], [1], [[0, 0, 0.5, 0.4]], [1], [False])])
    assert results[1].voc2010 == 1.0


def test_mean_leaves_out_classes_without_objects():
    results = evaluate([([LEFT], [0.9], [1], [LEFT], [1], [False])])
    assert mean_average_precision(results, definition="voc2007") == 1.0
    assert np.isnan(mean_average_precision(evaluate([]), definition="voc2007"))


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"labels must be in \[1, 2\]"):
        evaluate([([LEFT], [0.9], [3], [LEFT], [1], [False])])
    with pytest.raises(ValueError, match="at least 2"):
        DetectionEvaluator(1)


# Eighths are exact in binary, so that both sides see the same ties and thresholds.
corner = st.integers(0, 4)
box = st.tuples(corner, corner, st.integers(1, 4), st.integers(1, 4)).map(
    lambda c: [c[0] / 8, c[1] / 8, (c[0] + c[2]) / 8, (c[1] + c[3]) / 8]
)


@st.composite
def picture(draw):
    count, objects = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    labels = st.integers(1, 2)
    return (
        draw(st.lists(box, min_size=count, max_size=count)),
        draw(st.lists(st.integers(1, 16).map(lambda n: n / 16), min_size=count, max_size=count)),
        draw(st.lists(labels, min_size=count, max_size=count)),
        draw(st.lists(box, min_size=objects, max_size=objects)),
        draw(st.lists(labels, min_size=objects, max_size=objects)),
        draw(st.lists(st.booleans(), min_size=objects, max_size=objects)),
    )


@settings(deadline=None, max_examples=150)
@given(st.lists(picture(), max_size=4))
def test_equals_the_sequential_definition(pictures):
    results = evaluate(pictures)
    for label in (1, 2):
        positives, recall, precision = slow_results(pictures, label)
        assert results[label].positives == positives
        np.testing.assert_allclose(results[label].recall, recall)
        np.testing.assert_allclose(results[label].precision, precision)
