"""The schema of an encoded record: its keys, its TFDS features, and the parsing that the reader does.

A record is a ``tf.train.Example`` as TFDS writes it. This module is the only place that names its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

DATASET_NAME = "ssd300"
VERSION = "1.1.0"

IMAGE, FILENAME, ID = "image", "image/filename", "image/id"
HEIGHT, WIDTH = "image/height", "image/width"  # so that a batch of crops is laid out before a picture is opened
SHOWN = "image/shown"  # the rest of an augmented copy is mean colour
OBJECTS = "objects"
BBOX, LABEL, DIFFICULT, TRUNCATED = "objects/bbox", "objects/label", "objects/is_difficult", "objects/is_truncated"
# The targets of the picture as it is and of its mirror image. The released model's default boxes are not symmetric
# (38 steps of 8 pixels overshoot 300), so the second are not a permutation of the first.
TARGETS, FLIPPED = "targets", "flipped_targets"
_INDEX, _CLASS, _OFFSETS = "index", "label", "offsets"


def shard_name(split: str, index: int, count: int) -> str:
    """Name of a split's file, as TFDS expects it."""
    return f"{DATASET_NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def copy_split(split: str, number: int) -> str:
    """Name of the split that holds an augmented copy, counted from 1, of every picture of `split`."""
    return f"{split}_copy{number}"


@dataclass(frozen=True)
class Record:
    """One encoded picture.

    Attributes:
        image: its JPEG.
        height: of the JPEG, in pixels.
        width: of the JPEG, in pixels.
        filename: name of the picture's file, without folders.
        picture_id: a name that differs between all pictures of a dataset, such as ``VOC2007/000012``.
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1].
        labels: classes from 1 ``[G]``.
        difficult: flags ``[G]``.
        truncated: flags ``[G]``.
        targets: ``(indices, labels, offsets)`` of the matched default boxes ``[M]``, ``[M]``, ``[M, 4]``.
        flipped_targets: the same of the mirrored picture.
        shown: top, left, height and width of what the JPEG shows of a picture, in pixels; None for all of it.
    """

    image: bytes
    height: int
    width: int
    filename: str
    picture_id: str
    boxes: np.ndarray
    labels: Sequence[int]
    difficult: Sequence[bool]
    truncated: Sequence[bool]
    targets: tuple[np.ndarray, np.ndarray, np.ndarray]
    flipped_targets: tuple[np.ndarray, np.ndarray, np.ndarray]
    shown: Sequence[int] | None = None

    def serialize(self) -> bytes:
        """The record as bytes, always the same for the same content."""
        features = {
            IMAGE: _bytes(self.image),
            HEIGHT: _integers([self.height]),
            WIDTH: _integers([self.width]),
            SHOWN: _integers((0, 0, self.height, self.width) if self.shown is None else self.shown),
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


_SIZES = {
    HEIGHT: tf.io.FixedLenFeature((), tf.int64),
    WIDTH: tf.io.FixedLenFeature((), tf.int64),
    SHOWN: tf.io.FixedLenFeature((4,), tf.int64),
}


def parse(serialized: tf.Tensor) -> dict[str, Any]:
    """One serialized record as tensors, inside or outside a graph.

    Returns:
        ``image`` (undecoded JPEG), ``filename`` and ``id``, strings; ``size``, height and width, int32 ``[2]``;
        ``shown``, what `Record.shown` says, int32 ``[4]``;
        ``boxes`` float32 ``[G, 4]``, ``labels`` int32 ``[G]``, ``difficult`` and ``truncated`` bool ``[G]``;
        ``targets`` and ``flipped_targets``, each a tuple of ``indices`` int32 ``[M]``, ``labels`` int32 ``[M]`` and
        ``offsets`` float32 ``[M, 4]``.
    """

    def several(dtype: tf.DType, shape: tuple[int, ...] = ()) -> Any:
        return tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=True)

    schema = {key: tf.io.FixedLenFeature((), tf.string) for key in (IMAGE, FILENAME, ID)}
    schema |= _SIZES
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
        "size": _size(parsed),
        "shown": tf.cast(parsed[SHOWN], tf.int32),
        "boxes": parsed[BBOX],
        "labels": tf.cast(parsed[LABEL], tf.int32),
        "difficult": tf.cast(parsed[DIFFICULT], tf.bool),
        "truncated": tf.cast(parsed[TRUNCATED], tf.bool),
        "targets": targets(TARGETS),
        "flipped_targets": targets(FLIPPED),
    }


class Rows(NamedTuple):
    """Rows of several records, one record's after the other's.

    Attributes:
        owners: the record of each, rising, int32 ``[N]``.
        labels: int32 ``[N]``.
        numbers: what the rows hold: corner boxes, or offsets; float32 ``[N, 4]``.
        indices: of default boxes, int32 ``[N]``; None for objects.
    """

    owners: tf.Tensor
    labels: tf.Tensor
    numbers: tf.Tensor
    indices: tf.Tensor | None = None


def parse_batch(serialized: tf.Tensor, *parts: str) -> dict[str, Any]:
    """What training needs of several serialized records, parsed together, which costs a fraction of `parse`.

    Args:
        serialized: strings ``[B]``.
        parts: which of `OBJECTS`, `TARGETS` and `FLIPPED` are wanted.

    Returns:
        ``image``, undecoded JPEGs ``[B]``; ``sizes``, heights and widths, int32 ``[B, 2]``; ``shown``, int32
        ``[B, 4]``; `Rows` by part.
    """
    schema: dict[str, Any] = {IMAGE: tf.io.FixedLenFeature((), tf.string)}
    schema |= _SIZES
    keys = {part: _row_keys(part) for part in parts}
    for numbers, *integers in keys.values():
        schema[numbers] = tf.io.RaggedFeature(tf.float32)
        schema |= {key: tf.io.RaggedFeature(tf.int64) for key in integers}
    parsed = tf.io.parse_example(serialized, schema)

    def rows(numbers: str, label: str, *index: str) -> Rows:
        return Rows(
            tf.cast(parsed[label].value_rowids(), tf.int32),
            tf.cast(parsed[label].values, tf.int32),
            tf.reshape(parsed[numbers].values, [-1, 4]),
            *(tf.cast(parsed[key].values, tf.int32) for key in index),
        )

    whole = {"image": parsed[IMAGE], "sizes": _size(parsed), "shown": tf.cast(parsed[SHOWN], tf.int32)}
    return {**whole, **{part: rows(*names) for part, names in keys.items()}}


def _row_keys(part: str) -> tuple[str, ...]:
    if part == OBJECTS:
        return BBOX, LABEL
    return f"{part}/{_OFFSETS}", f"{part}/{_CLASS}", f"{part}/{_INDEX}"


def _size(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.cast(tf.stack([parsed[HEIGHT], parsed[WIDTH]], axis=-1), tf.int32)


def parse_record(serialized: bytes) -> Record:
    """The record that `Record.serialize` wrote, as arrays."""
    found = tf.nest.map_structure(lambda tensor: tensor.numpy(), parse(tf.constant(serialized)))
    return Record(
        image=found["image"],
        height=int(found["size"][0]),
        width=int(found["size"][1]),
        shown=found["shown"].tolist(),
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
            HEIGHT: np.int32,
            WIDTH: np.int32,
            SHOWN: tfds.features.Tensor(shape=(4,), dtype=np.int32),
            FILENAME: tfds.features.Text(),
            ID: tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
            TARGETS: tfds.features.Sequence(target),
            FLIPPED: tfds.features.Sequence(target),
        }
    )
