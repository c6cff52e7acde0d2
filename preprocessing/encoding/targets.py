"""Encoding ground truth against the default boxes: the one implementation that the Beam job and the reader run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import PAPER, Spec
from ssd300.preprocessing.encoding.batch_matching import match_batch

_REGISTER = 16  # float32 numbers in the widest vector register


class SparseTargets(NamedTuple):
    """The matched default boxes only; all others are background."""

    indices: tf.Tensor  # the matched default boxes in rising order, int32 ``[M]``
    labels: tf.Tensor  # their classes from 1, int32 ``[M]``
    offsets: tf.Tensor  # the encoded ground truth boxes, float32 ``[M, 4]``


class DenseTargets(NamedTuple):
    """What the loss takes."""

    labels: tf.Tensor  # class of every default box, int32 ``[8732]``, 0 for background
    offsets: tf.Tensor  # encoded ground truth, float32 ``[8732, 4]``, 0 for background


class BatchTargets(NamedTuple):
    """The matched default boxes of several images, one image after the other.

    Attributes:
        pictures: the image of each, rising, int32 ``[M]``.
        objects: the object that each matched, as a number in the batch, int32 ``[M]``.
        indices: the matched default boxes, rising in an image, int32 ``[M]``.
        offsets: the encoded ground truth boxes, float32 ``[M, 4]``.
        highest: the highest IoU that each object has with any default box, float32 ``[N]``; exact where it is at least
            the spec's `match_iou` and, for bipartite matching, everywhere.
    """

    pictures: tf.Tensor
    objects: tf.Tensor
    indices: tf.Tensor
    offsets: tf.Tensor
    highest: tf.Tensor


# AutoGraph would parse the source of all this again, which takes a second, to find no Python control flow.
@tf.autograph.experimental.do_not_convert
def encode_batch(boxes: Any, pictures: Any, spec: Spec = PAPER) -> BatchTargets:
    """Encodes the objects of several images at once, each image by itself.

    Works eagerly on arrays and inside graphs on tensors of unknown length.

    Args:
        boxes: corner boxes of all objects, float32 ``[N, 4]`` in [0, 1], of positive area; N may be 0.
        pictures: the image of each object, from 0, rising, integers ``[N]``.
        spec: default boxes, matching and coder.
    """
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [-1, 4])
    pictures = tf.reshape(tf.cast(pictures, tf.int32), [-1])
    centers, corners = _default_box_arrays(spec)
    slots, objects, highest = match_batch(boxes, pictures, tf.constant(corners), spec)
    indices = slots % spec.boxes
    # The logarithm of a whole vector register differs in the last bit from that of a single number. Padded, all are
    # in registers, and an image's offsets do not depend on which others are in the batch.
    fill = [[0, -tf.size(objects) % _REGISTER]]
    offsets = box_coder.encode(
        tf.gather(boxes, tf.pad(objects, fill)),
        tf.gather(tf.constant(centers), tf.pad(indices, fill)),
        variances=spec.variances,
    )[: tf.size(objects)]
    return BatchTargets(slots // spec.boxes, objects, indices, offsets, highest)


def encode_ground_truth(boxes: Any, labels: Any, spec: Spec = PAPER) -> SparseTargets:
    """Encodes the objects of one image; `encode_batch` for many images costs a fraction of that per image.

    Args:
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1], of positive area; G may be 0.
        labels: their classes from 1, integers ``[G]``.
        spec: default boxes, matching and coder.
    """
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    encoded = encode_batch(boxes, tf.zeros_like(labels), spec)
    return SparseTargets(encoded.indices, tf.gather(labels, encoded.objects), encoded.offsets)


def to_dense(targets: SparseTargets, spec: Spec = PAPER) -> DenseTargets:
    """Scatters sparse targets over all default boxes of `spec`."""
    at = tf.cast(targets.indices, tf.int32)[:, None]
    return DenseTargets(
        tf.scatter_nd(at, tf.cast(targets.labels, tf.int32), [spec.boxes]),
        tf.scatter_nd(at, targets.offsets, [spec.boxes, 4]),
    )


@lru_cache(maxsize=8)
def _default_box_arrays(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    centers = default_boxes(spec)
    return centers, box_ops.to_corners(centers)


@dataclass(frozen=True)
class Targets:
    """The matched default boxes of several images as arrays; the fields are those of `BatchTargets`."""

    rows: Sequence[slice]  # the rows of each image
    objects: np.ndarray  # int32 ``[M]``
    indices: np.ndarray  # int32 ``[M]``
    offsets: np.ndarray  # float32 ``[M, 4]``
    highest: np.ndarray  # float32 ``[N]``

    def of(self, rows: slice, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices, labels and offsets of the image with these rows."""
        return self.indices[rows], labels[self.objects[rows]], self.offsets[rows]


def encode_and_mirror(boxes: np.ndarray, counts: np.ndarray, spec: Spec) -> tuple[Targets, Targets]:
    """Targets of images, and of their mirror images.

    Args:
        boxes: of all objects, image after image, float32 ``[N, 4]``.
        counts: number of objects of each image ``[B]``.
        spec: default boxes, matching and coder.
    """
    count = len(counts)
    owners = np.repeat(np.arange(count, dtype=np.int32), counts)
    encoded = (array.numpy() for array in _encoder(spec)(boxes, owners, count))
    pictures, objects, indices, offsets, highest = encoded
    ends = np.searchsorted(pictures, np.arange(2 * count + 1))  # [2B + 1]: where the rows of each image begin

    def half(bounds: np.ndarray, first_object: int) -> Targets:
        part = slice(bounds[0], bounds[-1])
        rows = [slice(*pair) for pair in pairwise((bounds - bounds[0]).tolist())]
        own = slice(first_object, first_object + len(boxes))
        return Targets(rows, objects[part] - first_object, indices[part], offsets[part], highest[own])

    return half(ends[: count + 1], 0), half(ends[count:], len(boxes))


@lru_cache(maxsize=8)
def _encoder(spec: Spec) -> Any:
    """`encode_batch` for images followed by their mirror images; compiled once in a worker."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32)
        ],
        autograph=False,
    )  # fmt: skip
    def encode(boxes: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tuple:
        both = tf.concat([boxes, box_ops.flip(boxes)], axis=0)
        return encode_batch(both, tf.concat([owners, owners + count], axis=0), spec)

    return encode
