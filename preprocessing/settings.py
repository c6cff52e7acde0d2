"""The settings of a preprocessing job: everything that decides what its records contain."""

from dataclasses import dataclass
from functools import cached_property

from ssd300.datasets.annotation import CONVENTIONS, Convention
from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources import Source, tree_names
from ssd300.model.spec import Spec, spec_named
from ssd300.preprocessing.picture import Verify


@dataclass(frozen=True)
class PreprocessSettings:
    """What to encode and how.

    Attributes:
        sources: image sets of VOC trees; several may feed one split.
        classes: the class list.
        preset: ``paper`` or ``article``: default boxes, matching and coder.
        convention: how VOC pixel coordinates become fractions, ``caffe`` or ``inclusive``.
        verify: how far pictures are checked, ``decode`` or ``header``.
        seed: of the shuffle that orders the records.
        shard_size: most pictures of a shard.
    """

    sources: tuple[Source, ...]
    classes: ClassList
    preset: str = "paper"
    convention: Convention = "caffe"
    verify: Verify = "decode"
    seed: int = 0
    shard_size: int = 512

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
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @cached_property
    def _tree_names(self) -> dict[str, str]:
        return tree_names(self.sources)

    def tree_name(self, source: Source) -> str:
        """A name of the source's tree that no other tree of the job has, wherever the trees lie: ``VOC2007``."""
        return self._tree_names[source.root]

    @property
    def spec(self) -> Spec:
        """The specification that the preset names."""
        return spec_named(self.preset)
