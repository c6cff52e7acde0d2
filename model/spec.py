"""Specifications: everything in which trained SSD300s differ, as values.

One frozen object names the default boxes, the matching, the coder, the network's variants, its input and the
suppression, so that the data, the model and the evaluation cannot use different ones. Presets are the released Caffe
model's (`PAPER`, and `PAPER_COCO` with its box sizes for COCO), the reference article's (`ARTICLE`), and those of the
PyTorch ports, which clamp the default boxes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from math import log, sqrt
from typing import Any, Literal

# Losses of matched boxes; here, because settings name them and importing TensorFlow takes seconds.
LocalizationLoss = Literal["smooth-l1", "giou", "ciou"]
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
class PixelSpec:
    """What the network sees of an RGB image of 0 to 255.

    Attributes:
        channels: order of the channels, ``bgr`` or ``rgb``.
        mean: subtracted from each channel, in that order.
        scale: what the differences are divided by.
    """

    channels: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (104.0, 117.0, 123.0)
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.channels not in ("bgr", "rgb"):
            raise ValueError(f"channels must be 'bgr' or 'rgb', got {self.channels!r}")
        if len(self.mean) != 3 or not self.scale > 0:
            raise ValueError(f"pixels need three means and a scale above 0, got {self.mean} and {self.scale}")


# The integer means that the released SSD was trained with; VGG16 itself was trained with other ones.
SSD_PIXELS = PixelSpec("bgr", (104.0, 117.0, 123.0))
VGG16_PIXELS = PixelSpec("bgr", (103.939, 116.779, 123.68))
UNIT_PIXELS = PixelSpec("rgb", (0.0, 0.0, 0.0), 255.0)


@dataclass(frozen=True)
class SuppressionSpec:
    """How detections become final.

    Attributes:
        method: ``greedy`` non-maximum suppression, or the article's ``average`` of overlapping boxes.
        score_threshold: a detection of a class needs a higher score.
        candidates: highest-scoring detections of a class that take part; None for all above the threshold.
        iou_threshold: ``greedy`` drops what overlaps a kept box by more; ``average`` joins what overlaps by at
            least it.
        keep: highest-scoring detections of an image, over all classes, that remain.
        keep_per_class: the same for each class, before `keep`; None for no such limit.
        stage_candidates: highest-scoring pairs of default box and class of a feature map that take part; None for all.
        clip_first: whether boxes are cut at the borders of the image before they are compared, not only at the end.
        drop_empty: whether boxes of which nothing is inside the image are dropped.
    """

    method: Literal["greedy", "average"] = "greedy"
    score_threshold: float = 0.01
    candidates: int | None = 400
    iou_threshold: float = 0.45
    keep: int = 200
    keep_per_class: int | None = None
    stage_candidates: int | None = None
    clip_first: bool = False
    drop_empty: bool = False

    def __post_init__(self) -> None:
        if self.method not in ("greedy", "average"):
            raise ValueError(f"method must be 'greedy' or 'average', got {self.method!r}")
        limits = (self.candidates, self.keep, self.keep_per_class, self.stage_candidates)
        if any(limit is not None and limit < 1 for limit in limits):
            raise ValueError(f"candidates and keep must be at least 1, got {self.candidates} and {self.keep}")
        if self.method == "average" and self.candidates is None:
            raise ValueError("the averaging suppression needs a limit of candidates")


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
        pixels: what the network sees of an image.
        clamp: what is cut to [0, 1] of a default box in center form: ``none``, its ``size``, or ``center`` and size.
        log_size_limits: smallest and largest logarithm of a decoded side relative to its default box's; None for no
            limit.
        suppression: how detections become final.
    """

    name: str
    feature_maps: tuple[FeatureMap, ...]
    matching: Literal["bipartite", "threshold"]
    variances: tuple[float, float, float, float] | None
    conv4_3_norm: Literal["l2", "batch"]
    pool5: bool
    pixels: PixelSpec
    match_iou: float = 0.5
    clamp: Literal["none", "size", "center"] = "none"
    log_size_limits: tuple[float | None, float | None] = (None, None)
    suppression: SuppressionSpec = field(default_factory=SuppressionSpec)

    def __post_init__(self) -> None:
        if len(self.feature_maps) != 6:
            raise ValueError(f"SSD300 has six feature maps, got {len(self.feature_maps)}")
        if not 0 < self.match_iou <= 1:
            raise ValueError(f"match_iou must be in (0, 1], got {self.match_iou}")
        if self.matching not in ("bipartite", "threshold"):
            raise ValueError(f"matching must be 'bipartite' or 'threshold', got {self.matching!r}")
        if self.clamp not in ("none", "size", "center"):
            raise ValueError(f"clamp must be 'none', 'size' or 'center', got {self.clamp!r}")

    @property
    def boxes(self) -> int:
        """Number of default boxes of an image: 8732 in all presets."""
        return sum(feature_map.boxes for feature_map in self.feature_maps)

    def to_plain(self) -> dict[str, Any]:
        """Plain values that JSON can hold; the feature maps are those of the preset that `name` names."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name != "feature_maps"}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Spec":
        """The specification that `to_plain` gave; ValueError if these values are none."""
        try:
            given = {name: _tuples(value) for name, value in values.items()}
            given["pixels"] = PixelSpec(**given["pixels"])
            given["suppression"] = SuppressionSpec(**given["suppression"])
            return cls(feature_maps=spec_named(given["name"]).feature_maps, **given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected the values of a specification, got {values!r}: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, PixelSpec | SuppressionSpec):
        return {name: _plain(entry) for name, entry in asdict(value).items()}
    return list(value) if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(value) if isinstance(value, list | tuple) else value


_STAGES = ("conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
_CELLS = (38, 19, 10, 5, 3, 1)
_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))


# Sides of the boxes of each stage and of the one after it, pixels of 300: Caffe's ssd_pascal.py and ssd_coco.py.
_VOC_SIZES = (30, 60, 111, 162, 213, 264, 315)
_COCO_SIZES = (21, 45, 99, 153, 207, 261, 315)


def _caffe_feature_maps(sizes: tuple[int, ...]) -> tuple[FeatureMap, ...]:
    # Caffe's PriorBox layers in models/VGGNet/VOC0712/SSD_300x300: pixels of 300.
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
    feature_maps=_caffe_feature_maps(_VOC_SIZES),
    matching="bipartite",
    variances=(0.1, 0.1, 0.2, 0.2),
    conv4_3_norm="l2",
    pool5=True,
    pixels=SSD_PIXELS,
)
PAPER_COCO = replace(PAPER, name="paper-coco", feature_maps=_caffe_feature_maps(_COCO_SIZES))

# The PyTorch ports cut default boxes: ssd.pytorch and lufficc/SSD center and size, torchvision the size alone.
CLAMPED = replace(PAPER, name="clamped", clamp="center")
CLAMPED_COCO = replace(PAPER_COCO, name="clamped-coco", clamp="center")
TORCHVISION = replace(
    PAPER_COCO,
    name="torchvision",
    clamp="size",
    # Its means are fractions of 1, rounded to five digits.
    pixels=PixelSpec("rgb", (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)),
    log_size_limits=(None, log(1000 / 16)),
    suppression=SuppressionSpec(clip_first=True),
)

ARTICLE = Spec(
    name="article",
    feature_maps=_article_feature_maps(),
    matching="threshold",
    variances=None,
    conv4_3_norm="batch",
    pool5=False,
    pixels=UNIT_PIXELS,
    suppression=SuppressionSpec(method="average", iou_threshold=0.3),
)

PresetName = Literal["paper", "paper-coco", "clamped", "clamped-coco", "torchvision", "article"]
SPECS = {spec.name: spec for spec in (PAPER, PAPER_COCO, CLAMPED, CLAMPED_COCO, TORCHVISION, ARTICLE)}


def spec_named(name: str) -> Spec:
    """The preset of this name; ValueError names the ones there are."""
    if name not in SPECS:
        raise ValueError(f"preset must be one of {', '.join(SPECS)}; got {name!r}")
    return SPECS[name]


def earlier_spec(name: str) -> Spec:
    """The preset as models have it that were saved when a preset's name was all they stored of a specification.

    The preset ``paper`` subtracted VGG16's own means then.
    """
    return replace(PAPER, pixels=VGG16_PIXELS) if name == "paper" else spec_named(name)
