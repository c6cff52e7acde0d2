"""Which files hold the records of a split, and its augmented copies."""

import json
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import tensorflow as tf

from ssd300.datasets.record import copy_split, shard_name
from ssd300.preprocessing.identity import read_identity


@dataclass(frozen=True)
class SplitFiles:
    """The shards of a split.

    Attributes:
        variants: paths of the shards in their order, of the pictures as they came and, behind them, of each of the
            augmented copies that are to be read. Record n of a shard shows the same picture in all variants.
        lengths: number of records of each shard.
        record_bytes: mean size of a record of the pictures as they came.
    """

    variants: tuple[tuple[str, ...], ...]
    lengths: tuple[int, ...]
    record_bytes: float

    @property
    def records(self) -> int:
        """Number of records of a variant: an epoch."""
        return sum(self.lengths)

    def read(self, number: int) -> list[tf.Tensor]:
        """All variants, serialized, of the record with this number."""
        shard, ends = 0, list(accumulate(self.lengths))
        while ends[shard] <= number:
            shard += 1
        within = number - (ends[shard] - self.lengths[shard])
        files = (tf.data.TFRecordDataset(paths[shard]) for paths in self.variants)
        return [next(iter(records.skip(within))) for records in files]


def split_sizes(dataset: str) -> dict[str, int]:
    """Number of records of each split, copies left out.

    Raises:
        IncompleteDatasetError: the folder is no finished dataset.
    """
    copies = _copies(dataset)
    hidden = {copy_split(split, number) for split, count in copies.items() for number in range(1, count + 1)}
    return {name: sum(_lengths(split)) for name, split in _splits(dataset).items() if name not in hidden}


def number_of_copies(dataset: str, split: str) -> int:
    """How many augmented copies of each picture of a split a dataset has."""
    return _copies(dataset).get(split, 0)


def split_files(dataset: str, split: str, *, copies: bool = False) -> SplitFiles:
    """The files of a split, with those of its augmented copies if wanted.

    Raises:
        IncompleteDatasetError: the folder is no finished dataset.
        ValueError: the dataset has no such split, or no copies of it; the message names what it has.
    """
    splits = _splits(dataset)
    if split not in splits:
        raise ValueError(f"{dataset} has no split {split!r}, it has: {', '.join(split_sizes(dataset))}")
    names = [split]
    if copies:
        count = number_of_copies(dataset, split)
        if not count:
            raise ValueError(
                f"{dataset} has no augmented copies of {split!r}; `ssd300 preprocess --copies K` makes them"
            )
        names += [copy_split(split, number) for number in range(1, count + 1)]
    lengths = _lengths(splits[split])
    return SplitFiles(
        tuple(_paths(dataset, name, len(lengths)) for name in names),
        lengths,
        int(splits[split]["numBytes"]) / max(sum(lengths), 1),
    )


def _paths(dataset: str, split: str, count: int) -> tuple[str, ...]:
    return tuple(f"{dataset}/{shard_name(split, index, count)}" for index in range(count))


def _lengths(split: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(length) for length in split["shardLengths"])


def _splits(dataset: str) -> dict[str, dict[str, Any]]:
    read_identity(dataset)
    with tf.io.gfile.GFile(f"{dataset}/dataset_info.json", "rb") as file:
        return {split["name"]: split for split in json.loads(file.read())["splits"]}


def _copies(dataset: str) -> dict[str, int]:
    return read_identity(dataset).copies
