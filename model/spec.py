"""Specifications: everything in which the released Caffe model (`PAPER`) and the reference article (`ARTICLE`) differ.

One frozen object names the default boxes, the matching, the coder, the network's variants and the suppression, so that
the data, the model and the evaluation cannot use different ones.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from typing import Literal

IMAGE_SIZE = 300  # pixels, both sides of the network's input


@dataclass(frozen=True)
class FeatureMap:
    """One detection stage: a square grid of cells, each with the same default box shapes.

    Attributes:
        name: the layer that the head sits on, for reports.
        cells: number of cells along a side.
        step: distance of neighboring cell centers, fraction of the image; the first center is at half of it.
        shapes: ``(w, h)`` of the boxes of a cell in their order, fractions of the image.
    """

    name: str
    cells: int
    step: float
    shapes: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.cells < 1 or self.step <= 0 or not self.shapes or min(min(shape) for shape in self.shapes) <= 0:
            raise ValueError(f"a feature map needs at least one cell, a positive step and positive shapes; got {self}")

    @property
    def boxes(self) -> int:
        """Number of default boxes of this stage."""
        return self.cells * self.cells * len(self.shapes)


@dataclass(frozen=True)
class SuppressionSpec:
    """How detections become final.

    Attributes:
        method: ``greedy`` non-maximum suppression, or the article's ``average`` of overlapping boxes.
        score_threshold: a detection of a class needs a higher score.
        candidates: highest-scoring detections of a class that take part.
        iou_threshold: ``greedy`` drops what overlaps a kept box by more; ``average`` joins what overlaps by at
            least it.
        keep: highest-scoring detections of an image, over all classes, that remain.
    """

    method: Literal["greedy", "average"] = "greedy"
    score_threshold: float = 0.01
    candidates: int = 400
    iou_threshold: float = 0.45
    keep: int = 200

    def __post_init__(self) -> None:
        if self.method not in ("greedy", "average"):
            raise ValueError(f"method must be 'greedy' or 'average', got {self.method!r}")
        if self.candidates < 1 or self.keep < 1:
            raise ValueError(f"candidates and keep must be at least 1, got {self.candidates} and {self.keep}")


@dataclass(frozen=True)
class Spec:
    """A complete specification of an SSD300.

    Attributes:
        name: what the identity of a dataset calls it.
        feature_maps: the six stages, finest first.
        matching: ``bipartite`` gives each object its best default box first, then all above the threshold;
            ``threshold`` is the second part only, and the earlier object wins.
        match_iou: an object matches default boxes of at least this IoU.
        variances: divisors of the offsets in the paper's log-space form; None stores plain differences.
        conv4_3_norm: normalization of the first stage, ``l2`` (learned scale) or ``batch``.
        pool5: whether a 3x3 pooling of stride 1 sits between conv5_3 and fc6.
        pixels: ``bgr_mean`` (RGB to BGR, minus VGG16's means) or ``unit`` (RGB / 255).
        suppression: how detections become final.
    """

    name: str
    feature_maps: tuple[FeatureMap, ...]
    matching: Literal["bipartite", "threshold"]
    variances: tuple[float, float, float, float] | None
    conv4_3_norm: Literal["l2", "batch"]
    pool5: bool
    pixels: Literal["bgr_mean", "unit"]
    match_iou: float = 0.5
    suppression: SuppressionSpec = field(default_factory=SuppressionSpec)

    def __post_init__(self) -> None:
        if len(self.feature_maps) != 6:
            raise ValueError(f"SSD300 has six feature maps, got {len(self.feature_maps)}")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou must be in (0, 1], got {self.match_iou}")
        if self.matching not in ("bipartite", "threshold"):
            raise ValueError(f"matching must be 'bipartite' or 'threshold', got {self.matching!r}")

    @property
    def boxes(self) -> int:
        """Number of default boxes of an image: 8732 in both presets."""
        return sum(feature_map.boxes for feature_map in self.feature_maps)


_STAGES = ("conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
_CELLS = (38, 19, 10, 5, 3, 1)
_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


def _paper_feature_maps() -> tuple[FeatureMap, ...]:
    # Caffe's PriorBox layers in models/VGGNet/VOC0712/SSD_300x300: pixels of 300.
    sizes = (30, 60, 111, 162, 213, 264, 315)
    steps = (8, 16, 32, 64, 100, 300)
    maps = []
    for name, cells, ratios, step, (small, large) in zip(_STAGES, _CELLS, _RATIOS, steps, pairwise(sizes), strict=True):
        shapes = [(small, small), (sqrt(small * large), sqrt(small * large))]
        for ratio in ratios:
            for r in (ratio, 1 / ratio):
                shapes.append((small * sqrt(r), small / sqrt(r)))
        fractions = tuple((w / IMAGE_SIZE, h / IMAGE_SIZE) for w, h in shapes)
        maps.append(FeatureMap(name, cells, step / IMAGE_SIZE, fractions))
    return tuple(maps)


def _article_feature_maps() -> tuple[FeatureMap, ...]:
    scales = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9)
    maps = []
    for name, cells, ratios, scale in zip(_STAGES, _CELLS, _RATIOS, scales, strict=True):
        shapes = [(scale / 2, scale / 2), (scale, scale)]
        for ratio in ratios:
            for r in (1 / ratio, ratio):
                shapes.append((scale / sqrt(r), scale * sqrt(r)))
        maps.append(FeatureMap(name, cells, 1 / cells, tuple(shapes)))
    return tuple(maps)


PAPER = Spec(
    name="paper",
    feature_maps=_paper_feature_maps(),
    matching="bipartite",
    variances=(0.1, 0.1, 0.2, 0.2),
    conv4_3_norm="l2",
    pool5=True,
    pixels="bgr_mean",
)

ARTICLE = Spec(
    name="article",
    feature_maps=_article_feature_maps(),
    matching="threshold",
    variances=None,
    conv4_3_norm="batch",
    pool5=False,
    pixels="unit",
    suppression=SuppressionSpec(method="average", iou_threshold=0.3),
)

SPECS = {spec.name: spec for spec in (PAPER, ARTICLE)}


def spec_named(name: str) -> Spec:
    """The preset of this name; ValueError names the ones there are."""
    if name not in SPECS:
        raise ValueError(f"preset must be one of {', '.join(SPECS)}; got {name!r}")
    return SPECS[name]
