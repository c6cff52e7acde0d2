"""The settings of a preprocessing job: everything that decides what its records contain."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ssd300.datasets.annotation import Convention
from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.base import copy_split
from ssd300.datasets.sources.parse import Source, parse_source, tree_names
from ssd300.model.spec import PresetName, Spec, spec_named
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION, Augmentation
from ssd300.preprocessing.support.options import check_fields, option


@dataclass(frozen=True)
class PreprocessSettings:
    """What to encode and how."""

    sources: tuple[Source, ...] = option(
        help="what goes into a split; repeatable. SOURCE is an image set of a VOC tree or of a flat folder "
        "(VOCdevkit/VOC2007:trainval), all of a folder (my/images), or a TFDS dataset (tfds:voc/2012:train)",
        flag="source",
        metavar="SPLIT=SOURCE",
        parse=parse_source,
    )
    classes: ClassList = option()
    preset: PresetName = option("paper", "default boxes, matching and coder", group="encoding")
    coordinates: Convention = option(
        "caffe", "how pixel coordinates become fractions: caffe divides them as they are, inclusive subtracts 1 first"
    )
    verify: Literal["decode", "header"] = option("decode", "how far images are checked; those with copies are decoded")
    min_size: float = option(
        0.0, "leave out objects narrower or lower than this", at_least=0, below=math.inf, metavar="PIXELS"
    )
    drop_empty: bool = option(False, "leave out images without an object")
    strict: bool = option(False, "reject an image with a box of no area, instead of leaving out the box")
    seed: int = option(0, "seed of the order of the records, and of the augmented copies", at_least=0)
    shard_size: int = option(512, "maximum number of images per file", at_least=1, at_most=100_000)
    copies: int = option(
        0, "augmented copies of each image, expanded and cropped", group="copies", at_least=0, at_most=1000
    )
    copies_of: tuple[str, ...] = option(("train",), "split whose images are copied; repeatable", metavar="SPLIT")
    copy_augmentation: Augmentation = PAPER_AUGMENTATION

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.sources:
            raise InputError("a preprocessing job needs at least one source, got none")
        self._check_copies()

    def _check_copies(self) -> None:
        if self.copy_augmentation.without_geometry() != PAPER_AUGMENTATION.without_geometry():
            raise InputError(
                f"copies are expanded and cropped, nothing else can be changed; got {', '.join(self._copy_changes())}"
            )
        if not self.copies:
            if self.copy_augmentation != PAPER_AUGMENTATION or self.copies_of != ("train",):
                raise InputError("changes to augmented copies were given, but no number of copies")
            return
        splits = {source.split for source in self.sources}
        missing = set(self.copies_of) - splits
        if missing or not self.copies_of:
            raise InputError(
                f"copies are wanted of split {', '.join(sorted(missing)) or 'none'}, there are: "
                f"{', '.join(sorted(splits))}"
            )
        taken = {copy_split(split, n + 1) for split in self.copies_of for n in range(self.copies)} & splits
        if taken:
            raise InputError(f"split {', '.join(sorted(taken))} has the name of an augmented copy")

    def _copy_changes(self) -> list[str]:
        """What the copies' augmentation changes of the paper's."""
        ours, paper = vars(self.copy_augmentation), vars(PAPER_AUGMENTATION)
        return [f"{name}={value}" for name, value in ours.items() if value != paper[name]]

    def number_of_copies(self, split: str) -> int:
        """Number of augmented copies of each image of a split."""
        return self.copies if split in self.copies_of else 0

    @cached_property
    def _tree_names(self) -> dict[str, str]:
        return tree_names(self.sources)

    def tree_name(self, source: Source) -> str:
        """A name of the source's tree that no other tree of the job has, wherever the trees lie: ``VOC2007``."""
        return self._tree_names[source.root]

    @property
    def source_names(self) -> tuple[str, ...]:
        """What the sources are called in a dataset, wherever they lie: ``train=VOC2007:trainval``."""
        return tuple(f"{source.split}={self.tree_name(source)}:{source.content}" for source in self.sources)

    @property
    def spec(self) -> Spec:
        """The specification that the preset names."""
        return spec_named(self.preset)
