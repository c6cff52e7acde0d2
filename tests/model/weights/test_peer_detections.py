"""The references' way from the output to detections, held against cases worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from layouts import PEERS
from postprocess import decode, iou, postprocess, rules, suppress

PROJECTS = {peer.project: peer for peer in PEERS.values() if peer.name != "mmdetection (old)"}
SQUARE = (0.5, 0.5, 0.5, 0.5)


def run(project, boxes, scores, offsets=None, **options):
    """Detections of center boxes with probabilities of the peer's classes, the background's filled in."""
    scores = np.asarray(scores, np.float64)
    peer = replace(PROJECTS[project], classes=scores.shape[1] + 1)
    peer = replace(peer, background=scores.shape[1] if project == "mmdetection" else 0)
    rest = 1 - scores.sum(axis=1, keepdims=True)
    logits = np.log(np.concatenate([scores, rest] if peer.background else [rest, scores], axis=1))
    offsets = np.zeros((len(boxes), 4)) if offsets is None else offsets
    return postprocess(peer, logits, offsets, boxes=boxes, **{"stages": (len(boxes),), **options})


EVERY_PROJECT = pytest.mark.parametrize("project", PROJECTS)


@EVERY_PROJECT
def test_two_overlapping_boxes_and_one_apart(project):
    first = rules(PROJECTS[project]).first_label
    # The first box is a part of the second: IoU .2 x .2 / (.2 x .25) = .8.
    boxes = [(0.3, 0.3, 0.2, 0.2), (0.3, 0.3, 0.2, 0.25), (0.7, 0.7, 0.2, 0.2)]
    found = run(project, boxes, [(0.3, 0.02), (0.6, 0.03), (0.4, 0.05)])
    assert [(d.label - first, round(float(d.score), 4)) for d in found] == [(0, 0.6), (0, 0.4), (1, 0.05), (1, 0.03)]
    np.testing.assert_allclose(found[0].box, (0.2, 0.175, 0.4, 0.425), atol=1e-6)
    np.testing.assert_allclose(found[1].box, (0.6, 0.6, 0.8, 0.8), atol=1e-6)


@EVERY_PROJECT
def test_the_background_is_never_detected(project):
    assert run(project, [SQUARE], [(0.004, 0.004)]) == []


@EVERY_PROJECT
def test_classes_do_not_suppress_each_other(project):
    assert len(run(project, [SQUARE], [(0.5, 0.4)])) == 2


@pytest.mark.parametrize(("project", "threshold"), [(p, 0.02 if p == "mmdetection" else 0.01) for p in PROJECTS])
def test_scores_at_the_threshold(project, threshold):
    """Float32 probabilities at the threshold, a step over and a step below it; only ChainerCV takes the first."""
    at = np.float32(threshold)
    scores = np.array([at, np.nextafter(at, np.float32(1)), np.nextafter(at, np.float32(0))])
    boxes = np.array([(0.1, 0.1, 0.1, 0.1), (0.5, 0.5, 0.1, 0.1), (0.9, 0.9, 0.1, 0.1)])
    peer = replace(PROJECTS[project], classes=2, background=int(project == "mmdetection"))
    columns = [1 - scores, scores] if peer.background == 0 else [scores, 1 - scores]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postprocess.softmax", lambda _: np.stack(columns, axis=1).astype(np.float32))
        found = postprocess(peer, np.zeros((3, 2)), np.zeros((3, 4)), boxes=boxes, stages=(3,))
    assert len(found) == (2 if project == "chainercv" else 1)


@pytest.mark.parametrize(("part", "kept", "kept_if_equal_drops"), [(0.44, 2, 2), (0.45, 2, 1), (0.46, 1, 1)])
def test_overlaps_at_the_threshold(part, kept, kept_if_equal_drops):
    # The second box is that part of the first.
    boxes = np.array([(0, 0, 1, 1), (0, 0, 1, part)], np.float32)
    np.testing.assert_allclose(iou(boxes[0], boxes[1:]), part, rtol=1e-7)
    assert len(suppress(boxes)) == kept
    assert len(suppress(boxes, drop_equal=True)) == kept_if_equal_drops


def test_a_suppressed_box_suppresses_nothing():
    # Neighbors share .6 of 1.0, the first and the third .4 of 1.2.
    chain = np.array([(0, 0.0, 0.2, 0.8), (0, 0.2, 0.2, 1.0), (0, 0.4, 0.2, 1.2)], np.float32)
    assert suppress(chain) == [0, 2]
    assert suppress(chain, limit=1) == [0]


def test_boxes_without_area_overlap_nothing():
    assert suppress(np.zeros((3, 4), np.float32)) == [0, 1, 2]
    # mmdetection drops them before.
    assert run("mmdetection", [(1.5, 0.5, 0.2, 0.2)], [(0.5,)]) == []
    assert len(run("torchvision", [(1.5, 0.5, 0.2, 0.2)], [(0.5,)])) == 1


@EVERY_PROJECT
def test_decoding_by_hand(project):
    peer = PROJECTS[project]
    box = np.array([(0.5, 0.4, 0.2, 0.1)], np.float32)
    offsets = np.array([(1, -2, np.log(2) / 0.2, -np.log(2) / 0.2)], np.float32)
    if project == "chainercv":
        offsets = offsets[:, [1, 0, 3, 2]]
    # Center (.5 + .1 x .2, .4 - .2 x .1) = (.52, .38), size (.4, .05).
    np.testing.assert_allclose(decode(peer, offsets, box), [(0.32, 0.355, 0.72, 0.405)], atol=1e-6)


@pytest.mark.parametrize(
    ("project", "wide", "narrow"),
    [("torchvision", 62.5, np.exp(-6)), ("mmdetection", 62.5, 1 / 62.5), ("caffe", np.exp(6), np.exp(-6))],
)
def test_limits_of_the_exponential_function(project, wide, narrow):
    # 30 x .2 = 6 is more than log(62.5) = 4.135.
    box = np.array([(0.5, 0.5, 0.001, 0.1)], np.float32)
    corners = decode(PROJECTS[project], np.array([(0, 0, 30, -30)], np.float32), box)
    np.testing.assert_allclose(corners[0, 2:] - corners[0, :2], (0.001 * wide, 0.1 * narrow), rtol=1e-3)


@pytest.mark.parametrize(
    ("project", "low"), [(p, 0 if p in ("torchvision", "mmdetection") else -0.1) for p in PROJECTS]
)
def test_boxes_over_the_border(project, low):
    np.testing.assert_allclose(run(project, [(0.1, 0.5, 0.4, 0.2)], [(0.5,)])[0].box, (low, 0.4, 0.3, 0.6), atol=1e-6)


def test_a_cut_at_the_border_comes_before_the_suppression():
    # From -.2 to .2 and from -.5 to .1: IoU .3 / .7 = .43; cut at 0, .1 / .2 = .5.
    boxes = [(0.0, 0.5, 0.4, 0.4), (-0.2, 0.5, 0.6, 0.4)]
    for project in PROJECTS:
        kept = 1 if project in ("torchvision", "mmdetection") else 2
        assert len(run(project, boxes, [(0.6,), (0.5,)])) == kept


def row_of_boxes(count):
    """So many boxes side by side, in center form."""
    return np.array([((i + 0.5) / count, 0.5, 1 / count, 0.5) for i in range(count)])


@pytest.mark.parametrize(
    ("project", "count"),
    [
        ("caffe", 200),
        ("ssd_keras", 200),
        ("ssd.pytorch", 200),
        ("lufficc", 100),
        ("torchvision", 200),
        ("mmdetection", 200),
        ("chainercv", 450),
    ],
)
def test_how_many_remain(project, count):
    scores = np.linspace(0.9, 0.1, 450)[:, None]
    found = run(project, row_of_boxes(450), scores)
    assert len(found) == count
    np.testing.assert_allclose([d.score for d in found], scores[:count, 0], rtol=1e-5)


def test_ssd_pytorch_keeps_200_of_each_class():
    assert len(run("ssd.pytorch", row_of_boxes(250), np.full((250, 2), 0.3))) == 400


@pytest.mark.parametrize(
    ("project", "candidates"),
    [("caffe", 400), ("torchvision", 400), ("ssd.pytorch", 200), ("mmdetection", 1000)],
)
def test_only_the_best_of_a_class_take_part(project, candidates):
    # Copies of one box outscore a lone box elsewhere.
    copies, lone = [(0.3, 0.3, 0.2, 0.2)], [(0.7, 0.7, 0.2, 0.2)]
    for count, expected in ((candidates - 1, 2), (candidates, 1)):
        assert len(run(project, copies * count + lone, [(0.9,)] * count + [(0.8,)])) == expected


def test_mmdetection_counts_pairs_of_a_stage():
    # 500 boxes over the threshold in two classes are 1,000 pairs; a box of another stage is not concerned.
    boxes = [(0.3, 0.3, 0.2, 0.2)] * 500 + [(0.7, 0.7, 0.2, 0.2)]
    scores = [(0.4, 0.3)] * 500 + [(0.2, 0.01)]
    assert len(run("mmdetection", boxes, scores)) == 2
    assert len(run("mmdetection", boxes, scores, stages=(500, 1))) == 3


@pytest.mark.parametrize("project", ["ssd_keras", "lufficc", "chainercv"])
def test_all_take_part_where_there_is_no_limit(project):
    boxes = [(0.3, 0.3, 0.2, 0.2)] * 1500 + [(0.7, 0.7, 0.2, 0.2)]
    assert len(run(project, boxes, [(0.9,)] * 1500 + [(0.8,)])) == 2
