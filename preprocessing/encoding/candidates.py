"""The few pairs of object and default box that matching has to look at, found by arithmetic on the grids.

Of 8732 default boxes an object overlaps thousands and matches some twenty. Default boxes of one shape lie on a grid,
and along an axis the overlap of two intervals depends only on the distance of their centers; so which cells can reach
a given IoU is a range of columns and a range of rows, and no overlap outside it has to be computed.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ssd300.model.default_boxes import stage_offsets
from ssd300.model.spec import Spec

# How far the arithmetic here may be off the float32 overlaps of the corners: as a length and as a share. Both only
# let more candidates through.
_LENGTH, _SHARE = 1e-6, 1e-3
_CELLS = 1e-3  # the same, in cells


class Shapes(NamedTuple):
    """The shapes of all default boxes: arrays ``[S]``, fractions of the image where they are lengths."""

    width: np.ndarray
    height: np.ndarray
    step: np.ndarray
    cells: np.ndarray  # along a side
    first: np.ndarray  # index of the shape's default box in the first cell
    stride: np.ndarray  # from a cell's default box to the next cell's
    last: np.ndarray  # center of the last cell along a side; a clamped one is off the grid


@lru_cache(maxsize=8)
def shapes_of(spec: Spec) -> Shapes:
    """The shapes of `spec`, 30 in all presets."""
    largest = np.inf if spec.clamp == "none" else 1.0
    furthest = 1.0 if spec.clamp == "center" else np.inf
    rows = [
        (
            min(width, largest),
            min(height, largest),
            stage.step,
            stage.cells,
            first + number,
            len(stage.shapes),
            min((stage.cells - 0.5) * stage.step, furthest),
        )
        for stage, first in zip(spec.feature_maps, stage_offsets(spec), strict=False)
        for number, (width, height) in enumerate(stage.shapes)
    ]
    columns = list(zip(*rows, strict=True))
    kinds = (np.float32, np.float32, np.float32, np.int32, np.int32, np.int32, np.float32)
    return Shapes(*map(np.array, columns, kinds))


def candidate_pairs(boxes: tf.Tensor, spec: Spec) -> tuple[tf.Tensor, tf.Tensor]:
    """Pairs of objects and default boxes among which all matches are.

    All pairs of an IoU of at least the spec's `match_iou` are among them and, for bipartite matching, all in which an
    object reaches the highest IoU that it has with any default box; some others too.

    Args:
        boxes: corner boxes, float32 ``[N, 4]``.
        spec: the default boxes and the threshold.

    Returns:
        The objects, rising, and the default boxes, int32 ``[P]`` each.
    """
    shapes = shapes_of(spec)
    ymin, xmin, ymax, xmax = tf.split(boxes, 4, axis=1)  # [N, 1]
    width, height = xmax - xmin, ymax - ymin
    across, down = _Axis(xmin, width, shapes.width, shapes), _Axis(ymin, height, shapes.height, shapes)

    areas = width * height + shapes.width * shapes.height  # [N, S], of the pair
    needed = areas * (spec.match_iou / (1 + spec.match_iou) * (1 - _SHARE))  # intersection at the threshold
    largest = (across.largest + _LENGTH) * (down.largest + _LENGTH)
    if spec.matching == "bipartite":
        least = tf.maximum(across.largest - _LENGTH, 0) * tf.maximum(down.largest - _LENGTH, 0)
        best = tf.reduce_max(least / (areas - least), axis=1, keepdims=True)  # [N, 1]
        may_be_best = largest / tf.maximum(areas - largest, _LENGTH) >= best * (1 - _SHARE)
        needed = tf.where(may_be_best, tf.minimum(needed, least * (1 - _SHARE)), needed)
    pairs = tf.where(largest >= needed)  # [K, 2] of objects and shapes
    needed = tf.gather_nd(needed, pairs)  # [K]
    first_column, columns = across.reaching(needed / tf.gather_nd(down.largest + _LENGTH, pairs), pairs)
    first_row, rows = down.reaching(needed / tf.gather_nd(across.largest + _LENGTH, pairs), pairs)

    ends = tf.cumsum(columns * rows)  # [K]
    numbers = tf.range(tf.reduce_sum(columns * rows))  # [P]
    pair = tf.searchsorted(ends, numbers, side="right")  # [P] into [K]
    within = numbers - tf.gather(ends - columns * rows, pair)
    width_in_cells = tf.gather(columns, pair)
    shape = tf.cast(pairs[:, 1], tf.int32)
    row = tf.gather(first_row, pair) + within // width_in_cells
    column = tf.gather(first_column, pair) + within % width_in_cells
    shape = tf.gather(shape, pair)  # [P]
    cell = row * tf.gather(shapes.cells, shape) + column
    default_boxes = tf.gather(shapes.first, shape) + cell * tf.gather(shapes.stride, shape)
    return tf.gather(tf.cast(pairs[:, 0], tf.int32), pair), default_boxes


class _Axis:
    """Objects and shapes along one axis.

    Attributes:
        largest: the largest overlap that an object has with a shape anywhere on its grid, ``[N, S]``.
    """

    def __init__(self, start: tf.Tensor, length: tf.Tensor, sides: np.ndarray, shapes: Shapes) -> None:
        self._shapes = shapes
        self._center = start + length / 2  # [N, 1]
        self._reach = (length + sides) / 2  # [N, S]: centers further apart than this do not overlap
        self._shorter = tf.minimum(length, sides)  # [N, S]
        nearest = tf.clip_by_value(tf.round(self._center / shapes.step - 0.5), 0, shapes.cells.astype(np.float32) - 1)
        distance = tf.abs(tf.minimum((nearest + 0.5) * shapes.step, shapes.last) - self._center)
        distance = tf.minimum(distance, tf.abs(shapes.last - self._center))  # a clamped center may be nearer
        self.largest = tf.clip_by_value(self._reach - distance, 0, self._shorter)

    def reaching(self, overlap: tf.Tensor, pairs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First cell and number of cells in which pairs ``[K, 2]`` overlap by at least `overlap` ``[K]``."""
        step, cells = tf.gather(self._shapes.step, pairs[:, 1]), tf.gather(self._shapes.cells, pairs[:, 1])
        center = tf.gather(self._center[:, 0], pairs[:, 0]) / step - 0.5  # in cells
        overlap = tf.minimum(overlap, tf.gather_nd(self._shorter, pairs))
        radius = (tf.gather_nd(self._reach, pairs) - overlap) / step + _CELLS
        first = tf.maximum(tf.cast(tf.math.ceil(center - radius), tf.int32), 0)
        last = tf.minimum(tf.cast(tf.floor(center + radius), tf.int32), cells - 1)
        # A clamped last center is nearer than its place on the grid.
        last_center = tf.gather(self._shapes.last, pairs[:, 1]) / step - 0.5
        last = tf.where(tf.abs(last_center - center) <= radius, cells - 1, last)
        return first, tf.maximum(last - first + 1, 0)
