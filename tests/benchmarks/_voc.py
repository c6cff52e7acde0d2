"""The VOC trees that the benchmarks read: real images, or drawn shapes for a quick run."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssd300.datasets.classes import VOC_NAMES, read_class_file
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.settings import PreprocessSettings

_VARIABLE = "SSD300_REAL_DATA"


@dataclass(frozen=True)
class VocTree:
    """A VOC tree with an image set ``train``, and in ``classes.txt`` its classes."""

    root: Path

    @property
    def classes(self) -> Path:
        """Its class file."""
        return self.root / "classes.txt"

    def ids(self) -> list[str]:
        """Names of its images."""
        return (self.root / "ImageSets/Main/train.txt").read_text().split()

    def encode(self, output: Path, *, sources: tuple[FolderSource, ...] = (), **settings: Any) -> str:
        """Encodes it, or these `sources` of it; returns the folder of the dataset."""
        sources = sources or (FolderSource("train", str(self.root), "train"),)
        preprocess(PreprocessSettings(sources, read_class_file(self.classes), **settings), str(output))
        return str(output)


def real_data(folder: str) -> Path:
    """A folder of the real data that SSD300_REAL_DATA names; ends the benchmark with a message if it is not set."""
    root = os.environ.get(_VARIABLE)
    if not root:
        print(f"skipped: set {_VARIABLE} to the folder that holds {folder}/, or use --quick")
        sys.exit(0)
    return Path(root) / folder


def make_tree(root: Path, images: int, *, quick: bool, real: str = "voc07_train") -> VocTree:
    """Makes a tree of links to real images, repeated if there are fewer; of drawn ones for a quick run.

    Args:
        root: folder of the tree, new.
        images: their number.
        quick: whether to draw the images.
        real: a folder of the real data.
    """
    tree = VocTree(root)
    if quick:
        write_shapes_tree(root, {"train": images})
    else:
        _link(real_data(real) / "VOCdevkit/VOC2007", tree, images)
    tree.classes.write_text("".join(f"{name}\n" for name in (CLASSES if quick else VOC_NAMES)))
    print(f"data: {images:,} {'drawn images' if quick else f'images of {real}'}", flush=True)
    return tree


def _link(original: Path, tree: VocTree, images: int) -> None:
    ids = (original / "ImageSets/Main/trainval.txt").read_text().split()
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tree.root / folder).mkdir(parents=True)
    names = []
    for number in range(images):
        repetition, index = divmod(number, len(ids))
        names.append(f"{repetition}_{ids[index]}" if repetition else ids[index])
        for file in ("JPEGImages/{}.jpg", "Annotations/{}.xml"):
            (tree.root / file.format(names[-1])).symlink_to((original / file.format(ids[index])).resolve())
    (tree.root / "ImageSets/Main/train.txt").write_text("".join(f"{name}\n" for name in names))
