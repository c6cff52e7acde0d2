"""What a source is: it lists the images of a split and gives each with its annotation, before anything is checked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ssd300.datasets.annotation import Annotation
from ssd300.datasets.errors import InputError
from ssd300.datasets.faults import RejectedError


@dataclass(frozen=True)
class RawPicture:
    """An image's bytes and its parsed annotation."""

    annotation: Annotation  # its objects
    data: bytes  # the file's content, not yet looked at
    path: str  # of the image, for messages and the record's file name
    annotation_path: str  # of the annotation, for messages


class Source(Protocol):
    """Where annotated images of one split come from; a frozen dataclass of plain values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def split(self) -> str:
        """Name of the split in the encoded dataset."""

    @property
    def sequential(self) -> bool:
        """Whether neighbors must be read together; if not, images are shuffled over the shards."""

    @property
    def root(self) -> str:
        """What tells trees, folders or datasets apart."""

    @property
    def real_root(self) -> str:
        """The same for the same tree, folder or dataset, however its path is written and whatever links lead to it."""

    @property
    def path_parts(self) -> tuple[str, ...]:
        """The parts of the root's path; the last of them make its name."""

    @property
    def content(self) -> str:
        """What is taken of the root: an image set, a slice."""

    def ids(self) -> list[str]:
        """The ids of all images in a stable order; InputError if they cannot be listed."""

    def ignored(self) -> Counter[str]:
        """Number of files that are passed over, by the names of `ssd300.datasets.faults.FAULTS`."""

    def read(self, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
        """The images of these ids in their order, or why one cannot be used."""

    def class_names(self) -> Iterator[str | RejectedError]:
        """The class names of all objects, as often as they occur, or why an annotation cannot be used."""


def check_split_name(split: str) -> None:
    """Checks that a split of an encoded dataset can have this name; InputError says what is expected."""
    if not split.isidentifier() or split == "all":  # TFDS's name for the sum of the splits
        raise InputError(f"a split's name consists of letters, digits and underscores and is not 'all', got {split!r}")


def copy_split(split: str, number: int) -> str:
    """Name of the split that holds an augmented copy, counted from 1, of every image of `split`."""
    return f"{split}_copy{number}"
