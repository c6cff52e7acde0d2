"""The 8732 default boxes as each peer makes them: its loops, its rounding, its clamping."""

from itertools import pairwise, product
from math import sqrt

import numpy as np
from layouts import Peer

CELLS = (38, 19, 10, 5, 3, 1)
STEPS = (8, 16, 32, 64, 100, 300)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
STAGE_BOXES = (5776, 2166, 600, 150, 36, 4)


def default_boxes(peer: Peer) -> np.ndarray:
    """The peer's default boxes, float32 ``[8732, 4]``, center form ``(cx, cy, w, h)``, fractions of the image."""
    makers = {
        "caffe": caffe,
        "ssd_keras": ssd_keras,
        "ssd.pytorch": ssd_pytorch,
        "lufficc": ssd_pytorch,
        "torchvision": torchvision,
        "mmdetection": mmdetection,
        "chainercv": chainercv,
    }
    return makers[peer.project](peer.sizes).astype(np.float32)


def caffe(sizes: tuple[int, ...]) -> np.ndarray:
    """PriorBox layers: corners in float32, not clipped; the decoder takes centers and sizes from the corners."""
    one, half, side = np.float32(1), np.float32(0.5), np.float32(300)
    corners = []
    for cells, step, ratios, (small, large) in zip(CELLS, STEPS, RATIOS, pairwise(sizes), strict=True):
        shapes = [(np.float32(small), np.float32(small)), (np.float32(sqrt(small * large)),) * 2]
        for ratio in ratios:
            # flip: true adds the inverse right after each ratio
            for r in (np.float32(ratio), one / np.float32(ratio)):
                shapes.append((np.float32(small) * np.sqrt(r), np.float32(small) / np.sqrt(r)))
        for row in range(cells):
            for column in range(cells):
                x, y = (np.float32(column) + half) * np.float32(step), (np.float32(row) + half) * np.float32(step)
                for w, h in shapes:
                    corners.append(
                        ((x - w / 2) / side, (y - h / 2) / side, (x + w / 2) / side, (y + h / 2) / side),
                    )
    return centers(np.array(corners, np.float32))


def ssd_keras(sizes: tuple[int, ...]) -> np.ndarray:
    """AnchorBoxes layers: scales are fractions of the image, aspect ratios 1, 2, 1/2, 3, 1/3, two boxes for ratio 1."""
    parts = []
    for cells, step, ratios, pair in zip(CELLS, STEPS, RATIOS, pairwise(sizes), strict=True):
        scale, following = (size / 300 for size in pair)
        shapes = []
        for ratio in [1.0, *(r for whole in ratios for r in (whole, 1 / whole))]:
            shapes.append((scale * 300 * np.sqrt(ratio), scale * 300 / np.sqrt(ratio)))
            if ratio == 1:
                shapes.append((np.sqrt(scale * following) * 300,) * 2)
        middles = np.linspace(0.5 * step, (0.5 + cells - 1) * step, cells)
        cx, cy = np.meshgrid(middles, middles)
        boxes = np.zeros((cells, cells, len(shapes), 4))
        boxes[..., 0], boxes[..., 1] = cx[..., None], cy[..., None]
        boxes[..., 2:] = shapes
        parts.append(boxes.reshape(-1, 4) / 300)
    return np.concatenate(parts)


def ssd_pytorch(sizes: tuple[int, ...]) -> np.ndarray:
    """PriorBox of ssd.pytorch and of lufficc: centers and sizes, all four clamped to [0, 1]."""
    boxes = []
    for stage, cells in enumerate(CELLS):
        for i, j in product(range(cells), repeat=2):
            scale = 300 / STEPS[stage]
            cx, cy = (j + 0.5) / scale, (i + 0.5) / scale
            small = sizes[stage] / 300
            large = sqrt(small * (sizes[stage + 1] / 300))
            boxes += [(cx, cy, small, small), (cx, cy, large, large)]
            for ratio in RATIOS[stage]:
                boxes.append((cx, cy, small * sqrt(ratio), small / sqrt(ratio)))
                boxes.append((cx, cy, small / sqrt(ratio), small * sqrt(ratio)))
    return np.array(boxes, np.float32).clip(0, 1)


