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
    """A value of the schema."""

    dtype: tf.DType  # once parsed; integers and flags are stored as int64
    shape: tuple[int, ...] = ()  # of one value
    feature: str | None = None  # name of its feature in ``tfds.features``, if a dtype and a shape do not say all

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
    """One encoded image.

    Attributes:
        image: its JPEG.
        height: of the JPEG, in pixels.
        width: of the JPEG, in pixels.
        filename: name of the image's file, without folders.
        picture_id: a name that differs between all images of a dataset, such as ``VOC2007/000012``.
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1].
        labels: classes from 1 ``[G]``.
        difficult: flags ``[G]``.
        truncated: flags ``[G]``.
        targets: ``(indices, labels, offsets)`` of the matched default boxes ``[M]``, ``[M]``, ``[M, 4]``.
        flipped_targets: the same of the mirrored image.
        shown: top, left, height and width of what the JPEG shows of an image, in pixels; None for all of it.
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
        example = tf.train.Example()
        features = example.features.feature
        for key, value in values.items():
            _FILL[key](features[key], value)
        return example.SerializeToString(deterministic=True)


def _by_key(part: str, *columns: Any) -> dict[str, Any]:
    return {f"{part}/{name}": column for name, column in zip(_ROWS[part], columns, strict=True)}


def _fill_bytes(feature: tf.train.Feature, value: bytes) -> None:
    feature.bytes_list.value.append(value)


def _fill_floats(feature: tf.train.Feature, value: Any) -> None:
    # An empty list is a list, too: the kind of the feature must be there.
    feature.float_list.SetInParent()
    feature.float_list.value.extend(np.asarray(value, np.float32).ravel().tolist())


def _fill_integers(feature: tf.train.Feature, value: Any) -> None:
    feature.int64_list.SetInParent()
    feature.int64_list.value.extend([value] if isinstance(value, int) else np.asarray(value, np.int64).ravel().tolist())


# What writes a column, chosen once: comparing TensorFlow's dtypes for each value took as long as writing it.
_FILL = {
    key: {tf.string: _fill_bytes, tf.float32: _fill_floats}.get(column.stored, _fill_integers)
    for key, column in _COLUMNS.items()
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
    schema = {key: _fixed(column, several=key not in _SINGLE) for key, column in _COLUMNS.items()}
    parsed = tf.io.parse_single_example(serialized, schema)

    def rows(part: str) -> tuple[tf.Tensor, ...]:
        return tuple(tf.cast(parsed[f"{part}/{name}"], column.dtype) for name, column in _ROWS[part].items())

    objects = dict(zip(("boxes", "labels", "difficult", "truncated"), rows(OBJECTS), strict=True))
    return {
        "image": parsed[IMAGE],
        "filename": parsed[FILENAME],
        "id": parsed[ID],
        "size": _size(parsed),
        "shown": tf.cast(parsed[SHOWN], tf.int32),
        **objects,
        "targets": rows(TARGETS),
        "flipped_targets": rows(FLIPPED),
    }


def _fixed(column: _Column, *, several: bool = False) -> Any:
    if several:
        return tf.io.FixedLenSequenceFeature(column.shape, column.stored, allow_missing=True)
    return tf.io.FixedLenFeature(column.shape, column.stored)


class Rows(NamedTuple):
    """Rows of several records, one record's after the other's."""

    owners: tf.Tensor  # the record of each, rising, int32 ``[N]``
    labels: tf.Tensor  # int32 ``[N]``
    values: tf.Tensor  # what the rows hold: corner boxes, or offsets; float32 ``[N, 4]``
    indices: tf.Tensor | None = None  # of default boxes, int32 ``[N]``; None for objects


def parse_batch(serialized: tf.Tensor, *parts: str) -> dict[str, Any]:
    """What training needs of several serialized records, parsed together, which costs a fraction of `parse`.

    Args:
        serialized: strings ``[B]``.
        parts: which of `OBJECTS`, `TARGETS` and `FLIPPED` are wanted.

    Returns:
        ``image``, undecoded JPEGs ``[B]``; ``sizes``, heights and widths, int32 ``[B, 2]``; ``shown``, int32
        ``[B, 4]``; `Rows` by part.
    """
    of_targets = ("offsets", "label", "index")
    wanted = {OBJECTS: ("bbox", "label"), TARGETS: of_targets, FLIPPED: of_targets}
    keys = {part: [f"{part}/{name}" for name in wanted[part]] for part in parts}
    schema = {key: _fixed(_SINGLE[key]) for key in (IMAGE, HEIGHT, WIDTH, SHOWN)}
    schema |= {key: tf.io.RaggedFeature(_COLUMNS[key].stored) for own in keys.values() for key in own}
    parsed = tf.io.parse_example(serialized, schema)

    def rows(values: str, label: str, *index: str) -> Rows:
        return Rows(
            tf.cast(parsed[label].value_rowids(), tf.int32),
            tf.cast(parsed[label].values, tf.int32),
            tf.reshape(parsed[values].values, [-1, 4]),
            *(tf.cast(parsed[key].values, tf.int32) for key in index),
        )

    single = {"image": parsed[IMAGE], "sizes": _size(parsed), "shown": tf.cast(parsed[SHOWN], tf.int32)}
    return {**single, **{part: rows(*own) for part, own in keys.items()}}


def _size(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    return tf.cast(tf.stack([parsed[HEIGHT], parsed[WIDTH]], axis=-1), tf.int32)


def parse_record(serialized: bytes) -> Record:
    """The record that `Record.serialize` wrote, as arrays."""
    found = tf.nest.map_structure(lambda tensor: tensor.numpy(), parse(tf.constant(serialized)))
    height, width = found.pop("size").tolist()
    texts = {"filename": found.pop("filename").decode(), "picture_id": found.pop("id").decode()}
    lists = {name: found.pop(name).tolist() for name in ("labels", "difficult", "truncated", "shown")}
    return Record(height=height, width=width, **texts, **lists, **found)


def tfds_features(class_names: Sequence[str]) -> Any:
    """The TFDS features of a dataset with these class names, the background first."""
    import tensorflow_datasets as tfds  # seconds to import, and only the end of the Beam job needs it

    features = tfds.features
    options: dict[str, dict[str, Any]] = {
        "Image": {"shape": (None, None, 3), "encoding_format": "jpeg"},
        "ClassLabel": {"names": list(class_names)},
    }

    def feature(column: _Column) -> Any:
        if column.feature is None:
            return features.Tensor(shape=column.shape, dtype=column.dtype.as_numpy_dtype)
        return getattr(features, column.feature)(**options.get(column.feature, {}))

    def all_of(columns: dict[str, _Column]) -> dict[str, Any]:
        return {name: feature(column) for name, column in columns.items()}

    rows = {part: features.Sequence(all_of(columns)) for part, columns in _ROWS.items()}
    return features.FeaturesDict({**all_of(_SINGLE), **rows})
