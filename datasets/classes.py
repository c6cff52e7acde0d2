"""Class lists: names in the order of their labels. Label 0 is the background; classes count from 1."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssd300.datasets.errors import InputError

BACKGROUND = "background"

# In the alphabetical order that the VOC challenges and the released models use.
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def canonical(name: str) -> str:
    """A class name normalized in case and whitespace: ``" Dining  Table"`` and ``"diningtable"`` are one."""
    return "".join(name.split()).lower()


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset.

    Attributes:
        names: class names without the background; the first has label 1.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("a class list needs at least one class, got none")
        seen: dict[str, str] = {}
        for name in self.names:
            key = canonical(name)
            if not key or key == BACKGROUND:
                raise InputError(f"class names must not be empty or {BACKGROUND!r}, got {name!r}")
            if key in seen:
                raise InputError(f"class names must differ, got {seen[key]!r} and {name!r}")
            seen[key] = name
        object.__setattr__(self, "_labels", {canonical(name): i for i, name in enumerate(self.names, start=1)})
        object.__setattr__(self, "_exact", frozenset(self.names))

    def label(self, name: str) -> int:
        """The label of a class name in any case and whitespace; KeyError if it is not in the list."""
        labels: dict[str, int] = self._labels  # type: ignore[attr-defined]
        return labels[canonical(name)]

    def name(self, label: int) -> str:
        """The class name of a label, from 1; IndexError for any other."""
        if label < 1:
            raise IndexError(f"labels of classes count from 1, got {label}")
        return self.names[label - 1]

    def is_exact(self, name: str) -> bool:
        """Whether `name` is spelled as in the list."""
        exact: frozenset[str] = self._exact  # type: ignore[attr-defined]
        return name in exact

    @property
    def with_background(self) -> tuple[str, ...]:
        """All names in the order of the labels, the background first."""
        return (BACKGROUND, *self.names)


VOC = ClassList(VOC_NAMES)


def read_class_file(path: str | Path) -> ClassList:
    """The class list in a text file: one name per line, in the order of the labels; ``#`` begins a comment line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"the class list {path} cannot be read: {error}"
        raise InputError(message) from None
    names = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    try:
        return ClassList(names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def from_names(names: Iterable[str]) -> ClassList:
    """All names that occur as a class list, sorted; of spellings that differ in case or spaces, the most frequent."""
    spellings: dict[str, dict[str, int]] = {}
    for name in names:
        counts = spellings.setdefault(canonical(name), {})
        counts[name.strip()] = counts.get(name.strip(), 0) + 1
    spellings.pop("", None)
    best = {key: min(counts, key=lambda name: (-counts[name], name)) for key, counts in spellings.items()}
    return ClassList(tuple(best[key] for key in sorted(best)))
