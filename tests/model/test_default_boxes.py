"""The default boxes: literals of every stage, a slow loop over all of them, the article's worked example."""

import hashlib
import math
import struct

import numpy as np
import pytest

from ssd300.model.default_boxes import ARTICLE, PAPER, default_boxes, digest, stage_offsets
from ssd300.model.spec import CLAMPED, CLAMPED_COCO, PAPER_COCO, TORCHVISION

SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE, PAPER_COCO, CLAMPED, TORCHVISION], ids=lambda spec: spec.name)

CELLS = (38, 19, 10, 5, 3, 1)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
R2, R3 = math.sqrt(2), math.sqrt(3)


def slow_paper_boxes():
    """Caffe's PriorBox layer: pixels of 300, box by box."""
    rows = []
    for stage, (cells, step) in enumerate(zip(CELLS, (8, 16, 32, 64, 100, 300), strict=True)):
        small = (30, 60, 111, 162, 213, 264)[stage]
        large = (60, 111, 162, 213, 264, 315)[stage]
        for row in range(cells):
            for column in range(cells):
                cx, cy = (column + 0.5) * step, (row + 0.5) * step
                rows.append((cx, cy, small, small))
                rows.append((cx, cy, math.sqrt(small * large), math.sqrt(small * large)))
                for ratio in RATIOS[stage]:
                    rows.append((cx, cy, small * math.sqrt(ratio), small / math.sqrt(ratio)))
                    rows.append((cx, cy, small / math.sqrt(ratio), small * math.sqrt(ratio)))
    return np.array(rows) / 300


def slow_article_boxes():
    """The article's loop: half the scale as a square first, then the ratios 1, 1/2, 2, 1/3, 3 of width s/sqrt(r)."""
    rows = []
    for stage, cells in enumerate(CELLS):
        scale = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9)[stage]
        ratios = (1, 1 / 2, 2) if RATIOS[stage] == (2,) else (1, 1 / 2, 2, 1 / 3, 3)
        for row in range(cells):
            for column in range(cells):
                cx, cy = (column + 0.5) / cells, (row + 0.5) / cells
                rows.append((cx, cy, scale / 2, scale / 2))
                rows += [(cx, cy, scale / math.sqrt(r), scale * math.sqrt(r)) for r in ratios]
    return np.array(rows)


@SPECS
def test_there_are_8732_of_them(spec):
    # 38²·4 + 19²·6 + 10²·6 + 5²·6 + 3²·4 + 1·4 = 5776 + 2166 + 600 + 150 + 36 + 4
    boxes = default_boxes(spec)
    assert boxes.shape == (8732, 4)
    assert boxes.dtype == np.float32
    assert spec.boxes == 8732
    assert stage_offsets(spec) == (0, 5776, 7942, 8542, 8692, 8728, 8732)


# Index: (cx, cy, w, h) in pixels of 300. An index is stage offset + (row · cells + column) · shapes + shape.
PAPER_LITERALS = {
    0: (4, 4, 30, 30),  # half a step of 8; min 30
    1: (4, 4, math.sqrt(1800), math.sqrt(1800)),  # sqrt(30 · 60)
    2: (4, 4, 30 * R2, 30 / R2),  # ratio 2: wide
    3: (4, 4, 30 / R2, 30 * R2),  # ratio 1/2: tall
    4: (12, 4, 30, 30),  # the next column
    152: (4, 12, 30, 30),  # 38 · 4: the next row
    5775: (300, 300, 30 / R2, 30 * R2),  # 37.5 · 8 = 300: Caffe's step, not 300/38
    5776 + (2 * 19 + 5) * 6 + 4: (88, 40, 60 * R3, 60 / R3),  # 5.5 · 16, 2.5 · 16; ratio 3
    5776 + (2 * 19 + 5) * 6 + 5: (88, 40, 60 / R3, 60 * R3),  # ratio 1/3
    7942 + 1: (16, 16, math.sqrt(111 * 162), math.sqrt(111 * 162)),
    8541: (304, 304, 111 / R3, 111 * R3),  # 9.5 · 32 = 304: over the border, not clipped
    8542 + (4 * 5 + 1) * 6: (96, 288, 162, 162),  # 1.5 · 64, 4.5 · 64
    8692 + (1 * 3 + 2) * 4 + 2: (250, 150, 213 * R2, 213 / R2),  # 2.5 · 100, 1.5 · 100
    8728: (150, 150, 264, 264),
    8729: (150, 150, math.sqrt(264 * 315), math.sqrt(264 * 315)),
    8730: (150, 150, 264 * R2, 264 / R2),  # 373 px: wider than the image
    8731: (150, 150, 264 / R2, 264 * R2),
}

# Index: (cx, cy, w, h), fractions.
ARTICLE_LITERALS = {
    0: (0.5 / 38, 0.5 / 38, 0.05, 0.05),  # half of scale .1
    1: (0.5 / 38, 0.5 / 38, 0.1, 0.1),
    2: (0.5 / 38, 0.5 / 38, 0.1 * R2, 0.1 / R2),  # ratio 1/2 is height by width: wide
    3: (0.5 / 38, 0.5 / 38, 0.1 / R2, 0.1 * R2),
    4: (1.5 / 38, 0.5 / 38, 0.05, 0.05),
    5775: (37.5 / 38, 37.5 / 38, 0.1 / R2, 0.1 * R2),
    5776 + (2 * 19 + 5) * 6 + 4: (5.5 / 19, 2.5 / 19, 0.2 * R3, 0.2 / R3),  # ratio 1/3
    5776 + (2 * 19 + 5) * 6 + 5: (5.5 / 19, 2.5 / 19, 0.2 / R3, 0.2 * R3),  # ratio 3
    7942: (0.05, 0.05, 0.1875, 0.1875),
    8541: (0.95, 0.95, 0.375 / R3, 0.375 * R3),
    8542 + (4 * 5 + 1) * 6 + 1: (0.3, 0.9, 0.55, 0.55),
    8692 + (1 * 3 + 2) * 4 + 2: (2.5 / 3, 0.5, 0.725 * R2, 0.725 / R2),
    8728: (0.5, 0.5, 0.45, 0.45),
    8729: (0.5, 0.5, 0.9, 0.9),
    8731: (0.5, 0.5, 0.9 / R2, 0.9 * R2),
}