def torchvision(sizes: tuple[int, ...]) -> np.ndarray:
    """DefaultBoxGenerator: scales are given as fractions, and only widths and heights are clamped to [0, 1]."""
    scales = [round(size / 300, 2) for size in sizes]
    parts = []
    for stage, cells in enumerate(CELLS):
        large = sqrt(scales[stage] * scales[stage + 1])
        shapes = [(scales[stage], scales[stage]), (large, large)]
        for ratio in RATIOS[stage]:
            w, h = scales[stage] * sqrt(ratio), scales[stage] / sqrt(ratio)
            shapes += [(w, h), (h, w)]
        shifts = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(300 / STEPS[stage])
        y, x = (grid.reshape(-1) for grid in np.meshgrid(shifts, shifts, indexing="ij"))
        wide = np.tile(np.array(shapes, np.float32).clip(0, 1), (cells * cells, 1))
        parts.append(np.concatenate([np.repeat(np.stack([x, y], 1), len(shapes), axis=0), wide], axis=1))
    return np.concatenate(parts)


def mmdetection(sizes: tuple[int, ...]) -> np.ndarray:
    """SSDAnchorGenerator: percents of the image from the ratio range, ratios are height to width, corners in pixels."""
    first, smallest = {21: (15, 7), 30: (20, 10)}[sizes[0]]  # basesize_ratio_range (.15, .9) for COCO, (.2, .9) for VOC
    percent = int(np.floor(90 - first) / 4)
    base = [int(300 * smallest / 100)] + [int(300 * ratio / 100) for ratio in range(first, 91, percent)]
    limits = [int(300 * first / 100)] + [int(300 * (ratio + percent) / 100) for ratio in range(first, 91, percent)]
    parts = []
    for stage, cells in enumerate(CELLS):
        scales = np.array([1.0, np.sqrt(limits[stage] / base[stage])], np.float32)
        heights = np.sqrt(np.array([1.0, *(r for whole in RATIOS[stage] for r in (1 / whole, whole))], np.float32))
        widths = 1 / heights
        w = (base[stage] * scales[:, None] * widths[None]).reshape(-1)
        h = (base[stage] * scales[:, None] * heights[None]).reshape(-1)
        # The larger square comes second; the larger ones of the other ratios are not used.
        order = [0, len(heights), *range(1, len(heights))]
        middle = np.float32(STEPS[stage] / 2)
        corners = np.stack([middle - w / 2, middle - h / 2, middle + w / 2, middle + h / 2], axis=1)[order]
        shift = np.arange(cells, dtype=np.float32) * STEPS[stage]
        x, y = np.tile(shift, cells), np.repeat(shift, cells)
        shifts = np.stack([x, y, x, y], axis=1)
        parts.append((corners[None] + shifts[:, None]).reshape(-1, 4))
    return centers(np.concatenate(parts).astype(np.float32)) / 300


def chainercv(sizes: tuple[int, ...]) -> np.ndarray:
    """MultiboxCoder: rows before columns, so boxes are ``(cy, cx, h, w)``; turned around here, not clamped."""
    boxes = []
    for stage, cells in enumerate(CELLS):
        step, small, following = STEPS[stage] / 300, sizes[stage] / 300, sizes[stage + 1] / 300
        for v, u in product(range(cells), repeat=2):
            cy, cx = (v + 0.5) * step, (u + 0.5) * step
            boxes += [(cy, cx, small, small), (cy, cx, *(np.sqrt(small * following),) * 2)]
            for ratio in RATIOS[stage]:
                boxes.append((cy, cx, small / np.sqrt(ratio), small * np.sqrt(ratio)))
                boxes.append((cy, cx, small * np.sqrt(ratio), small / np.sqrt(ratio)))
    return np.array(boxes)[:, [1, 0, 3, 2]]


def centers(corners: np.ndarray) -> np.ndarray:
    """Boxes ``(xmin, ymin, xmax, ymax)`` in center form."""
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
