"""The settings of a preprocessing job: everything that decides what its records contain."""

import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property

from ssd300.datasets.annotation import CONVENTIONS, Convention
from ssd300.datasets.classes import ClassList
from ssd300.datasets.record import copy_split
from ssd300.datasets.sources.parse import Source, source_from, tree_names
from ssd300.model.spec import Spec, spec_named
from ssd300.preprocessing.augmentation.settings import PAPER, Augmentation
from ssd300.preprocessing.checking.picture import Verify


@dataclass(frozen=True)
class PreprocessSettings:
    """What to encode and how.

    Attributes:
        sources: where the pictures are; several may feed one split.
        classes: the class list.
        preset: ``paper`` or ``article``: default boxes, matching and coder.
        convention: how VOC pixel coordinates become fractions, ``caffe`` or ``inclusive``.
        verify: how far pictures are checked, ``decode`` or ``header``; pictures with copies are always decoded.
        min_size: objects whose width or height is less, in pixels of their picture, are left out.
        drop_empty: whether pictures without an object are left out.
        seed: of the shuffle that orders the records, and of the augmented copies.
        shard_size: most pictures of a shard.
        copies: augmented copies of each picture, expanded and cropped.
        copied_splits: splits whose pictures have them.
        augment: changes to the paper's expansion and crop, as `Augmentation.changed` takes them.
    """

    sources: tuple[Source, ...]
    classes: ClassList
    preset: str = "paper"
    convention: Convention = "caffe"
    verify: Verify = "decode"
    min_size: float = 0.0
    drop_empty: bool = False
    seed: int = 0
    shard_size: int = 512
    copies: int = 0
    copied_splits: tuple[str, ...] = ("train",)
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a preprocessing job needs at least one source, got none")
        spec_named(self.preset)
        if self.convention not in CONVENTIONS:
            raise ValueError(
                f"the coordinate convention must be one of {', '.join(CONVENTIONS)}; got {self.convention!r}"
            )
        if self.verify not in ("decode", "header"):
            raise ValueError(f"verify must be 'decode' or 'header', got {self.verify!r}")
        if not 1 <= self.shard_size <= 100_000:
            raise ValueError(f"shard_size must be between 1 and 100,000 pictures, got {self.shard_size}")
        if not 0 <= self.min_size < math.inf:
            raise ValueError(f"min_size is a number of pixels, 0 or more, got {self.min_size}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        self._check_copies()

    def _check_copies(self) -> None:
        if not 0 <= self.copies <= 1000:
            raise ValueError(f"copies must be between 0 and 1,000, got {self.copies}")
        geometry = self.copy_augmentation
        if geometry.without_geometry() != PAPER.without_geometry():
            raise ValueError(f"copies are expanded and cropped, nothing else can be changed; got {self.augment}")
        if not self.copies:
            if self.augment or self.copied_splits != ("train",):
                raise ValueError("changes to augmented copies were given, but no number of copies")
            return
        splits = {source.split for source in self.sources}
        missing = set(self.copied_splits) - splits
        if missing or not self.copied_splits:
            raise ValueError(
                f"copies are wanted of split {', '.join(sorted(missing)) or 'none'}, there are: "
                f"{', '.join(sorted(splits))}"
            )
        taken = {copy_split(split, n + 1) for split in self.copied_splits for n in range(self.copies)} & splits
        if taken:
            raise ValueError(f"split {', '.join(sorted(taken))} has the name of an augmented copy")

    @property
    def copy_augmentation(self) -> Augmentation:
        """The expansion and crop of the copies."""
        return PAPER.changed(self.augment)

    def copies_of(self, split: str) -> int:
        """Number of augmented copies of each picture of a split."""
        return self.copies if split in self.copied_splits else 0

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

    def to_json(self) -> str:
        """The settings as text, the same for the same settings."""
        plain = {**asdict(self), "sources": [asdict(source) for source in self.sources], "classes": self.classes.names}
        return json.dumps(plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "PreprocessSettings":
        """The settings that `to_json` wrote."""
        given = json.loads(text)
        given["sources"] = tuple(source_from(fields) for fields in given["sources"])
        given["classes"] = ClassList(tuple(given["classes"]))
        given |= {name: tuple(given[name]) for name in ("copied_splits", "augment")}
        return cls(**given)
