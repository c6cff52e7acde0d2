"""The limits that trained weights bring with them: per class, per feature map, at the border, and none."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ssd300.model.box_coder import decode
from ssd300.model.default_boxes import default_boxes
from ssd300.model.detection import best_of_stages, detect, suppress
from ssd300.model.spec import PAPER, SuppressionSpec

# Three boxes apart, and a fourth that covers the first but for a strip: IoU .8.
BOXES = [[0, 0, 0.2, 0.2], [0.4, 0.4, 0.6, 0.6], [0.7, 0.7, 0.9, 0.9], [0, 0, 0.2, 0.16]]
SCORES = [[0.1, 0.9, 0.0], [0.3, 0.7, 0.0], [0.4, 0.0, 0.6], [0.2, 0.8, 0.0]]  # background, two classes
ALL = [(1, 0.9), (1, 0.7), (2, 0.6)]


def run(boxes, scores, **limits):
    found = suppress(
        tf.constant([boxes], tf.float32), tf.constant([scores], tf.float32), spec=SuppressionSpec(keep=8, **limits)
    )
    rows = zip(found.labels.numpy()[0], found.scores.numpy()[0], strict=True)
    assert found.boxes.shape == (1, 8, 4)
    kept = [(int(label), round(float(score), 4)) for label, score in rows if label]
    assert int(found.count[0]) == len(kept)
    return kept, found.boxes.numpy()[0]


@pytest.mark.parametrize("candidates", [400, None])
class TestBothWays:
    """With a limit of candidates, and among all by TensorFlow's kernel."""

    def test_overlaps_are_dropped(self, candidates):
        kept, boxes = run(BOXES, SCORES, candidates=candidates)
        assert kept == ALL
        np.testing.assert_allclose(boxes[:3], BOXES[:3])
        assert not boxes[3:].any()

    def test_a_limit_per_class(self, candidates):
        assert run(BOXES, SCORES, candidates=candidates, keep_per_class=1)[0] == [(1, 0.9), (2, 0.6)]

    def test_nothing_over_the_threshold(self, candidates):
        assert run(BOXES, SCORES, candidates=candidates, score_threshold=0.95)[0] == []

    def test_the_threshold_itself_is_not_over_it(self, candidates):
        assert run(BOXES, SCORES, candidates=candidates, score_threshold=0.7)[0] == [(1, 0.9)]

    def test_boxes_are_cut_before_or_after_they_are_compared(self, candidates):
        # Whole: 1 of 3 shared, IoU 1/3 of areas .2 and .2. Cut at the border: .1 and .2 wide, .1 of .2 shared, IoU .5.
        boxes, scores = [[0, -0.1, 0.5, 0.1], [0, 0, 0.5, 0.2]], [[0.1, 0.9], [0.2, 0.8]]
        assert run(boxes, scores, candidates=candidates)[0] == [(1, 0.9), (1, 0.8)]
        kept, cut = run(boxes, scores, candidates=candidates, clip_first=True)
        assert kept == [(1, 0.9)]
        np.testing.assert_allclose(cut[0], [0, 0, 0.5, 0.1])

    def test_boxes_outside_the_image_are_dropped(self, candidates):
        boxes, scores = [[0.2, 1.1, 0.4, 1.3], [0.2, 0.2, 0.4, 0.4]], [[0.1, 0.9], [0.2, 0.8]]
        assert run(boxes, scores, candidates=candidates, clip_first=True)[0] == [(1, 0.9), (1, 0.8)]
        assert run(boxes, scores, candidates=candidates, clip_first=True, drop_empty=True)[0] == [(1, 0.8)]


def test_both_ways_agree_on_random_boxes():
    random = np.random.default_rng(0)
    starts = random.uniform(0, 0.7, (300, 2))
    boxes = np.concatenate([starts, starts + random.uniform(0.05, 0.4, (300, 2))], axis=1)
    scores = random.dirichlet([1] * 5, 300)
    spec = SuppressionSpec(candidates=300, keep=100)
    one, other = (
        suppress(tf.constant([boxes], tf.float32), tf.constant([scores], tf.float32), spec=s)
        for s in (spec, replace(spec, candidates=None))
    )
    assert int(one.count[0]) == 100
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6)


def test_the_best_pairs_of_each_feature_map():
    # Two feature maps of two and three boxes, two classes besides the background.
    scores = [[0.5, 0.3, 0.2], [0.1, 0.4, 0.5], [0.0, 0.9, 0.1], [0.2, 0.2, 0.6], [0.3, 0.05, 0.65]]
    kept = best_of_stages(tf.constant([scores]), (0, 2, 5), count=2).numpy()[0]
    expected = [[0.5, 0, 0], [0.1, 0.4, 0.5], [0.0, 0.9, 0], [0.2, 0, 0], [0.3, 0, 0.65]]
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_the_limit_of_a_feature_map_works_inside_detect():
    logits = np.full((1, 8732, 3), [9.0, 0.0, 0.0], np.float32)
    logits[0, [0, 400, 800], 1] = [12, 11, 10]  # all of the first feature map, far apart
    logits[0, 8731, 2] = 10
    outputs = {"logits": tf.constant(logits), "offsets": tf.zeros((1, 8732, 4))}
    spec = replace(PAPER, suppression=SuppressionSpec(score_threshold=0.5, stage_candidates=2))
    assert detect(outputs, spec).labels.numpy()[0, :4].tolist() == [1, 1, 2, 0]
    whole = replace(PAPER, suppression=SuppressionSpec(score_threshold=0.5))
    assert detect(outputs, whole).labels.numpy()[0, :5].tolist() == [1, 1, 1, 2, 0]


@pytest.mark.parametrize("convert", [np.array, tf.constant], ids=["numpy", "tensorflow"])
@pytest.mark.parametrize(
    ("limits", "sides"),
    [
        # Offsets 10 and -20 times the variance .2: logarithms 2 and -4.
        ((None, None), (np.exp(2), np.exp(-4))),
        ((None, 1.5), (np.exp(1.5), np.exp(-4))),
        ((-1.0, 1.5), (np.exp(1.5), np.exp(-1))),
    ],
)
def test_the_logarithm_of_a_side_is_limited(convert, limits, sides):
    default_box, offsets = np.float32([[0.5, 0.5, 0.1, 0.1]]), np.float32([[0, 0, 10, -20]])
    ymin, xmin, ymax, xmax = np.array(decode(convert(offsets), convert(default_box), log_size_limits=limits))[0]
    np.testing.assert_allclose([xmax - xmin, ymax - ymin], np.multiply(sides, 0.1), rtol=1e-4)


def test_detect_uses_the_limits_of_the_specification():
    offsets = np.zeros((1, 8732, 4), np.float32)
    offsets[0, 0, 2:] = 10  # twice e squared: the limit makes it e
    logits = np.full((1, 8732, 2), [9.0, 0.0], np.float32)
    logits[0, 0] = [0, 9]
    outputs = {"logits": tf.constant(logits), "offsets": tf.constant(offsets)}
    ymin, _, ymax, _ = detect(outputs, replace(PAPER, log_size_limits=(None, 1.0))).boxes.numpy()[0, 0]
    _, cy, _, side = default_boxes(PAPER)[0]
    np.testing.assert_allclose([ymin, ymax], [0, cy + side * np.e / 2], rtol=1e-5)
