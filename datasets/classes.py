"""Class lists: names in the order of their labels. Label 0 is the background; classes count from 1."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import read_file, resolve_path

BACKGROUND = "background"

# In the alphabetical order that the VOC challenges and the released models use.
VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# COCO's 80 in the order of their ids, which the released models number from 1 without gaps.
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
# The ids, 1 to 90, that no class has.
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def fold(name: str) -> str:
    """A class name as it is used everywhere: in Unicode's composed form (NFC), each run of whitespace one space.

    XML formatters break lines within names; whoever lists names line by line would count two.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def canonical(name: str) -> str:
    """A class name without case and whitespace: that of ``"Dining  Table"`` and ``"diningtable"`` is the same."""
    return "".join(unicodedata.normalize("NFC", name).split()).lower()


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset.

    Attributes:
        names: class names without the background, folded; the first has label 1.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("a class list needs at least one class, got none")
        names = tuple(map(fold, self.names))
        seen: set[str] = set()
        for name in names:
            if not name:
                raise InputError("class names must not be empty")
            if name in seen:
                raise InputError(f"class names must differ, got {name!r} twice")
            seen.add(name)
        object.__setattr__(self, "names", names)
        labels = {name: i for i, name in enumerate(names, start=1)}
        counts = Counter(map(canonical, names))
        loose = {canonical(name): i for name, i in labels.items() if counts[canonical(name)] == 1}
        object.__setattr__(self, "_labels", labels)
        object.__setattr__(self, "_loose", loose)  # labels by names without case and whitespace, if these differ

    def label(self, name: str) -> int:
        """The label of a class name; KeyError if it is not in the list.

        Case and whitespace do not matter, except where two names of the list differ in nothing else.
        """
        label: int | None = self._labels.get(fold(name))  # type: ignore[attr-defined]
        return self._loose[canonical(name)] if label is None else label  # type: ignore[attr-defined]

    def name(self, label: int) -> str:
        """The class name of a label, from 1; IndexError for any other."""
        if label < 1:
            raise IndexError(f"labels of classes count from 1, got {label}")
        return self.names[label - 1]

    def is_exact(self, name: str) -> bool:
        """Whether `name` is spelled as in the list, but for whitespace at its ends and line breaks."""
        return fold(name) in self._labels  # type: ignore[attr-defined]

    @property
    def with_background(self) -> tuple[str, ...]:
        """All names in the order of the labels, the background first; no two are alike."""
        background = BACKGROUND
        while background in self.names:
            background = f"_{background}_"
        return (background, *self.names)


def _coco_by_id() -> tuple[str, ...]:
    names = iter(COCO_NAMES)
    return tuple(f"N/A {label}" if label in COCO_GAPS else next(names) for label in range(1, 91))


VOC = ClassList(VOC_NAMES)
COCO = ClassList(COCO_NAMES)
COCO91 = ClassList(_coco_by_id())  # torchvision's: the label is COCO's id
KNOWN_LISTS = {"voc": VOC, "coco": COCO, "coco91": COCO91}


def read_class_file(path: str | Path) -> ClassList:
    """The class list in a text file: one name per line, in the order of the labels; ``#`` begins a comment line.

    Raises:
        InputError: there is no such file, it is not UTF-8, or its names are no class list.
    """
    content = read_file(resolve_path(str(path)))
    if content is None:
        raise InputError(f"the class list {path} cannot be read: there is no such file")
    try:
        lines = content.decode("utf-8-sig").splitlines()  # Windows editors begin a file with a byte order mark
        return ClassList(tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")))
    except UnicodeDecodeError as error:
        raise InputError(f"the class list {path} is not UTF-8: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def from_names(names: Iterable[str]) -> ClassList:
    """All names that occur as a class list, sorted; of spellings that differ in whitespace alone, the most frequent."""
    spellings: dict[str, Counter[str]] = {}
    for name, count in Counter(map(fold, names)).items():
        spellings.setdefault(name.replace(" ", ""), Counter())[name] += count
    spellings.pop("", None)
    best = [min(counts, key=lambda name: (-counts[name], name)) for counts in spellings.values()]
    return ClassList(tuple(sorted(best, key=lambda name: (canonical(name), name))))


def alike(classes: ClassList) -> list[tuple[str, ...]]:
    """The classes whose names differ in case or whitespace alone, those that are alike together."""
    groups: dict[str, list[str]] = {}
    for name in classes.names:
        groups.setdefault(canonical(name), []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]
