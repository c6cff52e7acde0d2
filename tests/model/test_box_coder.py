"""The box coder: literals, a slow scalar reference, and that decoding inverts encoding."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.model import box_coder
from ssd300.model.default_boxes import ARTICLE, PAPER, default_boxes

LIBRARIES = pytest.mark.parametrize("convert", [np.array, tf.constant], ids=["numpy", "tensorflow"])
SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)

# Corners (.2, .1) to (.6, .7) in (y, x) are the center form (.4, .4, .6, .4).
BOX = np.array([[0.2, 0.1, 0.6, 0.7]], np.float32)
DEFAULT_BOX = np.array([[0.5, 0.3, 0.3, 0.1]], np.float32)

# Sides of at least 4 pixels of 300, as annotated objects have.
sides = st.floats(1 / 64, 1.0, width=32)
places = st.floats(0, 1, width=32, allow_subnormal=False)
box_rows = st.lists(st.tuples(places, places, sides, sides), min_size=1).map(
    lambda rows: np.array([[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for x, y, w, h in rows], np.float32)
)


def random_boxes(count, seed):
    random = np.random.default_rng(seed)
    centers, sizes = random.uniform(0, 1, (count, 2)), random.uniform(0.01, 1, (count, 2))
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1).astype(np.float32)


def slow_encode(box, default_box, variances):
    ymin, xmin, ymax, xmax = (float(v) for v in box)
    dcx, dcy, dw, dh = (float(v) for v in default_box)
    gcx, gcy, gw, gh = (xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin
    if variances is None:
        return [gcx - dcx, gcy - dcy, gw - dw, gh - dh]
    return [
        (gcx - dcx) / dw / variances[0],
        (gcy - dcy) / dh / variances[1],
        math.log(gw / dw) / variances[2],
        math.log(gh / dh) / variances[3],
    ]


@LIBRARIES
def test_encode_in_the_papers_form(convert):
    offsets = box_coder.encode(convert(BOX), convert(DEFAULT_BOX), variances=(0.1, 0.1, 0.2, 0.2))
    # (.4 - .5)/.3/.1, (.4 - .3)/.1/.1, ln(.6/.3)/.2, ln(.4/.1)/.2
    np.testing.assert_allclose(offsets, [[-10 / 3, 10.0, math.log(2) / 0.2, math.log(4) / 0.2]], rtol=2e-6)
    assert offsets.dtype == np.float32
    assert tf.is_tensor(offsets) == (convert is tf.constant)


@LIBRARIES
def test_encode_gives_each_coordinate_its_own_variance(convert):
    offsets = box_coder.encode(convert(BOX), convert(DEFAULT_BOX), variances=(1.0, 0.5, 0.25, 0.125))
    # -1/3 / 1, 1 / .5, ln 2 / .25, ln 4 / .125
    np.testing.assert_allclose(offsets, [[-1 / 3, 2.0, math.log(2) * 4, math.log(4) * 8]], rtol=2e-6)


@LIBRARIES
def test_encode_in_the_articles_form_is_ground_truth_minus_default_box(convert):
    offsets = box_coder.encode(convert(BOX), convert(DEFAULT_BOX), variances=None)
    # .4 - .5, .4 - .3, .6 - .3, .4 - .1
    np.testing.assert_allclose(offsets, [[-0.1, 0.1, 0.3, 0.3]], rtol=2e-6)


def test_the_papers_variances_are_the_default():
    expected = box_coder.encode(BOX, DEFAULT_BOX, variances=PAPER.variances)
    np.testing.assert_array_equal(box_coder.encode(BOX, DEFAULT_BOX), expected)
    offsets = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    expected = box_coder.decode(offsets, DEFAULT_BOX, variances=PAPER.variances)
    np.testing.assert_array_equal(box_coder.decode(offsets, DEFAULT_BOX), expected)


@LIBRARIES
def test_decode_literals(convert):
    offsets = np.array([[1.0, -2.0, 5 * math.log(2), -5 * math.log(2)]], np.float32)
    # cx = .5 + 1·.1·.3 = .53, cy = .3 - 2·.1·.1 = .28, w = .3·exp(ln 2) = .6, h = .1·exp(-ln 2) = .05
    decoded = box_coder.decode(convert(offsets), convert(DEFAULT_BOX), variances=(0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(decoded, [[0.255, 0.23, 0.305, 0.83]], atol=1e-6)
    plain = np.array([[0.1, -0.1, 0.2, 0.3]], np.float32)
    # cx = .6, cy = .2, w = .5, h = .4
    decoded = box_coder.decode(convert(plain), convert(DEFAULT_BOX), variances=None)
    np.testing.assert_allclose(decoded, [[0.0, 0.35, 0.4, 0.85]], atol=1e-6)


@SPECS
@LIBRARIES
def test_zero_offsets_are_the_default_boxes(convert, spec):
    boxes = default_boxes(spec)
    decoded = np.array(box_coder.decode(convert(np.zeros_like(boxes)), convert(boxes), variances=spec.variances))
    cx, cy, w, h = boxes.astype(np.float64).T
    # Not clipped: many reach over the border.
    np.testing.assert_allclose(decoded, np.stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], 1), atol=1e-6)
    assert decoded.min() < 0
    assert decoded.max() > 1


@SPECS
@LIBRARIES
def test_encode_equals_a_scalar_loop_over_all_default_boxes(convert, spec):
    boxes, defaults = random_boxes(8732, seed=1), default_boxes(spec)
    expected = [slow_encode(b, d, spec.variances) for b, d in zip(boxes, defaults, strict=True)]
    offsets = box_coder.encode(convert(boxes), convert(defaults), variances=spec.variances)
    # float32 centers err by 6e-8, which a side of .07 and a variance of .1 multiply by 140.
    np.testing.assert_allclose(offsets, expected, rtol=1e-5, atol=1e-4)


@SPECS
def test_numpy_and_tensorflow_agree(spec):
    boxes, defaults = random_boxes(8732, seed=2), default_boxes(spec)
    offsets = box_coder.encode(boxes, defaults, variances=spec.variances)
    in_tensorflow = box_coder.encode(tf.constant(boxes), tf.constant(defaults), variances=spec.variances)
    np.testing.assert_allclose(in_tensorflow, offsets, rtol=1e-6, atol=1e-6)
    decoded = box_coder.decode(offsets, defaults, variances=spec.variances)
    in_tensorflow = box_coder.decode(tf.constant(offsets), tf.constant(defaults), variances=spec.variances)
    np.testing.assert_allclose(in_tensorflow, decoded, rtol=1e-6, atol=1e-6)


@SPECS
def test_a_graph_gives_the_eager_bits(spec):
    # The reader re-encodes in a graph what the Beam job encoded: stored and fresh offsets must be the same.
    boxes, defaults = tf.constant(random_boxes(8732, seed=3)), tf.constant(default_boxes(spec))
    in_graph = tf.function(lambda b: box_coder.encode(b, defaults, variances=spec.variances))(boxes)
    np.testing.assert_array_equal(in_graph, box_coder.encode(boxes, defaults, variances=spec.variances))


@SPECS
@settings(max_examples=60, deadline=None)
@given(boxes=box_rows, seed=st.integers(0, 1000))
def test_decode_inverts_encode(spec, boxes, seed):
    defaults = default_boxes(spec)[np.random.default_rng(seed).integers(0, 8732, len(boxes))]
    offsets = box_coder.encode(boxes, defaults, variances=spec.variances)
    np.testing.assert_allclose(box_coder.decode(offsets, defaults, variances=spec.variances), boxes, atol=3e-6)


@LIBRARIES
def test_a_box_without_sides_has_finite_offsets(convert):
    point = np.array([[0.3, 0.4, 0.3, 0.4]], np.float32)
    offsets = np.array(box_coder.encode(convert(point), convert(DEFAULT_BOX)))
    # A side counts as 1e-6 then: ln(1e-6/.3)/.2 and ln(1e-6/.1)/.2
    np.testing.assert_allclose(offsets[0, 2:], [math.log(1e-6 / 0.3) / 0.2, math.log(1e-5) / 0.2], rtol=1e-5)


@LIBRARIES
def test_leading_dimensions_stay(convert):
    boxes = random_boxes(12, seed=4).reshape(3, 4, 4)
    defaults = default_boxes(PAPER)[:4]
    offsets = np.array(box_coder.encode(convert(boxes), convert(defaults)))
    assert offsets.shape == (3, 4, 4)
    for picture in range(3):
        np.testing.assert_allclose(offsets[picture], box_coder.encode(boxes[picture], defaults), rtol=1e-5, atol=1e-6)
