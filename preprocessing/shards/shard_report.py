"""What happened to the images of a shard, and the sum over shards: plain data that goes into JSON and back."""

import heapq
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import reduce
from itertools import zip_longest
from typing import Any

_WORST = 10


@dataclass(frozen=True)
class Reject:
    """An image that was kept out: the file at fault, the fault's name and what was expected and got."""

    picture: str
    path: str
    fault: str
    message: str


@dataclass(frozen=True, order=True)
class PoorlyReached:
    """An object that no default box reaches at the threshold, with the best IoU that one has with it."""

    iou: float
    picture: str
    name: str


@dataclass
class ShardReport:
    """The totals of a shard; added up, of a split or a job."""

    read: int = 0  # images that were looked at
    written: int = 0  # records in the file
    rejects: list[Reject] = field(default_factory=list)  # one per image that is not; the rest of `read`
    findings: Counter[str] = field(default_factory=Counter)  # number of faults, repaired or kept, by name
    objects: Counter[str] = field(default_factory=Counter)  # number of objects by class name
    difficult: int = 0  # how many of the objects are marked difficult
    negatives: int = 0  # images without an object
    matches: Counter[str] = field(default_factory=Counter)  # matched default boxes by feature map
    unmatched: int = 0  # objects that no default box matches
    unreached: int = 0  # objects that no default box reaches at the threshold's IoU
    worst: list[PoorlyReached] = field(default_factory=list)  # the worst of them, the worst first
    histograms: dict[str, Counter[str]] = field(default_factory=dict)  # of `object_statistics`, counts by bin
    bytes: int = 0  # size of the records
    copy_bytes: list[int] = field(default_factory=list)  # size of the records of each copy
    copy_objects: int = 0  # number of objects in all copies
    copy_matches: int = 0  # matched default boxes of all copies

    def add_worst(self, found: Iterable[PoorlyReached]) -> None:
        """Adds objects and keeps the worst ten."""
        self.worst = heapq.nsmallest(_WORST, [*self.worst, *found])

    def add_counts(self, histogram: str, counts: Counter[str]) -> None:
        """Adds counts to the histogram of this name."""
        self.histograms.setdefault(histogram, Counter()).update(counts)

    def __iadd__(self, other: "ShardReport") -> "ShardReport":
        # In place: a job may have a hundred thousand shards, and their rejects are not copied for each.
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            elif isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
        for name, counts in other.histograms.items():
            self.add_counts(name, counts)
        self.rejects += other.rejects
        self.add_worst(other.worst)
        self.copy_bytes = [sum(pair) for pair in zip_longest(self.copy_bytes, other.copy_bytes, fillvalue=0)]
        return self

    def to_json(self) -> dict[str, Any]:
        """As plain data, the same for the same report."""
        lists = {name: [asdict(one) for one in getattr(self, name)] for name in ("rejects", "worst")}
        return {**vars(self), **lists}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShardReport":
        """The report that `to_json` gave."""
        content = dict(content)
        content["rejects"] = [Reject(**reject) for reject in content["rejects"]]
        content["worst"] = [PoorlyReached(**one) for one in content["worst"]]
        content["histograms"] = {name: Counter(counts) for name, counts in content["histograms"].items()}
        content |= {name: Counter(content[name]) for name, empty in vars(cls()).items() if isinstance(empty, Counter)}
        return cls(**content)


def total(reports: Iterable[ShardReport]) -> ShardReport:
    """The sum of the reports."""
    return reduce(operator.iadd, reports, ShardReport())
