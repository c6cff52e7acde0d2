"""Matching: small matrices worked by hand, and Caffe's MatchBBox as a slow loop over many random ones with ties."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings, strategies as st

from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.encoding.matching import best_default_boxes, match


def slow_best(overlaps):
    """Caffe's first part: the best pair of a free default box and a free object, again and again; per object."""
    objects, boxes = overlaps.shape
    best = [-1] * objects
    while True:
        top, pair = 1e-6, None
        for a in range(boxes):  # at a tie the lower default box, then the earlier object: only `>` replaces
            for g in range(objects):
                if a not in best and best[g] == -1 and overlaps[g, a] > top:
                    top, pair = overlaps[g, a], (g, a)
        if pair is None:
            return best
        best[pair[0]] = pair[1]


def slow_bipartite(overlaps, threshold=0.5):
    """Caffe's MatchBBox for PER_PREDICTION; per default box."""
    objects, boxes = overlaps.shape
    matches, best = [-1] * boxes, slow_best(overlaps)
    for a in range(boxes):
        if a in best:
            matches[a] = best.index(a)
            continue
        top = -1.0
        for g in range(objects):
            if overlaps[g, a] >= threshold and overlaps[g, a] > top:
                top, matches[a] = overlaps[g, a], g
    return matches


def slow_threshold(overlaps, threshold=0.5):
    """The article's rule: the first object that reaches the threshold."""
    objects, boxes = overlaps.shape
    return [next((g for g in range(objects) if overlaps[g, a] >= threshold), -1) for a in range(boxes)]


# One trace each, whatever the numbers of objects and default boxes: as in the reader.
SIGNATURE = [tf.TensorSpec([None, None], tf.float32)]
bipartite = tf.function(lambda overlaps: match(overlaps, PAPER), input_signature=SIGNATURE)
threshold = tf.function(lambda overlaps: match(overlaps, ARTICLE), input_signature=SIGNATURE)
best = tf.function(best_default_boxes, input_signature=SIGNATURE)


def matrix(rows):
    return np.array(rows, np.float32)


# Values from a small set give many ties, at the thresholds too; 1e-6 itself is no overlap in Caffe.
VALUES = np.array([0, 1e-6, 2e-6, 0.25, 0.4999, 0.5, 0.5001, 0.75, 1], np.float32)
matrices = st.integers(0, 6).flatmap(
    lambda g: st.integers(1, 7).flatmap(
        lambda a: st.lists(st.sampled_from(VALUES.tolist()), min_size=g * a, max_size=g * a).map(
            lambda values: matrix(values).reshape(g, a)
        )
    )
)

# Objects in rows, default boxes in columns; the matches of the default boxes.
BIPARTITE = {
    "an object below the threshold still takes its best default box": ([[0.1, 0.3, 0.2]], [-1, 0, -1]),
    "what reaches the threshold follows": ([[0.5, 0.9, 0.4999]], [0, 0, -1]),
    "each default box takes the object it overlaps most": (
        [[0.9, 0.6, 0.7, 0.0], [0.0, 0.5, 0.8, 0.9]],
        [0, 0, 1, 1],
    ),
    "at a tie of two objects the earlier": ([[0.9, 0.0, 0.7], [0.0, 0.9, 0.7]], [0, 1, 0]),
    # Both want box 0, which goes to the higher overlap; object 0 takes its second choice.
    "a conflict": ([[0.6, 0.3, 0.2], [0.8, 0.7, 0.0]], [1, 0, -1]),
    # 2 takes box 0 from 1, 1 takes box 1 from 0, 0 is left with box 2.
    "a chain of conflicts": ([[0.0, 0.5, 0.2], [0.6, 0.55, 0.0], [0.9, 0.0, 0.0]], [2, 1, 0]),
    # The taken box 1 is object 1's, although object 0 overlaps it more: the first part comes first.
    "the first part overrules the second": ([[0.9, 0.8], [0.0, 0.2]], [0, 1]),
    # Equal rows: object 0 first, then the next best box for object 1; the rest is the earlier object's.
    "duplicate objects": ([[0.9, 0.7, 0.6], [0.9, 0.7, 0.6]], [0, 1, 0]),
    "more objects than default boxes": ([[0.6, 0.1], [0.8, 0.7], [0.9, 0.3]], [2, 1]),
    # At equal overlaps everywhere: the lower default box first, then the earlier object.
    "ties everywhere": ([[0.3, 0.3, 0.3], [0.3, 0.3, 0.3]], [0, 1, -1]),
    # Three pairs tie: the lower default box goes first, to the earlier object, and nothing is left for the other.
    "a tie of pairs": ([[0.4, 0.4], [0.4, 0.0]], [0, -1]),
    "no overlap at all": ([[0.0, 0.0], [0.0, 0.3]], [-1, 1]),
    "an overlap of 1e-6 is none": ([[1e-6, 1e-6]], [-1, -1]),
    "an overlap just over 1e-6 is one": ([[1e-6, 2e-6]], [-1, 0]),
}


