"""What happened to the pictures of a shard, and the sum over shards: plain data that goes into JSON and back."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reject:
    """A picture that was kept out: the file at fault, the fault's name and what was expected and got."""

    picture: str
    path: str
    fault: str
    message: str


@dataclass
class ShardReport:
    """The account of a shard, or of a split when reports are added up.

    Attributes:
        read: pictures that were looked at.
        written: records in the file.
        rejects: one for each picture that is not; ``read == written + len(rejects)``.
        repaired: number of repairs by fault.
        objects: number of objects by class name.
        difficult: how many of the objects are marked difficult.
        negatives: pictures without an object.
        matches: matched default boxes by feature map.
        unmatched: objects that no default box matches.
        bytes: size of the records.
    """

    read: int = 0
    written: int = 0
    rejects: list[Reject] = field(default_factory=list)
    repaired: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    difficult: int = 0
    negatives: int = 0
    matches: Counter[str] = field(default_factory=Counter)
    unmatched: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data, the same for the same report."""
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        return {**plain, "rejects": [asdict(reject) for reject in self.rejects]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShardReport":
        """The report that `to_json` gave."""
        content = dict(content)
        content["rejects"] = [Reject(**reject) for reject in content["rejects"]]
        for name in ("repaired", "objects", "matches"):
            content[name] = Counter(content[name])
        return cls(**content)


def total(reports: Iterable[ShardReport]) -> ShardReport:
    """The sum of the reports."""
    result = ShardReport()
    for report in reports:
        for name in vars(result):
            setattr(result, name, getattr(result, name) + getattr(report, name))
    return result
