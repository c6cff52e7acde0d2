"""How the objects of a dataset fit the default boxes: sizes, aspect ratios, numbers, and the best IoU that each gets.

All lengths are those of the network's input, to which every image is stretched: it is there that default boxes and
objects meet.
"""

from collections import Counter

import numpy as np

from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import IMAGE_SIZE, Spec

SIZE_BIN = 10  # pixels of 300, of the square root of the area
ASPECT_BIN = 0.25  # octaves of width / height
LARGEST_ASPECT = 16  # bins on either side of 1: beyond 16:1 all are one
IOU_BIN = 0.05
MAX_OBJECTS = 20  # more in an image are one


def histograms(boxes: np.ndarray, counts: np.ndarray, overlaps: np.ndarray) -> dict[str, Counter[str]]:
    """Counts by name and bin; a bin is named by its number, from 0 or, for aspect ratios, from 1:1.

    Args:
        boxes: of all objects of some images, ``[N, 4]``.
        counts: number of objects of each image ``[B]``.
        overlaps: the best IoU of each object ``[N]``.
    """
    wide = boxes.astype(np.float64)  # the ratios of nearly flat boxes are beyond float32
    height, width = wide[:, 2] - wide[:, 0], wide[:, 3] - wide[:, 1]
    sizes = (np.sqrt(width * height) * IMAGE_SIZE / SIZE_BIN).astype(int)
    aspects = np.round(np.log2(width / height) / ASPECT_BIN).clip(-LARGEST_ASPECT, LARGEST_ASPECT).astype(int)
    last = round(1 / IOU_BIN) - 1
    return {
        "size": _counted(sizes.clip(0, IMAGE_SIZE // SIZE_BIN - 1)),
        "aspect": _counted(aspects),
        "iou": _counted((overlaps / IOU_BIN).astype(int).clip(0, last)),
        "objects": _counted(counts.clip(0, MAX_OBJECTS)),
    }


def _counted(bins: np.ndarray) -> Counter[str]:
    return Counter({str(value): int(count) for value, count in zip(*np.unique(bins, return_counts=True), strict=True)})


def best_overlaps(boxes: np.ndarray, highest: np.ndarray, spec: Spec) -> np.ndarray:
    """The highest IoU that any default box has with each object, float32 ``[N]``.

    Args:
        boxes: corner boxes of the objects ``[N, 4]``.
        highest: what the encoding knows of it, see `ssd300.preprocessing.encoding.targets.BatchTargets`.
        spec: the default boxes and their matching.
    """
    if spec.matching == "bipartite":
        return highest
    best, corners = highest.copy(), box_ops.to_corners(default_boxes(spec))
    below = np.flatnonzero(best < spec.match_iou)
    for start in range(0, len(below), 64):  # rows of 8732 overlaps: a few at a time
        some = below[start : start + 64]
        best[some] = box_ops.iou(boxes[some], corners).max(axis=1)
    return best