@pytest.mark.parametrize("name", BIPARTITE)
def test_bipartite(name):
    rows, expected = BIPARTITE[name]
    assert slow_bipartite(matrix(rows)) == expected
    for run in (bipartite, lambda overlaps: match(overlaps, PAPER)):
        assert run(tf.constant(matrix(rows))).numpy().tolist() == expected


def test_best_default_boxes_are_each_objects_own():
    overlaps = tf.constant(matrix([[0.0, 0.5, 0.2], [0.6, 0.55, 0.0], [0.9, 0.0, 0.0], [0.8, 0.4, 0.0]]))
    # 2 takes box 0 (.9), then 1 box 1 (.55), then 0 box 2 (.2); nothing is left for 3.
    assert best_default_boxes(overlaps).numpy().tolist() == [2, 1, 0, -1]


def test_a_long_chain_of_conflicts():
    # Every object prefers the box that the next object prefers still more: each refusal causes another.
    count = 12
    overlaps = np.zeros((count, count + 1), np.float32)
    for g in range(count):
        overlaps[g, g] = 0.5 + 0.03 * g + 0.01
        overlaps[g, g + 1] = 0.5 + 0.03 * g + 0.02
    # The last takes its first choice, count; box count - 1 goes to the one before, and so on.
    assert best_default_boxes(tf.constant(overlaps)).numpy().tolist() == list(range(1, count + 1))
    # One more object outbids the last: now all fall back to their second choice.
    outbid = np.vstack([overlaps, np.eye(count + 1, dtype=np.float32)[count:]])
    assert best_default_boxes(tf.constant(outbid)).numpy().tolist() == [*range(count), count]
    assert slow_best(outbid) == [*range(count), count]


@settings(max_examples=300, deadline=None)
@given(matrices)
def test_bipartite_equals_caffes_loops(overlaps):
    assert bipartite(overlaps).numpy().tolist() == slow_bipartite(overlaps)
    if len(overlaps):
        assert best(overlaps).numpy().tolist() == slow_best(overlaps)


@pytest.mark.parametrize("seed", range(5))
def test_bipartite_equals_caffes_loops_on_crowded_matrices(seed):
    # 15 objects on 20 default boxes, values in steps of .1: long chains and ties.
    overlaps = np.random.default_rng(seed).integers(0, 11, (15, 20)).astype(np.float32) / 10
    assert bipartite(overlaps).numpy().tolist() == slow_bipartite(overlaps)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The first object from the threshold on wins, also over a better one.
        ([[0.5, 0.9, 0.4999, 0.0], [0.9, 0.5, 0.5, 0.4]], [0, 0, 1, -1]),
        # No default box is given away below the threshold.
        ([[0.1, 0.3, 0.4]], [-1, -1, -1]),
        ([[0.4], [0.6], [0.9]], [1]),
    ],
)
def test_threshold(rows, expected):
    for run in (threshold, lambda overlaps: match(overlaps, ARTICLE)):
        assert run(tf.constant(matrix(rows))).numpy().tolist() == expected


@settings(max_examples=100, deadline=None)
@given(matrices)
@example(matrix([[0.5], [1.0]]))
def test_threshold_equals_its_loop(overlaps):
    assert threshold(overlaps).numpy().tolist() == slow_threshold(overlaps)


@pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)
def test_without_objects_nothing_matches(spec):
    matches = match(tf.zeros([0, 3]), spec)
    assert matches.dtype == tf.int32
    assert matches.numpy().tolist() == [-1, -1, -1]


@pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)
def test_the_specification_sets_the_threshold(spec):
    overlaps = tf.constant(matrix([[0.9, 0.65, 0.7, 0.75]]))
    assert match(overlaps, replace(spec, match_iou=0.7)).numpy().tolist() == [0, -1, 0, 0]
