"""Encoding ground truth against the default boxes: the one implementation that the Beam job and the reader run."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ssd300.model import box_coder
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import PAPER, Spec
from ssd300.preprocessing.matching import match


class SparseTargets(NamedTuple):
    """The matched default boxes alone; all others are background.

    Attributes:
        indices: the matched default boxes in rising order, int32 ``[M]``.
        labels: their classes from 1, int32 ``[M]``.
        offsets: the encoded ground truth boxes, float32 ``[M, 4]``.
    """

    indices: tf.Tensor
    labels: tf.Tensor
    offsets: tf.Tensor


class DenseTargets(NamedTuple):
    """What the loss takes.

    Attributes:
        labels: class of every default box, int32 ``[8732]``, 0 for background.
        offsets: encoded ground truth, float32 ``[8732, 4]``, 0 for background.
    """

    labels: tf.Tensor
    offsets: tf.Tensor


def encode_ground_truth(boxes: Any, labels: Any, spec: Spec = PAPER) -> SparseTargets:
    """Encodes the objects of one picture.

    Works eagerly on arrays and inside graphs on tensors of unknown length.

    Args:
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1], of positive area; G may be 0.
        labels: their classes from 1, integers ``[G]``.
        spec: default boxes, matching and coder.
    """
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    centres, corners = _default_box_arrays(spec)
    matches = match(box_ops.iou(boxes, tf.constant(corners)), spec)  # [A]
    indices = tf.cast(tf.where(matches >= 0), tf.int32)[:, 0]  # [M]
    objects = tf.gather(matches, indices)  # [M]
    matched_boxes = tf.gather(tf.constant(centres), indices)  # [M, 4]
    offsets = box_coder.encode(tf.gather(boxes, objects), matched_boxes, variances=spec.variances)
    return SparseTargets(indices, tf.gather(labels, objects), offsets)


def to_dense(targets: SparseTargets, spec: Spec = PAPER) -> DenseTargets:
    """Scatters sparse targets over all default boxes of `spec`."""
    at = tf.cast(targets.indices, tf.int32)[:, None]
    return DenseTargets(
        tf.scatter_nd(at, tf.cast(targets.labels, tf.int32), [spec.boxes]),
        tf.scatter_nd(at, targets.offsets, [spec.boxes, 4]),
    )


@lru_cache(maxsize=8)
def _default_box_arrays(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    centres = default_boxes(spec)
    return centres, box_ops.to_corners(centres)
