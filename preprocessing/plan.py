"""The plan of a job: which pictures go into which shard, in which order. It is fixed before any worker starts."""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssd300.datasets.classes import ClassList
from ssd300.datasets.record import DATASET_NAME, VERSION
from ssd300.datasets.sources import Source
from ssd300.preprocessing.settings import PreprocessSettings

# Enough shards to interleave and to share among a few workers, even for a small split.
_WANTED_SHARDS, _LEAST_PICTURES = 8, 16


@dataclass(frozen=True)
class Shard:
    """One file of records to be: the unit of work, of retry and of resume.

    Attributes:
        split: its split.
        index: its number in the split, from 0.
        count: number of shards of the split.
        pictures: ``(source, id)`` of its pictures in the order of the records; the source is an index into the
            settings' sources.
    """

    split: str
    index: int
    count: int
    pictures: tuple[tuple[int, str], ...]

    @property
    def name(self) -> str:
        """Name of its file, as TFDS expects it."""
        return f"{DATASET_NAME}-{self.split}.tfrecord-{self.index:05d}-of-{self.count:05d}"

    @property
    def key(self) -> str:
        """A short name for reports and progress."""
        return f"{self.split}-{self.index:05d}"


@dataclass(frozen=True)
class Plan:
    """All shards of a job and the settings that they are made with.

    Attributes:
        settings: the job's.
        shards: by split, then index.
        listed_twice: ids that image sets name again for the same split of the same tree; they are encoded once.
    """

    settings: PreprocessSettings
    shards: tuple[Shard, ...]
    listed_twice: int = 0

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in the order of the sources."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def of_split(self, split: str) -> Iterator[Shard]:
        """The shards of a split."""
        return (shard for shard in self.shards if shard.split == split)

    @property
    def pictures(self) -> int:
        """Number of pictures of all splits."""
        return sum(len(shard.pictures) for shard in self.shards)

    def to_json(self) -> str:
        """The plan as text, the same for the same plan."""
        made_by = {"record_version": VERSION, "code_version": importlib.metadata.version("ssd300")}
        return json.dumps({**made_by, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        given = content["settings"]
        given["sources"] = tuple(Source(**source) for source in given["sources"])
        given["classes"] = ClassList(tuple(given["classes"]["names"]))
        shards = tuple(
            Shard(**{**shard, "pictures": tuple((source, name) for source, name in shard["pictures"])})
            for shard in content["shards"]
        )
        return cls(PreprocessSettings(**given), shards, content["listed_twice"])

    def digest(self) -> str:
        """SHA-256 of the plan: two jobs with the same digest write the same records from the same files."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def make_plan(settings: PreprocessSettings) -> Plan:
    """Lists the pictures of all sources, shuffles each split by the seed and cuts it into shards of equal size.

    Raises:
        ValueError: a source cannot be listed.
    """
    splits: dict[str, dict[tuple[str, str], tuple[int, str]]] = {}
    listed = 0
    for number, source in enumerate(settings.sources):
        ids = source.ids()
        listed += len(ids)
        split_pictures = splits.setdefault(source.split, {})
        for picture_id in ids:
            split_pictures.setdefault((source.root, picture_id), (number, picture_id))
    shards: list[Shard] = []
    for split, unique in splits.items():
        pictures = list(unique.values())
        order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(pictures))
        wanted = min(_WANTED_SHARDS, len(pictures) // _LEAST_PICTURES)
        count = max(math.ceil(len(pictures) / settings.shard_size), wanted, 1)
        for index, part in enumerate(np.array_split(order, count)):
            shards.append(Shard(split, index, count, tuple(pictures[i] for i in part)))
    kept = sum(len(shard.pictures) for shard in shards)
    return Plan(settings, tuple(shards), listed - kept)
