"""How seven projects lay out a trained SSD300-VGG16, read from their sources: names, axes, orders, specification.

A layout names the file's tensor for each of our layers. Nothing is matched by a name that merely looks alike: Caffe's
conv8_2 is our conv10_2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from typing import Literal

from ssd300.model.spec import (
    CLAMPED,
    CLAMPED_COCO,
    PAPER,
    PAPER_COCO,
    TORCHVISION,
    PixelSpec,
    Spec,
    SuppressionSpec,
)

VGG_LAYERS = tuple(f"conv{block}_{i}" for block, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1))
EXTRA_LAYERS = tuple(f"conv{stage}_{i}" for stage in (8, 9, 10, 11) for i in (1, 2))
STAGES = ("conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
_VGG_INDEX = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torch's list of VGG16's layers
_RGB = PixelSpec("rgb", (123.0, 117.0, 104.0))


@dataclass(frozen=True)
class Layout:
    """A project's layout.

    Attributes:
        name: of the project.
        container: kind of file, the beginning of `StoredTensors.container`.
        layers: the file's name for each of our layers, ``conv4_3_norm`` and heads such as ``conv4_3_logits`` included,
            without the ends of `kernel`, `bias` and `scale`.
        kernel: end of the name of a convolution's kernel.
        bias: the same for its bias.
        scale: the same for the scale of conv4_3_norm.
        axes: order of a kernel's axes.
        offsets: order of a box's offsets, ``xy`` for (dx, dy, dw, dh).
        background: place of the background among the classes.
        voc: specification of a file with VOC's classes or some of one's own.
        coco: the same with COCO's classes.
        classes: numbers of classes, the background counted, and the name of the class list of each.
        differences: what the original does otherwise, and by how much it matters.
        seventh: what only a file of SSD512 has, as its heads sit on seven feature maps.
    """

    name: str
    container: str
    layers: Mapping[str, str]
    kernel: str = ".weight"
    bias: str = ".bias"
    scale: str = ".weight"
    axes: Literal["oihw", "hwio"] = "oihw"
    offsets: Literal["xy", "yx"] = "xy"
    background: Literal["first", "last"] = "first"
    voc: Spec = PAPER
    coco: Spec = PAPER_COCO
    classes: tuple[tuple[int, str], ...] = ((21, "voc"), (81, "coco"))
    differences: tuple[str, ...] = ()
    seventh: str = ""


def _torch_layers(vgg: str, extras: tuple[str, ...], norm: str, logits: str, offsets: str) -> dict[str, str]:
    """Layers of the ports whose VGG16 is one list; `{}` stands for an index."""
    names = {layer: vgg.format(index) for layer, index in zip(VGG_LAYERS, _VGG_INDEX, strict=True)}
    names |= {"fc6": vgg.format(31), "fc7": vgg.format(33), "conv4_3_norm": norm}
    names |= dict(zip(EXTRA_LAYERS, extras, strict=True))
    return names | _heads(logits, offsets)


def _heads(logits: str, offsets: str) -> dict[str, str]:
    names = {f"{stage}_logits": logits.format(i) for i, stage in enumerate(STAGES)}
    return names | {f"{stage}_offsets": offsets.format(i) for i, stage in enumerate(STAGES)}


def _caffe_layers() -> dict[str, str]:
    # Caffe counts fc6 and fc7 as the sixth and seventh stage but begins again with conv6_1.
    own = [f"conv{stage}_{i}" for stage in (6, 7, 8, 9) for i in (1, 2)]
    names = {layer: layer for layer in (*VGG_LAYERS, "fc6", "fc7", "conv4_3_norm")}
    names |= dict(zip(EXTRA_LAYERS, own, strict=True))
    sources = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    for stage, source in zip(STAGES, sources, strict=True):
        names |= {f"{stage}_logits": f"{source}_mbox_conf", f"{stage}_offsets": f"{source}_mbox_loc"}
    return names


def _torchvision_layers() -> dict[str, str]:
    names = {layer: f"backbone.features.{i}" for layer, i in zip(VGG_LAYERS[:10], _VGG_INDEX[:10], strict=True)}
    places: tuple[str, ...] = ("0.1", "0.3", "0.5", "0.7.1", "0.7.3")
    places += tuple(f"{stage}.{index}" for stage in (1, 2, 3, 4) for index in (0, 2))
    others = (*VGG_LAYERS[10:], "fc6", "fc7", *EXTRA_LAYERS)
    names |= {layer: f"backbone.extra.{place}" for layer, place in zip(others, places, strict=True)}
    names["conv4_3_norm"] = "backbone.scale_weight"
    head = "head.{}_head.module_list.{{}}"
    return names | _heads(head.format("classification"), head.format("regression"))


def _chainer_layers() -> dict[str, str]:
    names = {layer: f"extractor/{layer}" for layer in (*VGG_LAYERS, *EXTRA_LAYERS)}
    names |= {"fc6": "extractor/conv6", "fc7": "extractor/conv7", "conv4_3_norm": "extractor/norm4"}
    return names | _heads("multibox/conf/{}", "multibox/loc/{}")


_EPSILON = "conv4_3_norm divides by sqrt(sum) + 1e-10, here by sqrt(sum + 1e-10): no difference at trained weights"
_RESIZE = "images of more than twice 300 pixels are scaled while they are decoded, here; the original scales the pixels"

_OLD_MMDETECTION = replace(
    PAPER_COCO,
    pixels=PixelSpec("rgb", (123.675, 116.28, 103.53)),
    log_size_limits=(log(16 / 1000), -log(16 / 1000)),
    suppression=SuppressionSpec(score_threshold=0.02, candidates=None, clip_first=True),
)
_MMDETECTION = replace(
    _OLD_MMDETECTION, suppression=replace(_OLD_MMDETECTION.suppression, stage_candidates=1000, drop_empty=True)
)
_LUFFICC = SuppressionSpec(candidates=None, keep=100)
_SSD_PYTORCH = SuppressionSpec(candidates=200, keep=4000)  # 200 of each of 20 classes
_SSD_KERAS = SuppressionSpec(candidates=None, keep_per_class=400)
_CHAINERCV = SuppressionSpec(candidates=None, keep=4000)

LAYOUTS = (
    Layout("caffe", "caffe", _caffe_layers(), ".0", ".1", ".0", differences=(_RESIZE,), seventh="conv10_2_mbox_conf"),
    Layout(
        "ssd_keras",
        "keras",
        _caffe_layers(),
        "/kernel",
        "/bias",
        "/gamma",
        axes="hwio",
        voc=replace(PAPER, suppression=_SSD_KERAS),
        coco=replace(PAPER_COCO, suppression=_SSD_KERAS),
        differences=(_RESIZE,),
        seventh="conv10_2_mbox_conf",
    ),
    Layout(
        "ssd.pytorch",
        "torch",
        _torch_layers("vgg.{}", tuple(f"extras.{i}" for i in range(8)), "L2Norm", "conf.{}", "loc.{}"),
        voc=replace(CLAMPED, pixels=_RGB, suppression=_SSD_PYTORCH),
        coco=replace(CLAMPED_COCO, pixels=_RGB, suppression=replace(_SSD_PYTORCH, keep=16_000)),
        differences=(_EPSILON, _RESIZE),
        seventh="conf.6",
    ),
    Layout(
        "lufficc",
        "torch",
        _torch_layers(
            "backbone.vgg.{}",
            tuple(f"backbone.extras.{i}" for i in range(8)),
            "backbone.l2_norm",
            "box_head.predictor.cls_headers.{}",
            "box_head.predictor.reg_headers.{}",
        ),
        voc=replace(CLAMPED, pixels=_RGB, suppression=_LUFFICC),
        coco=replace(CLAMPED_COCO, pixels=_RGB, suppression=_LUFFICC),
        differences=(_EPSILON, _RESIZE),
        seventh="box_head.predictor.cls_headers.6",
    ),
    Layout(
        "torchvision",
        "torch",
        _torchvision_layers(),
        scale="",
        voc=TORCHVISION,
        coco=TORCHVISION,
        classes=((91, "coco91"),),  # as many as COCO's highest id, N/A among them
        differences=("conv4_3_norm divides by max(sqrt(sum), 1e-12): no difference at trained weights", _RESIZE),
        seventh="head.classification_head.module_list.6",
    ),
    Layout(
        "mmdetection",
        "torch",
        _torch_layers(
            "backbone.features.{}",
            tuple(f"neck.extra_layers.{stage}.{i}.conv" for stage in range(4) for i in (0, 1)),
            "neck.l2_norm",
            "bbox_head.cls_convs.{}.0",
            "bbox_head.reg_convs.{}.0",
        ),
        background="last",
        voc=replace(_MMDETECTION, name=PAPER.name, feature_maps=PAPER.feature_maps),
        coco=_MMDETECTION,
        differences=(_EPSILON, _RESIZE),
        seventh="bbox_head.cls_convs.6.0",
    ),
    Layout(
        "mmdetection (before 2.14)",
        "torch",
        _torch_layers(
            "backbone.features.{}",
            tuple(f"backbone.extra.{i}" for i in range(8)),
            "backbone.l2_norm",
            "bbox_head.cls_convs.{}",
            "bbox_head.reg_convs.{}",
        ),
        background="last",
        voc=replace(_OLD_MMDETECTION, name=PAPER.name, feature_maps=PAPER.feature_maps),
        coco=_OLD_MMDETECTION,
        differences=(_EPSILON, _RESIZE),
        seventh="bbox_head.cls_convs.6",
    ),
    Layout(
        "chainercv",
        "numpy",
        _chainer_layers(),
        "/W",
        "/b",
        "/scale",
        offsets="yx",
        voc=replace(PAPER, pixels=_RGB, suppression=_CHAINERCV),
        coco=replace(PAPER_COCO, pixels=_RGB, suppression=_CHAINERCV),
        differences=(
            "conv4_3_norm divides by sqrt(sum) + 1e-5, here by sqrt(sum + 1e-10): no difference at trained weights",
            "all detections over the threshold are kept, here the best 4,000 of an image",
            "a box is dropped at an IoU of .45 exactly, here above it",
            _RESIZE,
        ),
        seventh="multibox/conf/6",
    ),
)
