"""Targets of several pictures and of their mirror images, as arrays for records."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import tensorflow as tf

from ssd300.model import boxes as box_ops
from ssd300.model.spec import Spec
from ssd300.preprocessing.encoding import encode_batch


@dataclass(frozen=True)
class Targets:
    """The matched default boxes of several pictures as arrays; the fields are those of `BatchTargets`.

    Attributes:
        rows: the rows of each picture.
        objects: int32 ``[M]``.
        indices: int32 ``[M]``.
        offsets: float32 ``[M, 4]``.
        highest: float32 ``[N]``.
    """

    rows: Sequence[slice]
    objects: np.ndarray
    indices: np.ndarray
    offsets: np.ndarray
    highest: np.ndarray

    def of(self, rows: slice, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices, labels and offsets of the picture with these rows."""
        return self.indices[rows], labels[self.objects[rows]], self.offsets[rows]


def encode_and_mirror(boxes: np.ndarray, counts: np.ndarray, spec: Spec) -> tuple[Targets, Targets]:
    """Targets of pictures, and of their mirror images.

    Args:
        boxes: of all objects, picture after picture, float32 ``[N, 4]``.
        counts: number of objects of each picture ``[B]``.
        spec: default boxes, matching and coder.
    """
    count = len(counts)
    owners = np.repeat(np.arange(count, dtype=np.int32), counts)
    encoded = (array.numpy() for array in _encoder(spec)(boxes, owners, count))
    pictures, objects, indices, offsets, highest = encoded
    ends = np.searchsorted(pictures, np.arange(2 * count + 1))  # [2B + 1]: where the rows of each picture begin

    def half(bounds: np.ndarray, first_object: int) -> Targets:
        part = slice(bounds[0], bounds[-1])
        rows = [slice(*pair) for pair in pairwise((bounds - bounds[0]).tolist())]
        own = slice(first_object, first_object + len(boxes))
        return Targets(rows, objects[part] - first_object, indices[part], offsets[part], highest[own])

    return half(ends[: count + 1], 0), half(ends[count:], len(boxes))


@lru_cache(maxsize=8)
def _encoder(spec: Spec) -> Any:
    """`encode_batch` for pictures and, behind them, their mirror images; compiled once in a worker."""

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
