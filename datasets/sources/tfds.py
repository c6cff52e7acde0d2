"""A TFDS object-detection dataset as a source: any with images and boxes, preferably with class labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ssd300.datasets.annotation import LARGEST_COORDINATE, Annotation, VocObject
from ssd300.datasets.classes import BACKGROUND, canonical
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import exists, plain_message, real_path, resolve_path
from ssd300.datasets.sources.base import RawPicture, check_split_name

SCHEME = "tfds:"
_INFO = "dataset_info.json"  # of a prepared dataset

# Flags of an object by the names that datasets give them. A crowd (COCO) or a group (Open Images) becomes difficult,
# as in Caffe's reader of COCO: it trains, and evaluation counts it neither way.
_DIFFICULT = ("is_difficult", "is_crowd", "is_group_of")
_TRUNCATED = ("is_truncated",)
# Datasets whose boxes count from the bottom of the image, although they say that they do as TFDS does.
_UPSIDE_DOWN = ("kitti",)


@dataclass(frozen=True)
class _Keys:
    """Where a dataset's examples have what is needed."""

    image: str
    objects: str
    box: str
    label: str | None


@dataclass(frozen=True)
class TfdsSource:
    """A split, or a slice of one, of a TFDS dataset that is prepared already, destined for one split.

    Attributes:
        split: name of the split in the encoded dataset, letters, digits and underscores.
        name: of a dataset, such as ``voc/2012``, or the folder of a prepared one, which is made absolute.
        tfds_split: ``train`` or a slice such as ``train[:80%]``.
    """

    split: str
    name: str
    tfds_split: str

    # Its files give records one after the other: a shard takes neighbors.
    sequential = True

    def __post_init__(self) -> None:
        check_split_name(self.split)
        if not self.name or not self.tfds_split:
            raise InputError(
                f"expected the name of a TFDS dataset and its split, got {self.name!r}, {self.tfds_split!r}"
            )
        folder = resolve_path(self.name)  # a name such as voc/2012 could be one, too
        if "://" not in folder and Path(folder, _INFO).is_file():
            object.__setattr__(self, "name", folder)

    def __str__(self) -> str:
        return f"{self.split}={self.root}:{self.tfds_split}"

    @property
    def root(self) -> str:
        """What tells datasets apart."""
        return f"{SCHEME}{self.name}"

    @property
    def real_root(self) -> str:
        """The folder of its files, whatever name or link leads to it."""
        return real_path(str(self._builder.data_dir))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.split, self.name, self.tfds_split)  # without the builder

    @property
    def _is_folder(self) -> bool:
        return self.name.startswith("/") or "://" in self.name

    @property
    def path_parts(self) -> tuple[str, ...]:
        """The dataset's name, or the parts of its folder's path."""
        return PurePosixPath(self.name).parts if self._is_folder else ("tfds", self.name.replace("/", "-"))

    @property
    def content(self) -> str:
        """What of the dataset it takes."""
        return f"{self.tfds_split} of version {self._builder.info.version}"

    def ids(self) -> list[str]:
        """``SPLIT/NUMBER`` of each example.

        Raises:
            InputError: there is no such dataset or split, or it has no boxes.
        """
        _ = self._keys
        splits = self._builder.info.splits
        if not splits:  # known only from its code, as when TFDS mocks it
            count = int(self._read_range(self.tfds_split).cardinality())
            return [f"{self.tfds_split}/{number:08d}" for number in range(max(count, 0))]
        import tensorflow_datasets as tfds

        try:
            parts = tfds.core.ReadInstruction.from_spec(self.tfds_split).to_absolute(splits)
        except (ValueError, KeyError, AssertionError) as error:
            raise InputError(f"source {self}: {error}") from None
        ids = [
            f"{part.splitname}/{number:08d}"
            for part in parts
            for number in range(part.from_ or 0, splits[part.splitname].num_examples if part.to is None else part.to)
        ]
        if not ids:
            raise InputError(f"source {self}: the split has no images")
        return ids

    def read(self, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
        """The images of these ids in their order, or why one cannot be used; neighbors are read together."""
        parsed = [(split, int(number)) for split, number in (picture_id.rsplit("/", 1) for picture_id in ids)]
        breaks = [i for i, ((a, m), (b, n)) in enumerate(pairwise(parsed), start=1) if (a, m + 1) != (b, n)]
        for start, stop in pairwise([0, *breaks, len(parsed)]):
            split, first = parsed[start]
            yield from self._read_neighbors(split, first, ids[start:stop])

    def ignored(self) -> Counter[str]:
        """Nothing: all examples of the split are read."""
        return Counter()

    def class_names(self) -> Iterator[str | RejectedError]:
        """The names of all classes, whether they occur or not."""
        keys = self._keys
        if keys.label is None:
            yield keys.objects
        else:  # some datasets, ours among them, count the background as a class
            names = self._label_feature(keys).names
            yield from names[1:] if canonical(names[0]).strip("_") == BACKGROUND else names

    def _read_neighbors(self, split: str, first: int, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
        import tensorflow as tf

        examples = iter(self._read_range(f"{split}[{first}:{first + len(ids)}]"))
        for picture_id in ids:
            path = f"{self.root}/{picture_id}"
            try:
                example = next(examples)
            except StopIteration:
                yield RejectedError("missing_picture", path, "the dataset gives no such example")
                continue
            except tf.errors.OpError as error:  # a file is damaged, or cannot be read at the moment
                raise StorageError(path, plain_message(error)) from None
            try:
                yield self._raw_picture(example, path)
            except RejectedError as error:
                yield error

    def _read_range(self, split: str) -> Any:
        import tensorflow_datasets as tfds

        try:
            return self._builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders={self._keys.image: tfds.decode.SkipDecoding()},
                read_config=tfds.ReadConfig(interleave_cycle_length=1),  # in the order of the files
            )
        except (ValueError, AssertionError, KeyError) as error:
            raise InputError(f"source {self}: {error}") from None

    def _raw_picture(self, example: dict[str, Any], path: str) -> RawPicture:
        keys = self._keys
        objects = example[keys.objects]
        boxes = objects[keys.box].numpy()
        if self._builder.name in _UPSIDE_DOWN:
            boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        if not (abs(boxes) <= LARGEST_COORDINATE).all():
            raise RejectedError("bad_number", path, f"a box must be of numbers, got {boxes.tolist()}")
        names = [keys.objects] * len(boxes) if keys.label is None else self._names(objects[keys.label].numpy())
        difficult, truncated = (_flags(objects, flags, len(boxes)) for flags in (_DIFFICULT, _TRUNCATED))
        found = tuple(
            VocObject(name, xmin, ymin, xmax, ymax, difficult=hard, truncated=cut)
            for name, (ymin, xmin, ymax, xmax), hard, cut in zip(
                names, boxes.tolist(), difficult, truncated, strict=True
            )
        )
        name = example.get("image/filename")
        if name is not None:  # without folders: what else a dataset wrote there leads nowhere
            path = f"{path}/{PurePosixPath(name.numpy().decode('utf-8', 'replace')).name}"
        return RawPicture(Annotation(None, found, in_fractions=True), example[keys.image].numpy(), path, path)

    def _names(self, labels: Any) -> list[str]:
        names = self._label_feature(self._keys).names
        # A label that the dataset itself calls unknown (-1) has no name, and the class list none for it.
        return [names[label] if 0 <= label < len(names) else str(label) for label in labels]

    def _label_feature(self, keys: _Keys) -> Any:
        return self._builder.info.features[keys.objects].feature[keys.label]

    @cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        try:
            if self._is_folder and exists(f"{self.name}/{_INFO}"):
                return tfds.builder_from_directory(self.name)
            return tfds.builder(self.name)
        except (tfds.core.registered.DatasetNotFoundError, ValueError, AssertionError) as error:
            raise InputError(f"source {self}: there is no TFDS dataset {self.name}: {error}") from None

    @cached_property
    def _keys(self) -> _Keys:
        import tensorflow_datasets as tfds

        features = self._builder.info.features
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        for key, feature in features.items():
            inner = getattr(feature, "feature", None)
            if not isinstance(inner, tfds.features.FeaturesDict):
                continue
            boxes = [name for name, part in inner.items() if isinstance(part, tfds.features.BBoxFeature)]
            labels = [name for name, part in inner.items() if isinstance(part, tfds.features.ClassLabel)]
            if images and boxes:
                self._check_format(inner[boxes[0]].bbox_format)
                label = "label" if "label" in labels else next(iter(labels), None)
                return _Keys("image" if "image" in images else images[0], key, boxes[0], label)
        raise InputError(
            f"source {self}: expected a dataset with an image and a sequence of objects with boxes, "
            f"its features are {', '.join(features)}"
        )

    def _check_format(self, boxes: Any) -> None:
        """Checks how boxes are stored; datasets that were prepared before there was a choice do not say it."""
        stored = getattr(boxes, "value", boxes)
        if stored not in (None, "REL_YXYX"):
            raise InputError(f"source {self}: its boxes are stored as {stored}; only REL_YXYX, TFDS's own, can be read")


def _flags(objects: dict[str, Any], names: Sequence[str], count: int) -> list[bool]:
    present = [objects[name].numpy().astype(bool) for name in names if name in objects]
    return [any(flags) for flags in zip(*present, strict=True)] if present else [False] * count
