"""Sources: which pictures of which VOC trees make which split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import tensorflow as tf

_EXAMPLE = "expected SPLIT=TREE:IMAGE_SET, for example train=VOCdevkit/VOC2007:trainval"

# A picture is looked for under these endings, in this order.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")


@dataclass(frozen=True)
class Source:
    """One image set of one VOC tree, destined for one split.

    Attributes:
        split: name of the split in the encoded dataset, letters, digits and underscores.
        root: the tree, with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.
        image_set: an image set of that tree, such as ``trainval``.
    """

    split: str
    root: str
    image_set: str

    def __post_init__(self) -> None:
        if not self.split.isidentifier() or self.split == "all":  # TFDS's name for the sum of the splits
            raise ValueError(
                "--source: a split is named by letters, digits and underscores, and not 'all', "
                f"got {self.split!r}; {_EXAMPLE}"
            )
        if not self.root or not self.image_set or PurePosixPath(self.image_set).name != self.image_set:
            raise ValueError(f"--source: got tree {self.root!r} and image set {self.image_set!r}; {_EXAMPLE}")

    @classmethod
    def parse(cls, text: str) -> "Source":
        """The source that a ``--source`` argument ``SPLIT=TREE:IMAGE_SET`` names."""
        split, equals, rest = text.partition("=")
        root, colon, image_set = rest.rpartition(":")
        if not equals or not colon:
            raise ValueError(f"--source {text}: {_EXAMPLE}")
        return cls(split, root.rstrip("/") or root, image_set)

    def __str__(self) -> str:
        return f"{self.split}={self.root}:{self.image_set}"

    @property
    def image_set_path(self) -> str:
        """Path of the text file that lists the ids."""
        return f"{self.root}/ImageSets/Main/{self.image_set}.txt"

    def ids(self) -> list[str]:
        """The ids of the image set in its order; the flags of a per-class file (``000012 -1``) are cut off.

        Raises:
            ValueError: the tree or the image set does not exist or cannot be read, or names no picture.
        """
        if not tf.io.gfile.isdir(self.root):
            raise ValueError(f"--source {self}: {self.root} is not a folder; {_EXAMPLE}")
        try:
            with tf.io.gfile.GFile(self.image_set_path, "rb") as file:
                lines = file.read().decode("utf-8-sig").splitlines()
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise ValueError(f"--source {self}: cannot read {self.image_set_path}: {error}") from None
        ids = _without_flags([line.strip() for line in lines if line.strip()])
        if not ids:
            raise ValueError(f"--source {self}: {self.image_set_path} names no picture")
        return ids

    def annotation_path(self, picture_id: str) -> str:
        """Path of the XML of a picture."""
        return f"{self.root}/Annotations/{picture_id}.xml"

    def picture_paths(self, picture_id: str) -> list[str]:
        """Paths where the picture may be, likeliest first. The XML's own <filename> is never followed."""
        return [f"{self.root}/JPEGImages/{picture_id}{suffix}" for suffix in PICTURE_SUFFIXES]


def _without_flags(lines: list[str]) -> list[str]:
    """Ids of a per-class file without their flags. It is one if every line has a flag: an id may end in " 1", too."""
    parts = [line.rsplit(None, 1) for line in lines]
    if all(len(part) == 2 and part[1] in ("-1", "0", "1") for part in parts):
        return [part[0] for part in parts]
    return lines


def tree_names(sources: Sequence[Source]) -> dict[str, str]:
    """Names of the trees by their roots: as much of the end of each path as it takes to tell them apart."""
    paths = {source.root: PurePosixPath(source.root).parts for source in sources}
    for length in range(1, max(map(len, paths.values())) + 1):
        names = {root: "/".join(parts[-length:]).strip("/") for root, parts in paths.items()}
        if len(set(names.values())) == len(names):
            break
    return names
