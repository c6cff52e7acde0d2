"""An encoded dataset on disk: its files, what it was made with, and its splits. Nothing else knows the files' names."""

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import exists, file_size, read_json
from ssd300.datasets.record_files import FOOTER, HEADER, count_records
from ssd300.datasets.sources.base import copy_split

DATASET_NAME = "ssd300"
IDENTITY = "identity.json"
REPORT, REPORT_PAGE, REJECTED = "report.json", "report.html", "rejected.jsonl"
# Written last: a folder without it is not a dataset, whatever else is in it.
COMPLETED = "COMPLETED"
_TFDS_INFO = "dataset_info.json"


def shard_name(split: str, index: int, count: int) -> str:
    """Name of a split's file, as TFDS expects it."""
    return f"{DATASET_NAME}-{split}.tfrecord-{index:05d}-of-{count:05d}"


class IncompleteDatasetError(InputError):
    """A folder is not an encoded dataset, or its job has not finished."""


class IdentityMismatchError(InputError):
    """A dataset was encoded for another model, or its identity was edited."""


@dataclass(frozen=True)
class Identity:
    """What a dataset was made with; plain values by name."""

    fields: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> "Identity":
        """The identity that `to_json` wrote.

        Raises:
            IncompleteDatasetError: the file cannot be read.
            IdentityMismatchError: it was edited or is damaged: its fingerprint does not match.
        """
        fields = _read(path)
        stored = fields.pop("fingerprint", None)
        identity = cls(fields)
        if identity.fingerprint != stored:
            raise IdentityMismatchError(
                f"{path} was edited or is damaged: its fingerprint is {stored}, its fields give {identity.fingerprint}"
            )
        return identity

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the fields."""
        return hashlib.sha256(json.dumps(self.fields, sort_keys=True).encode()).hexdigest()

    @property
    def classes(self) -> ClassList:
        """The class list."""
        return ClassList(tuple(self.fields["classes"]))

    @property
    def preset(self) -> Any:
        """Name of the preset."""
        return self.fields["preset"]

    @property
    def copies(self) -> dict[str, int]:
        """How many augmented copies each image has, by split; splits without any are left out."""
        return self.fields["copies"]

    def to_json(self) -> str:
        """As text, for ``identity.json``."""
        return json.dumps({"fingerprint": self.fingerprint, **self.fields}, indent=2)

    def check(self, encoding: Mapping[str, Any], *, num_classes: int) -> None:
        """Checks that a model can train on the dataset.

        Args:
            encoding: what the model expects, as `ssd300.model.default_boxes.encoding_fields` gives it.
            num_classes: of the model, background included.

        Raises:
            IdentityMismatchError: it names every field that differs, with both values.
        """
        expected = {**encoding, "number of classes": num_classes}
        got = {**self.fields, "number of classes": len(self.fields["classes"]) + 1}
        differing = [name for name in expected if expected[name] != got.get(name)]
        if differing:
            lines = [
                f"  {name}: the model expects {expected[name]!r}, the dataset has {got.get(name)!r}"
                for name in differing
            ]
            raise IdentityMismatchError("\n".join(["the dataset was encoded for another model:", *lines]))


@dataclass(frozen=True)
class SplitFiles:
    """The shards of a split.

    Attributes:
        variants: paths of the shards in their order, of the original images first, then of each of the augmented
            copies that are to be read. Record n of a shard shows the same image in all variants.
        lengths: number of records of each shard that belong to the split.
        record_bytes: mean size of a record of the original images.
        first: number within each shard of its first record that belongs to the split, 0 but for a part of a split.
    """

    variants: tuple[tuple[str, ...], ...]
    lengths: tuple[int, ...]
    record_bytes: float
    first: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.first:
            object.__setattr__(self, "first", (0,) * len(self.lengths))

    @property
    def records(self) -> int:
        """Number of records of a variant: an epoch."""
        return sum(self.lengths)

    def read(self, number: int) -> list[Any]:
        """All variants, scalar string tensors, of the serialized record with this number."""
        import tensorflow as tf

        shard, ends = 0, list(accumulate(self.lengths))
        while ends[shard] <= number:
            shard += 1
        within = self.first[shard] + number - (ends[shard] - self.lengths[shard])
        files = (tf.data.TFRecordDataset(paths[shard]) for paths in self.variants)
        return [next(iter(records.skip(within))) for records in files]


@dataclass(frozen=True)
class EncodedDataset:
    """A finished dataset; `open` reads its identity and the table of its splits, once.

    Attributes:
        folder: its folder, any path that ``tf.io.gfile`` knows.
        identity: what it was made with.
    """

    folder: str
    identity: Identity
    _splits: Mapping[str, Mapping[str, Any]]

    @classmethod
    def open(cls, folder: str) -> "EncodedDataset":
        """The dataset in a folder.

        Raises:
            IncompleteDatasetError: the folder is not a finished dataset.
            IdentityMismatchError: ``identity.json`` was edited or is damaged: its fingerprint does not match.
        """
        folder = folder.rstrip("/") or folder
        if not exists(f"{folder}/{COMPLETED}"):
            raise IncompleteDatasetError(
                f"{folder} is not a finished dataset: it has no file {COMPLETED}; run its preprocessing job to the end"
            )
        identity, info = Identity.read(f"{folder}/{IDENTITY}"), f"{folder}/{_TFDS_INFO}"
        try:
            splits = {split["name"]: split for split in _read(info)["splits"]}
            _ = [(_lengths(split), int(split["numBytes"])) for split in splits.values()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise IncompleteDatasetError(f"{info} is damaged: it does not list the splits") from None
        return cls(folder, identity, splits)

    @cached_property
    def report(self) -> dict[str, Any]:
        """``report.json``: what happened to the images, by split and in total."""
        return _read(f"{self.folder}/{REPORT}")

    @property
    def splits(self) -> dict[str, int]:
        """Number of records of each split, without the augmented copies."""
        copies = self.identity.copies.items()
        hidden = {copy_split(split, number) for split, count in copies for number in range(1, count + 1)}
        return {name: sum(_lengths(split)) for name, split in self._splits.items() if name not in hidden}

    def files(self, split: str, *, copies: bool = False) -> SplitFiles:
        """The files of a split, with those of its augmented copies if wanted.

        A part of a split is named as TFDS does, ``train[:80%]`` or ``train[80%:]``: of each shard the records between
        these shares of its length. The job has put the images of folders in random order, so a part is a random
        sample; those of a TFDS source keep its order.

        Raises:
            InputError: the dataset has no such split, or no copies of it; the message names what it has. Or the part
                of the split has no record.
            IncompleteDatasetError: a file is missing or damaged; it is named.
        """
        whole, begin, end = _part(split)
        split = whole if whole in self._splits else split
        if split not in self._splits:
            raise InputError(f"{self.folder}/{_TFDS_INFO} has no split {split!r}, it has: {', '.join(self.splits)}")
        names = [split]
        if copies:
            count = self.identity.copies.get(split, 0)
            if not count:
                raise InputError(f"{self.folder} has no augmented copies of {split!r}; a job with copies makes them")
            names += [copy_split(split, number) for number in range(1, count + 1)]
        lengths = _lengths(self._splits[split])
        variants = tuple(self._shards(name) for name in names)
        record_bytes = int(self._splits[split]["numBytes"]) / max(sum(lengths), 1)
        first = tuple(round(length * begin / 100) for length in lengths)
        used = tuple(round(length * end / 100) - skip for length, skip in zip(lengths, first, strict=True))
        if sum(lengths) and not sum(used):
            raise InputError(f"{self.folder}: {begin}% to {end}% of {split!r}, {sum(lengths):,} images, are none")
        return SplitFiles(variants, used, record_bytes, first)

    def _shards(self, name: str) -> tuple[str, ...]:
        """Paths of the files of a split, all of which are there and whole as far as their sizes tell."""
        lengths = _lengths(self._splits[name])
        paths = tuple(f"{self.folder}/{shard_name(name, n, len(lengths))}" for n in range(len(lengths)))
        expected = int(self._splits[name]["numBytes"]) + sum(lengths) * (HEADER + FOOTER)
        with ThreadPoolExecutor(16) as pool:  # elsewhere each size is a request
            sizes = list(pool.map(file_size, paths))
        if None in sizes:
            raise IncompleteDatasetError(f"{paths[sizes.index(None)]} is missing")
        if sum(size or 0 for size in sizes) != expected:
            raise IncompleteDatasetError(self._what_differs(name, paths, lengths))
        return paths

    def _what_differs(self, name: str, paths: tuple[str, ...], lengths: tuple[int, ...]) -> str:
        info = f"{self.folder}/{_TFDS_INFO}"
        for path, length in zip(paths, lengths, strict=True):
            if "://" in path:
                continue
            try:
                count = count_records(path)
            except ValueError as error:
                return f"{error}; the file is damaged"
            if count != length:
                return f"{path} has {count} records, {info} says {length}: one of them is damaged"
        return f"the files of split {name} are not as long as {info} says: one of them is damaged"


def _read(path: str) -> dict[str, Any]:
    try:
        content = read_json(path)
    except InputError as error:
        raise IncompleteDatasetError(str(error)) from None
    if not isinstance(content, dict):
        raise IncompleteDatasetError(f"{path} is damaged: it is not a JSON object")
    return content


_PART = re.compile(r"(.+)\[(?:(\d{1,3})%)?:(?:(\d{1,3})%)?\]")


def whole_split(split: str) -> str:
    """Name of the split that this is, or is a part of: ``train`` of ``train[:80%]``."""
    return _part(split)[0]


def _part(split: str) -> tuple[str, int, int]:
    """Name of a split, and the percentages at which the part of it begins and ends."""
    match = _PART.fullmatch(split)
    if match is None:
        return split, 0, 100
    begin, end = int(match[2] or 0), int(match[3] or 100)
    if not begin < end <= 100:
        raise InputError(f"expected a part of a split such as train[:80%] or train[80%:], got {split!r}")
    return match[1], begin, end


def _lengths(split: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(length) for length in split["shardLengths"])
