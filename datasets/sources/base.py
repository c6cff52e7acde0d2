"""What a source gives for one picture, before anything is checked."""

from dataclasses import dataclass

from ssd300.datasets.annotation import Annotation


@dataclass(frozen=True)
class RawPicture:
    """A picture's bytes and its parsed annotation.

    Attributes:
        annotation: its objects.
        data: the file's content, not yet looked at.
        path: of the picture, for messages and the record's file name.
        annotation_path: of the annotation, for messages.
    """

    annotation: Annotation
    data: bytes
    path: str
    annotation_path: str


def check_split_name(split: str) -> None:
    """Checks that a split of an encoded dataset can have this name; ValueError says what is expected."""
    if not split.isidentifier() or split == "all":  # TFDS's name for the sum of the splits
        raise ValueError(f"a split is named by letters, digits and underscores, and not 'all', got {split!r}")
