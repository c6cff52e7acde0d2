"""The schema of an encoded record: its keys, its TFDS features, and the parsing that the reader does.

A record is a ``tf.train.Example`` as TFDS writes it. This module is the only place that names its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

# TFDS names shards "<this>-<split>.tfrecord-00000-of-00001".
DATASET_NAME = "ssd300"
VERSION = "1.0.0"

IMAGE, FILENAME, ID = "image", "image/filename", "image/id"
BBOX, LABEL, DIFFICULT, TRUNCATED = "objects/bbox", "objects/label", "objects/is_difficult", "objects/is_truncated"
# The targets of the picture as it is and of its mirror image. The released model's default boxes are not symmetric
# (38 steps of 8 pixels overshoot 300), so the second are not a permutation of the first.
TARGETS, FLIPPED = "targets", "flipped_targets"
_INDEX, _CLASS, _OFFSETS = "index", "label", "offsets"


@dataclass(frozen=True)
class Record:
    """One encoded picture.

    Attributes:
        image: its JPEG.
        filename: name of the picture's file, without folders.
        picture_id: a name that differs between all pictures of a dataset, such as ``VOC2007/000012``.
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1].
        labels: classes from 1 ``[G]``.
        difficult: flags ``[G]``.
        truncated: flags ``[G]``.
        targets: ``(indices, labels, offsets)`` of the matched default boxes ``[M]``, ``[M]``, ``[M, 4]``.
        flipped_targets: the same of the mirrored picture.
    """

    image: bytes
    filename: str
    picture_id: str
    boxes: np.ndarray
    labels: Sequence[int]
    difficult: Sequence[bool]
    truncated: Sequence[bool]
    targets: tuple[np.ndarray, np.ndarray, np.ndarray]
    flipped_targets: tuple[np.ndarray, np.ndarray, np.ndarray]

    def serialize(self) -> bytes:
        """The record as bytes, always the same for the same content."""
        features = {
            IMAGE: _bytes(self.image),
            FILENAME: _bytes(self.filename.encode()),
            ID: _bytes(self.picture_id.encode()),
            BBOX: _floats(self.boxes),
            LABEL: _integers(self.labels),
            DIFFICULT: _integers(self.difficult),
            TRUNCATED: _integers(self.truncated),
        }
        for prefix, (indices, labels, offsets) in ((TARGETS, self.targets), (FLIPPED, self.flipped_targets)):
            features[f"{prefix}/{_INDEX}"] = _integers(indices)
            features[f"{prefix}/{_CLASS}"] = _integers(labels)
            features[f"{prefix}/{_OFFSETS}"] = _floats(offsets)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString(deterministic=True)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _floats(values: Any) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=np.asarray(values, np.float32).ravel().tolist()))


def _integers(values: Any) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def parse(serialized: tf.Tensor) -> dict[str, Any]:
    """One serialized record as tensors, inside or outside a graph.

    Returns:
        ``image`` (undecoded JPEG), ``filename`` and ``id``, strings; ``boxes`` float32 ``[G, 4]``, ``labels`` int32
        ``[G]``, ``difficult`` and ``truncated`` bool ``[G]``; ``targets`` and ``flipped_targets``, each a tuple of
        ``indices`` int32 ``[M]``, ``labels`` int32 ``[M]`` and ``offsets`` float32 ``[M, 4]``.
    """

    def several(dtype: tf.DType, shape: tuple[int, ...] = ()) -> Any:
        return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)

    schema = {key: tf.io.FixedLenFeature((), tf.string) for key in (IMAGE, FILENAME, ID)}
    schema |= {key: several(tf.int64) for key in (LABEL, DIFFICULT, TRUNCATED)} | {BBOX: several(tf.float32, (4,))}
    for prefix in (TARGETS, FLIPPED):
        schema |= {f"{prefix}/{key}": several(tf.int64) for key in (_INDEX, _CLASS)}
        schema[f"{prefix}/{_OFFSETS}"] = several(tf.float32, (4,))
    parsed = tf.io.parse_single_example(serialized, schema)

    def targets(prefix: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        indices, labels = (tf.cast(parsed[f"{prefix}/{key}"], tf.int32) for key in (_INDEX, _CLASS))
        return indices, labels, parsed[f"{prefix}/{_OFFSETS}"]

    return {
        "image": parsed[IMAGE],
        "filename": parsed[FILENAME],
        "id": parsed[ID],
        "boxes": parsed[BBOX],
        "labels": tf.cast(parsed[LABEL], tf.int32),
        "difficult": tf.cast(parsed[DIFFICULT], tf.bool),
        "truncated": tf.cast(parsed[TRUNCATED], tf.bool),
        "targets": targets(TARGETS),
        "flipped_targets": targets(FLIPPED),
    }


def parse_record(serialized: bytes) -> Record:
    """The record that `Record.serialize` wrote, as arrays."""
    found = tf.nest.map_structure(lambda tensor: tensor.numpy(), parse(tf.constant(serialized)))
    return Record(
        image=found["image"],
        filename=found["filename"].decode(),
        picture_id=found["id"].decode(),
        boxes=found["boxes"],
        labels=found["labels"].tolist(),
        difficult=found["difficult"].tolist(),
        truncated=found["truncated"].tolist(),
        targets=found["targets"],
        flipped_targets=found["flipped_targets"],
    )


def tfds_features(class_names: Sequence[str]) -> Any:
    """The TFDS features of a dataset with these class names, the background first."""
    import tensorflow_datasets as tfds  # seconds to import, and only the end of the Beam job needs it

    label = tfds.features.ClassLabel(names=list(class_names))
    target = {
        _INDEX: np.int32,
        _CLASS: label,
        _OFFSETS: tfds.features.Tensor(shape=(4,), dtype=np.float32),
    }
    objects = {"bbox": tfds.features.BBoxFeature(), "label": label, "is_difficult": np.bool_, "is_truncated": np.bool_}
    return tfds.features.FeaturesDict(
        {
            IMAGE: tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            FILENAME: tfds.features.Text(),
            ID: tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
            TARGETS: tfds.features.Sequence(target),
            FLIPPED: tfds.features.Sequence(target),
        }
    )
