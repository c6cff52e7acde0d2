"""Sources: which pictures of which VOC trees make which split."""

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
        if not self.split.isidentifier():
            raise ValueError(
                f"--source: a split is named by letters, digits and underscores, got {self.split!r}; {_EXAMPLE}"
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
        """The ids of the image set in its order; a per-class file's flags (``000012 -1``) are cut off.

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
        ids = [_without_flag(line.strip()) for line in lines if line.strip()]
        if not ids:
            raise ValueError(f"--source {self}: {self.image_set_path} names no picture")
        return ids

    def annotation_path(self, picture_id: str) -> str:
        """Path of the XML of a picture."""
        return f"{self.root}/Annotations/{picture_id}.xml"

    def picture_paths(self, picture_id: str) -> list[str]:
        """Paths where the picture may be, likeliest first. The XML's own <filename> is never followed."""
        return [f"{self.root}/JPEGImages/{picture_id}{suffix}" for suffix in PICTURE_SUFFIXES]

    def name_of(self, picture_id: str) -> str:
        """A name of the picture that differs between the trees of one dataset, such as ``VOC2007/000012``."""
        return f"{PurePosixPath(self.root).name}/{picture_id}"


def _without_flag(line: str) -> str:
    head, _, flag = line.rpartition(" ")
    return head.strip() if flag in ("-1", "0", "1") and head.strip() else line