@pytest.mark.parametrize("index", PAPER_LITERALS)
def test_paper_literals(index):
    np.testing.assert_allclose(default_boxes(PAPER)[index] * 300, PAPER_LITERALS[index], rtol=1e-6)


@pytest.mark.parametrize("index", ARTICLE_LITERALS)
def test_article_literals(index):
    np.testing.assert_allclose(default_boxes(ARTICLE)[index], ARTICLE_LITERALS[index], rtol=1e-6)


@pytest.mark.parametrize(("spec", "slow"), [(PAPER, slow_paper_boxes), (ARTICLE, slow_article_boxes)])
def test_all_boxes_equal_a_slow_loop_in_order(spec, slow):
    np.testing.assert_allclose(default_boxes(spec), slow(), rtol=2e-7)


@SPECS
def test_maps_go_row_by_row_and_shapes_come_last(spec):
    boxes, offsets = default_boxes(spec), stage_offsets(spec)
    for stage, cells in enumerate(CELLS):
        shapes = 2 + 2 * len(RATIOS[stage])
        grid = boxes[offsets[stage] : offsets[stage + 1]].reshape(cells, cells, shapes, 4)
        assert (np.ptp(grid[..., 0], axis=(0, 2)) == 0).all(), "cx changes with the column alone"
        assert (np.ptp(grid[..., 1], axis=(1, 2)) == 0).all(), "cy changes with the row alone"
        assert (np.diff(grid[0, :, 0, 0]) > 0).all()
        assert (np.diff(grid[:, 0, 0, 1]) > 0).all()
        assert (np.ptp(grid[..., 2:], axis=(0, 1)) == 0).all(), "every cell has the same shapes"


@SPECS
def test_the_shared_array_is_read_only(spec):
    boxes = default_boxes(spec)
    with pytest.raises(ValueError, match="read-only"):
        boxes[0, 0] = 1.0
    assert default_boxes(spec) is boxes


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # A change of these orphans every encoded dataset: indices would mean other boxes.
        (PAPER, "327b6cefbab2f6a498600aa1abb0a46b98c4d444efc5f6a0ec4773375b510ba1"),
        (ARTICLE, "b4a89d982b725087497063cf8bf777c5e6c946f554655449c939f8b304c38a81"),
    ],
)
def test_digest_is_that_of_the_little_endian_bytes_and_stays(spec, expected):
    packed = b"".join(struct.pack("<4f", *row) for row in default_boxes(spec).tolist())
    assert digest(spec) == hashlib.sha256(packed).hexdigest() == expected


def test_digests_of_the_presets_differ():
    assert digest(PAPER) != digest(ARTICLE)


def test_the_worked_example_of_the_article():
    # Ground truth (cx, cy, w, h); an IoU of at least .5 with exactly these, counted from the end, the last being 1.
    cx, cy, w, h = 0.293, 0.56, 0.48, 0.88
    truth = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    found = []
    for index, (bx, by, bw, bh) in enumerate(default_boxes(ARTICLE).astype(float).tolist()):
        width = min(truth[2], bx + bw / 2) - max(truth[0], bx - bw / 2)
        height = min(truth[3], by + bh / 2) - max(truth[1], by - bh / 2)
        shared = max(width, 0) * max(height, 0)
        if shared / (w * h + bw * bh - shared) >= 0.5:
            found.append(8732 - index)
    assert sorted(found) == [25, 27, 89, 91, 93, 119, 121, 123]


@pytest.mark.parametrize(
    ("clamped", "plain", "changed"),
    [
        (CLAMPED, PAPER, 134),  # conv8_2's last row and column 19 · 6 = 114, conv10_2's wide and tall 18, conv11_2's 2
        (CLAMPED_COCO, PAPER_COCO, 116),  # without conv10_2's
        (TORCHVISION, PAPER_COCO, 2),  # conv11_2's, of 261 · sqrt(2) = 369 pixels
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_clamping_changes_the_boxes_that_reach_over_and_no_others(clamped, plain, changed):
    boxes, original = default_boxes(clamped), default_boxes(plain)
    assert (boxes != original).any(axis=1).sum() == changed
    cut = slice(0, 4) if clamped.clamp == "center" else slice(2, 4)
    np.testing.assert_array_equal(boxes[:, cut], np.clip(original[:, cut], 0, 1))
    np.testing.assert_array_equal(boxes[:, : cut.start], original[:, : cut.start])


def test_a_clamped_center_lies_on_the_border():
    # The last of conv8_2, centers 9.5 · 32 = 304 of 300, 111 pixels in the ratio 1/3.
    expected = [1, 1, 111 / R3 / 300, 111 * R3 / 300]
    np.testing.assert_allclose(default_boxes(CLAMPED)[8541], expected, rtol=1e-6)
    assert default_boxes(PAPER)[8541][0] == pytest.approx(304 / 300)
