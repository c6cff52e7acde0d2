"""The chain from records to batches as its tests call it."""

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets.record import Record, parse_record
from ssd300.model import boxes as box_ops
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION, PAPER_AUGMENTATION
from ssd300.preprocessing.encoding.targets import encode_ground_truth, to_dense

NONE, LIGHT, CHAIN = NO_AUGMENTATION, LIGHT_AUGMENTATION, PAPER_AUGMENTATION
MEAN = (123, 117, 104)
MIRROR = replace(NONE, flip_probability=1.0)
WITHOUT_COLORS = replace(CHAIN, photometric_probability=0.0)
SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)


@lru_cache
def traced(spec, augmentation, seed):
    signature = [tf.TensorSpec([None], tf.string), *2 * [tf.TensorSpec([None], tf.int64)]]

    def augment(serialized, epochs, records):
        return augment_batch(serialized, epochs, records, spec=spec, augmentation=augmentation, seed=seed)

    return tf.function(augment, input_signature=signature, autograph=False)


def run(serialized, augmentation, *, epochs=0, records=None, spec=PAPER, seed=0):
    """Pixels, labels and offsets of records, as arrays; the numbers of the records are their places by default."""
    count = len(serialized)
    epochs = np.broadcast_to(np.asarray(epochs, np.int64), count)
    records = np.arange(count) if records is None else np.asarray(records, np.int64)
    pixels, targets = traced(spec, augmentation, seed)(np.array(serialized, object), epochs, records)
    return pixels.numpy(), targets.labels.numpy(), targets.offsets.numpy()


def make(image, size, boxes=(), labels=None, *, spec=PAPER, shown=None):
    """A serialized record of a JPEG of this (height, width), with the targets that the Beam job would store."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = list(range(1, len(boxes) + 1)) if labels is None else labels
    both = [
        tuple(tensor.numpy() for tensor in encode_ground_truth(seen, labels, spec))
        for seen in (boxes, box_ops.flip(boxes))
    ]
    flags = [False] * len(boxes)
    return Record(image, *size, "a.jpg", "a", boxes, labels, flags, flags, *both, shown=shown).serialize()


def stored_jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def random_boxes(count, seed=0):
    random = np.random.default_rng(seed)
    sides = np.exp(random.uniform(np.log(0.02), np.log(0.8), (count, 2)))
    corners = random.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def assert_same(found, expected):
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def dense(sparse, spec=PAPER):
    return tuple(tensor.numpy() for tensor in to_dense(sparse, spec))


def encoded(boxes, labels, spec=PAPER):
    return dense(encode_ground_truth(boxes, labels, spec), spec)


def from_record(serialized, *, is_flipped):
    """The targets that a record stores."""
    record = parse_record(serialized)
    indices, labels, offsets = record.flipped_targets if is_flipped else record.targets
    all_labels, all_offsets = np.zeros(8732, np.int32), np.zeros((8732, 4), np.float32)
    all_labels[indices], all_offsets[indices] = labels, offsets
    return all_labels, all_offsets


def flips_of(augmentation, seed, epochs, records):
    """Which images are mirrored: the first random number of each decides."""
    return uniform(stream(seed, epochs, records), 1)[:, 0].numpy() < augmentation.flip_probability
