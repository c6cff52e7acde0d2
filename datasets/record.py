"""The schema of an encoded record: its keys, its TFDS features, and the parsing that the reader does.

A record is a ``tf.train.Example`` as TFDS writes it. This module is the only place that names its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

VERSION = "1.1.0"


@dataclass(frozen=True)
class _Column:
    """A value of the schema.

    Attributes:
        dtype: once parsed; integers and flags are stored as int64.
        shape: of one value.
        feature: name of its feature in ``tfds.features``, if a dtype and a shape do not say all.
    """

    dtype: tf.DType
    shape: tuple[int, ...] = ()
    feature: str | None = None

    @property
    def stored(self) -> tf.DType:
        """The dtype in the file."""
        return self.dtype if self.dtype in (tf.string, tf.float32) else tf.int64


IMAGE, FILENAME, ID = "image", "image/filename", "image/id"
HEIGHT, WIDTH = "image/height", "image/width"  # so that a batch of crops is laid out before an image is opened
SHOWN = "image/shown"  # the rest of an augmented copy is the mean color
# One value per record.
_SINGLE = {
    IMAGE: _Column(tf.string, feature="Image"),
    HEIGHT: _Column(tf.int32),
    WIDTH: _Column(tf.int32),
    SHOWN: _Column(tf.int32, (4,)),
    FILENAME: _Column(tf.string, feature="Text"),
    ID: _Column(tf.string, feature="Text"),
}
OBJECTS, TARGETS, FLIPPED = "objects", "targets", "flipped_targets"
_TARGET = {
    "index": _Column(tf.int32),
    "label": _Column(tf.int32, feature="ClassLabel"),
    "offsets": _Column(tf.float32, (4,)),
}
# Columns with one value per row; rows are objects, or matched default boxes of the image and of its mirror image. The
# released model's default boxes are not symmetric (38 steps of 8 pixels overshoot 300), so the last are not a
# permutation of those before.
_ROWS = {
    OBJECTS: {
        "bbox": _Column(tf.float32, (4,), feature="BBoxFeature"),
        "label": _Column(tf.int32, feature="ClassLabel"),
        "is_difficult": _Column(tf.bool),
        "is_truncated": _Column(tf.bool),
    },
    TARGETS: _TARGET,
    FLIPPED: _TARGET,
}
_COLUMNS = {**_SINGLE, **{f"{part}/{name}": column for part, rows in _ROWS.items() for name, column in rows.items()}}


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
        values = {
            IMAGE: self.image,
            HEIGHT: self.height,
            WIDTH: self.width,
            SHOWN: (0, 0, self.height, self.width) if self.shown is None else self.shown,
            FILENAME: self.filename.encode(),
            ID: self.picture_id.encode(),
            **_by_key(OBJECTS, self.boxes, self.labels, self.difficult, self.truncated),
            **_by_key(TARGETS, *self.targets),
            **_by_key(FLIPPED, *self.flipped_targets),
        }
        features = {key: _feature(value, _COLUMNS[key].stored) for key, value in values.items()}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        return example.SerializeToString(deterministic=True)


def _by_key(part: str, *columns: Any) -> dict[str, Any]:
    return {f"{part}/{name}": column for name, column in zip(_ROWS[part], columns, strict=True)}


def _feature(value: Any, stored: tf.DType) -> tf.train.Feature:
    if stored == tf.string:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    values = np.asarray(value, stored.as_numpy_dtype).ravel().tolist()
    if stored == tf.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def parse(serialized: tf.Tensor) -> dict[str, Any]:
    """One serialized record as tensors, inside or outside a graph.

    Returns:
        ``image`` (undecoded JPEG), ``filename`` and ``id``, strings; ``size``, height and width, int32 ``[2]``;
        ``shown``, what `Record.shown` says, int32 ``[4]``;
        ``boxes`` float32 ``[G, 4]``, ``labels`` int32 ``[G]``, ``difficult`` and ``truncated`` bool ``[G]``;
        ``targets`` and ``flipped_targets``, each a tuple of ``indices`` int32 ``[M]``, ``labels`` int32 ``[M]`` and
        ``offsets`` float32 ``[M, 4]``.
    """
    schema = {
        key: tf.io.FixedLenFeature(column.shape, column.stored)
        if key in _SINGLE
        else tf.io.FixedLenSequenceFeature(column.shape, column.stored, allow_missing=True)
        for key, column in _COLUMNS.items()
    }
    parsed = _cast(tf.io.parse_single_example(serialized, schema))

    def rows(part: str) -> tuple[tf.Tensor, ...]:
        return tuple(parsed[f"{part}/{name}"] for name in _ROWS[part])

    objects = dict(zip(("boxes", "labels", "difficult", "truncated"), rows(OBJECTS), strict=True))
    return {
        "image": parsed[IMAGE],
        "filename": parsed[FILENAME],
        "id": parsed[ID],
        "size": _size(parsed),
        "shown": parsed[SHOWN],
        **objects,
        "targets": rows(TARGETS),
        "flipped_targets": rows(FLIPPED),
    }


def _cast(parsed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {key: tf.cast(value, _COLUMNS[key].dtype) for key, value in parsed.items()}


class Rows(NamedTuple):
    """Rows of several records, one record's after the other's.

    Attributes:
        owners: the record of each, rising, int32 ``[N]``.
        labels: int32 ``[N]``.
        values: what the rows hold: corner boxes, or offsets; float32 ``[N, 4]``.
        indices: of default boxes, int32 ``[N]``; None for objects.
    """

    owners: tf.Tensor
    labels: tf.Tensor
    values: tf.Tensor
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
    single = (IMAGE, HEIGHT, WIDTH, SHOWN)
    keys = {part: [f"{part}/{name}" for name in _WANTED[part]] for part in parts}
    schema: dict[str, Any] = {key: tf.io.FixedLenFeature(_COLUMNS[key].shape, _COLUMNS[key].stored) for key in single}
    schema |= {key: tf.io.RaggedFeature(_COLUMNS[key].stored) for own in keys.values() for key in own}
    parsed = tf.io.parse_example(serialized, schema)

    def rows(values: str, label: str, *index: str) -> Rows:
        return Rows(
            tf.cast(parsed[label].value_rowids(), tf.int32),
            tf.cast(parsed[label].values, tf.int32),
            tf.reshape(parsed[values].values, [-1, 4]),
            *(tf.cast(parsed[key].values, tf.int32) for key in index),
        )

    whole = _cast({key: parsed[key] for key in single})
    result = {"image": whole[IMAGE], "sizes": _size(whole), "shown": whole[SHOWN]}
    return {**result, **{part: rows(*own) for part, own in keys.items()}}


# What `Rows` takes, in its order.
_WANTED = {OBJECTS: ("bbox", "label"), TARGETS: ("offsets", "label", "index"), FLIPPED: ("offsets", "label", "index")}


def _size(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.stack([parsed[HEIGHT], parsed[WIDTH]], axis=-1)


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

    features = tfds.features
    label = features.ClassLabel(names=list(class_names))
    special = {
        "Image": features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "Text": features.Text(),
        "BBoxFeature": features.BBoxFeature(),
        "ClassLabel": label,
    }

    def feature(column: _Column) -> Any:
        if column.feature is not None:
            return special[column.feature]
        dtype = column.dtype.as_numpy_dtype
        return features.Tensor(shape=column.shape, dtype=dtype) if column.shape else dtype

    single = {key: feature(column) for key, column in _SINGLE.items()}
    rows = {
        part: features.Sequence({name: feature(column) for name, column in columns.items()})
        for part, columns in _ROWS.items()
    }
    return features.FeaturesDict({**single, **rows})
