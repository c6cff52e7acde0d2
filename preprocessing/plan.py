"""The plan of a job: which images go into which shard, in which order. It is fixed before any worker starts."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ssd300.datasets.encoded_dataset import shard_name
from ssd300.datasets.sources.base import copy_split
from ssd300.preprocessing.settings import PreprocessSettings

# Enough shards to interleave and to share among a few workers, even for a small split.
_WANTED_SHARDS, _MIN_PICTURES = 8, 16

PlannedPicture = tuple[int, str]  # index of its source in the settings, id


@dataclass(frozen=True)
class Shard:
    """One file of records to be: the unit of work, of retry and of resume."""

    split: str  # its split
    index: int  # its number in the split, from 0
    count: int  # number of shards of the split
    pictures: tuple[PlannedPicture, ...]  # its images in the order of the records

    @property
    def name(self) -> str:
        """Name of its file, as TFDS expects it."""
        return shard_name(self.split, self.index, self.count)

    def copy_name(self, number: int) -> str:
        """Name of the file of an augmented copy, counted from 1."""
        return shard_name(copy_split(self.split, number), self.index, self.count)

    @property
    def key(self) -> str:
        """A short name for reports and progress."""
        return f"{self.split}-{self.index:05d}"

    def to_json(self) -> str:
        """The shard as one line of text, the same for the same shard."""
        return json.dumps([self.split, self.index, self.count, self.pictures], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Shard":
        """The shard that `to_json` wrote."""
        split, index, count, pictures = json.loads(text)
        return cls(split, index, count, tuple((source, picture_id) for source, picture_id in pictures))


@dataclass(frozen=True)
class Plan:
    """All shards of a job and the settings that they are made with."""

    settings: PreprocessSettings  # the job's
    shards: tuple[Shard, ...]  # by split, then index
    findings: Mapping[str, Counter[str]] = field(default_factory=dict)  # faults of the lists by split

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in the order of the sources."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def of_split(self, split: str) -> Iterator[Shard]:
        """The shards of a split."""
        return (shard for shard in self.shards if shard.split == split)

    @property
    def pictures(self) -> int:
        """Number of images of all splits."""
        return sum(len(shard.pictures) for shard in self.shards)


def make_plan(settings: PreprocessSettings) -> Plan:
    """Lists the images of all sources, shuffles each split by the seed and cuts it into shards of bounded size.

    Sources that must be read in order give shards of neighbors, which are not shuffled.

    Raises:
        ValueError: a source cannot be listed.
    """
    shards: list[Shard] = []
    findings: dict[str, Counter[str]] = {}
    splits_of: dict[str, dict[str, tuple[str, ...]]] = {}  # by tree and id; most tuples are one and the same
    for split in dict.fromkeys(source.split for source in settings.sources):
        found = findings[split] = Counter()
        looked_through: set[str] = set()
        shuffled: list[PlannedPicture] = []
        in_order: list[list[PlannedPicture]] = []
        for number, source in enumerate(settings.sources):
            if source.split != split:
                continue
            ids = source.ids()
            if (ignored := source.ignored()) and source.real_root not in looked_through:
                looked_through.add(source.real_root)
                found.update(ignored)
            pictures = shuffled
            if source.sequential:
                in_order.append(pictures := [])
            seen, alone = splits_of.setdefault(source.real_root, {}), (split,)
            for picture_id in ids:
                splits = seen.get(picture_id)
                if splits is not None and split in splits:
                    found["listed_twice"] += 1
                    continue
                seen[picture_id] = alone if splits is None else (*splits, split)
                pictures.append((number, picture_id))
        order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(shuffled))
        parts = _cut([shuffled[i] for i in order], settings.shard_size)
        for pictures in in_order:
            parts += _cut(pictures, settings.shard_size)
        shards += [Shard(split, index, len(parts), part) for index, part in enumerate(parts)]
    for seen in splits_of.values():
        for splits in seen.values():
            if len(splits) > 1:
                for split in splits:
                    findings[split]["in_two_splits"] += 1
    return Plan(settings, tuple(shards), findings)


def _cut(pictures: list[PlannedPicture], shard_size: int) -> list[tuple[PlannedPicture, ...]]:
    """The images in parts of nearly equal size."""
    if not pictures:
        return []
    wanted = min(_WANTED_SHARDS, len(pictures) // _MIN_PICTURES)
    count = max(math.ceil(len(pictures) / shard_size), wanted, 1)
    ends = [len(pictures) * part // count for part in range(count + 1)]
    return [tuple(pictures[start:end]) for start, end in pairwise(ends)]
