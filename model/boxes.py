"""Boxes: conversions between the two forms, areas and overlaps. Nothing else in the project spells them again.

Two forms exist. In memory a box is a corner box ``[ymin, xmin, ymax, xmax]``, fractions of the image in [0, 1]: arrays
are named ``boxes``. Default boxes are in center form ``(cx, cy, w, h)``, also fractions: arrays are named
``default_boxes``. Every function takes NumPy arrays or TensorFlow tensors and returns what it was given.
"""

from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

Array = Any  # np.ndarray or tf.Tensor: the functions below use only what the two libraries name alike

# Keeps a division by the union of two empty boxes finite; far below the area of one pixel of any image.
_SMALLEST_UNION = 1e-12


def _library(array: Array) -> ModuleType:
    return tf if tf.is_tensor(array) else np


def to_centers(boxes: Array) -> Array:
    """Corner boxes ``[..., 4]`` as center form ``(cx, cy, w, h)`` ``[..., 4]``, same dtype and units."""
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    return _library(boxes).stack([(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin], axis=-1)


def to_corners(centers: Array) -> Array:
    """Center form ``(cx, cy, w, h)`` ``[..., 4]`` as corner boxes ``[..., 4]``; the inverse of `to_centers`."""
    cx, cy, w, h = (centers[..., i] for i in range(4))
    return _library(centers).stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], axis=-1)


def area(boxes: Array) -> Array:
    """Areas ``[...]`` of corner boxes ``[..., 4]``; a box whose corners are swapped has area 0."""
    library = _library(boxes)
    return library.maximum(boxes[..., 2] - boxes[..., 0], 0) * library.maximum(boxes[..., 3] - boxes[..., 1], 0)


def intersection(first: Array, second: Array) -> Array:
    """Intersection areas ``[...]`` of corner boxes ``[..., 4]`` with their counterparts; the shapes broadcast."""
    library = _library(first)
    height, width = (
        library.maximum(
            library.minimum(first[..., axis + 2], second[..., axis + 2])
            - library.maximum(first[..., axis], second[..., axis]),
            0,
        )
        for axis in (0, 1)
    )
    return height * width


def paired_iou(first: Array, second: Array) -> Array:
    """Jaccard overlaps ``[...]`` in [0, 1] of corner boxes ``[..., 4]`` with their counterparts; the shapes broadcast.

    Boxes of no area overlap nothing: their IoU is 0, also with themselves.
    """
    shared = intersection(first, second)
    union = area(first) + area(second) - shared
    return shared / _library(first).maximum(union, _SMALLEST_UNION)


def iou(first: Array, second: Array) -> Array:
    """Jaccard overlaps ``[..., M, N]`` of every box of ``[..., M, 4]`` with every box of ``[..., N, 4]``."""
    return paired_iou(first[..., :, None, :], second[..., None, :, :])


def clip(boxes: Array) -> Array:
    """Corner boxes cut at the borders of the image, [0, 1]."""
    library = _library(boxes)
    return library.minimum(library.maximum(boxes, 0), 1)


def flip(boxes: Array) -> Array:
    """Corner boxes ``[..., 4]`` of the image mirrored left to right; its own inverse up to rounding."""
    return _library(boxes).stack([boxes[..., 0], 1 - boxes[..., 3], boxes[..., 2], 1 - boxes[..., 1]], axis=-1)
