"""The weight files of other projects' SSD300: the name, axis order and shape of each tensor, with random numbers.

What the projects do with their weights is in `forward`, `peer_boxes` and `postprocess`. None of these modules imports
`ssd300`, so that a test can hold the package against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

VOC_SIZES = (30, 60, 111, 162, 213, 264, 315)  # pixels of 300
COCO_SIZES = (21, 45, 99, 153, 207, 261, 315)
BOXES_IN_CELL = (4, 6, 6, 6, 4, 4)
CAFFE_MEANS = (123.0, 117.0, 104.0)  # red, green, blue

# A role is a layer's place in the network: kernel size, input and output channels, in the order of computation.
_BACKBONE = {
    "conv1_1": (3, 3, 64),
    "conv1_2": (3, 64, 64),
    "conv2_1": (3, 64, 128),
    "conv2_2": (3, 128, 128),
    "conv3_1": (3, 128, 256),
    "conv3_2": (3, 256, 256),
    "conv3_3": (3, 256, 256),
    "conv4_1": (3, 256, 512),
    "conv4_2": (3, 512, 512),
    "conv4_3": (3, 512, 512),
    "conv5_1": (3, 512, 512),
    "conv5_2": (3, 512, 512),
    "conv5_3": (3, 512, 512),
    "fc6": (3, 512, 1024),
    "fc7": (1, 1024, 1024),
}
_EXTRA = {
    "conv8_1": (1, 1024, 256),
    "conv8_2": (3, 256, 512),
    "conv9_1": (1, 512, 128),
    "conv9_2": (3, 128, 256),
    "conv10_1": (1, 256, 128),
    "conv10_2": (3, 128, 256),
    "conv11_1": (1, 256, 128),
    "conv11_2": (3, 128, 256),
}
_HEADS = [f"{values}_{stage}" for stage in range(6) for values in ("logits", "offsets")]
_SOURCE_CHANNELS = (512, 1024, 512, 256, 256, 256)
# Relative to what keeps the magnitude of activations; pixels, which conv1 sees first, are larger than what follows.
_SPREAD = {"conv1": 1 / 8, "logits": 0.8, "offsets": 0.4}  # two convolutions of conv1: 1/64
_VGG_INDEX = dict(zip(_BACKBONE, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33), strict=True))


@dataclass(frozen=True)
class Peer:
    """A project's weight file, and the settings that its code has and the file does not.

    `dataclasses.replace(peer, classes=81, sizes=COCO_SIZES)` is the same project's file for other classes.

    Attributes:
        name: the key in `PEERS`.
        project: which code reads the file: ``caffe``, ``ssd_keras``, ``ssd.pytorch``, ``lufficc``, ``torchvision``,
            ``mmdetection`` or ``chainercv``.
        classes: classes with the background.
        background: the background's place among the logits.
        sizes: the seven box sizes, pixels of 300.
        channels: order in which the network takes the colors.
        means: what is subtracted from red, green and blue.
        axes: order of a kernel's axes.
        prefixes: role to the name of its layer, in the order of the file.
        suffixes: what follows a layer's name for its kernel, its bias and the scale of the normalization.
        limit_candidates: mmdetection only: at most 1,000 pairs of box and class per stage take part.
    """

    name: str
    project: str
    classes: int
    sizes: tuple[int, ...]
    prefixes: dict[str, str]
    suffixes: tuple[str, str, str] = (".weight", ".bias", ".weight")
    background: int = 0
    channels: Literal["RGB", "BGR"] = "RGB"
    means: tuple[float, float, float] = CAFFE_MEANS
    axes: Literal["OIHW", "HWIO"] = "OIHW"
    limit_candidates: bool = True

    def kernel(self, role: str) -> str:
        """Name of a layer's kernel, or of the scale if `role` is ``norm``."""
        return self.prefixes[role] + self.suffixes[2 if role == "norm" else 0]

    def bias(self, role: str) -> str:
        """Name of a layer's bias."""
        return self.prefixes[role] + self.suffixes[1]

    def kernel_shape(self, role: str, width: float = 1.0) -> tuple[int, int, int]:
        """Kernel size, input and output channels of a convolution; `width` as in `random_tensors`."""
        if role in _BACKBONE or role in _EXTRA:
            size, inputs, outputs = (_BACKBONE | _EXTRA)[role]
            return size, 3 if role == "conv1_1" else _scaled(inputs, width), _scaled(outputs, width)
        values, stage = role.split("_")
        of_a_box = self.classes if values == "logits" else 4
        return 3, _scaled(_SOURCE_CHANNELS[int(stage)], width), BOXES_IN_CELL[int(stage)] * of_a_box

    def random_tensors(self, seed: int, *, width: float = 1.0) -> dict[str, np.ndarray]:
        """Tensors with the names, shapes and order of the file, float32, `width` of the channels.

        Activations keep their magnitude from layer to layer, 1 to 10. Of the 8732 x classes scores some thousands are
        over .01, and the offsets move boxes by about a tenth of their size, so that many overlap.
        """
        rng = np.random.default_rng(seed)
        tensors = {}
        for role in self.prefixes:
            if role == "norm":
                tensors[self.kernel(role)] = rng.uniform(10, 30, _scaled(512, width)).astype(np.float32)
                continue
            size, inputs, outputs = self.kernel_shape(role, width)
            kernel = rng.standard_normal((size, size, inputs, outputs), np.float32) * np.float32(
                _SPREAD.get(role.split("_")[0], 1.0) * (2 / (size * size * inputs)) ** 0.5
            )
            bias = rng.standard_normal(outputs, np.float32) * np.float32(0.1)
            if role.startswith("logits"):
                # Most boxes are background, as with trained weights.
                bias.reshape(-1, self.classes)[:, self.background] += 8.5 if self.classes <= 21 else 9.5
            tensors[self.kernel(role)] = kernel if self.axes == "HWIO" else kernel.transpose(3, 2, 0, 1).copy()
            tensors[self.bias(role)] = bias
        return tensors

    def contents(self, tensors: dict[str, np.ndarray]) -> Any:
        """What the file holds around the tensors: a `.pth` of a training run has its optimizer and more."""
        optimizer = {
            "state": {0: {"momentum_buffer": np.zeros((64, 3, 3, 3), np.float32)}},
            "param_groups": [{"lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005, "params": [0]}],
        }
        if self.project == "lufficc":
            scheduler = {"milestones": [80000, 100000], "gamma": 0.1, "last_epoch": 120000}
            return {"model": tensors, "optimizer": optimizer, "scheduler": scheduler, "iteration": 120000}
        if self.project == "mmdetection":
            meta = {"mmdet_version": "2.14.0", "epoch": 24, "iter": 703632, "CLASSES": ("person", "bicycle")}
            return {"meta": meta, "state_dict": tensors, "optimizer": optimizer}
        return tensors

    def file_layers(self) -> tuple[tuple[str, str], ...]:
        """Name and Caffe type of each layer of a `.caffemodel` or `.h5`, those without weights too, in order.

        Caffe saves the data layer, pooling and the rest with no blobs; Keras has groups without weights.
        """
        return tuple(_caffe_layers(self)) if self.project in ("caffe", "ssd_keras") else ()


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width))


def data_parallel(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same tensors as saved from torch's `DataParallel`: each name begins with ``module.``."""
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


# The layers' names in Caffe: its conv6 to conv9 are this package's conv8 to conv11.
_CAFFE_EXTRA = {role: f"conv{int(role[4:-2]) - 2}{role[-2:]}" for role in _EXTRA}
_CAFFE_SOURCES = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")


def _caffe_names() -> dict[str, str]:
    names = {role: role for role in _BACKBONE} | _CAFFE_EXTRA | {"norm": "conv4_3_norm"}
    for stage, source in enumerate(_CAFFE_SOURCES):
        names |= {f"offsets_{stage}": f"{source}_mbox_loc", f"logits_{stage}": f"{source}_mbox_conf"}
    return names


def _caffe_layers(peer: Peer) -> Iterator[tuple[str, str]]:
    yield ("data", "AnnotatedData") if peer.project == "caffe" else ("input_1", "")
    yield "data_data_0_split", "Split"
    convolutions = [role for role in peer.prefixes if role in _BACKBONE or role in _EXTRA]
    for role, following in pairwise([*convolutions, "conv12_1"]):
        name = peer.prefixes[role]
        yield name, "Convolution"
        yield f"{name}_relu", "ReLU"
        if role in _BACKBONE and role[:5] != following[:5] and role.startswith("conv"):
            yield f"pool{role[4]}", "Pooling"
    yield "conv4_3_norm", "Normalize"
    for stage, source in enumerate(_CAFFE_SOURCES):
        for role, kind in ((f"offsets_{stage}", "loc"), (f"logits_{stage}", "conf")):
            yield peer.prefixes[role], "Convolution"
            yield f"{source}_mbox_{kind}_perm", "Permute"
            yield f"{source}_mbox_{kind}_flat", "Flatten"
        yield f"{source}_mbox_priorbox", "PriorBox"
    yield "mbox_loc", "Concat"
    yield "mbox_conf", "Concat"
    yield "mbox_priorbox", "Concat"
    yield "mbox_loss", "MultiBoxLoss"


def _heads(conf: str, loc: str, *, loc_first: bool = False) -> dict[str, str]:
    """Layer names of the heads; ``{}`` stands for the stage. All of one kind, then all of the other."""
    kinds = [("logits", conf), ("offsets", loc)]
    return {
        f"{values}_{stage}": pattern.format(stage)
        for values, pattern in (reversed(kinds) if loc_first else kinds)
        for stage in range(6)
    }


def _ssd_pytorch_names() -> dict[str, str]:
    return {
        **{role: f"vgg.{index}" for role, index in _VGG_INDEX.items()},
        "norm": "L2Norm",
        **{role: f"extras.{index}" for index, role in enumerate(_EXTRA)},
        **_heads("conf.{}", "loc.{}", loc_first=True),
    }


def _lufficc_names() -> dict[str, str]:
    return {
        **{role: f"backbone.vgg.{index}" for role, index in _VGG_INDEX.items()},
        **{role: f"backbone.extras.{index}" for index, role in enumerate(_EXTRA)},
        "norm": "backbone.l2_norm",
        **_heads("box_head.predictor.cls_headers.{}", "box_head.predictor.reg_headers.{}"),
    }


def _torchvision_names() -> dict[str, str]:
    features = {role: f"backbone.features.{index}" for role, index in _VGG_INDEX.items() if index <= 21}
    # Its `extra.0` begins with pool4; then conv5 and its ReLUs, and in 7 pool5, fc6, ReLU, fc7, ReLU.
    tail = {"conv5_1": "0.1", "conv5_2": "0.3", "conv5_3": "0.5", "fc6": "0.7.1", "fc7": "0.7.3"}
    extra = {role: f"{1 + index // 2}.{index % 2 * 2}" for index, role in enumerate(_EXTRA)}
    return {
        "norm": "backbone.",
        **features,
        **{role: f"backbone.extra.{place}" for role, place in (tail | extra).items()},
        **_heads("head.classification_head.module_list.{}", "head.regression_head.module_list.{}"),
    }


def _mmdetection_names() -> dict[str, str]:
    extra = {role: f"neck.extra_layers.{index // 2}.{index % 2}.conv" for index, role in enumerate(_EXTRA)}
    return {
        **{role: f"backbone.features.{index}" for role, index in _VGG_INDEX.items()},
        "norm": "neck.l2_norm",
        **extra,
        **_heads("bbox_head.cls_convs.{}.0", "bbox_head.reg_convs.{}.0"),
    }


def _old_mmdetection_names() -> dict[str, str]:
    return {
        **{role: f"backbone.features.{index}" for role, index in _VGG_INDEX.items()},
        **{role: f"backbone.extra.{index}" for index, role in enumerate(_EXTRA)},
        "norm": "backbone.l2_norm",
        **_heads("bbox_head.cls_convs.{}", "bbox_head.reg_convs.{}", loc_first=True),
    }


def _chainercv_names() -> dict[str, str]:
    backbone = {role: {"fc6": "conv6", "fc7": "conv7"}.get(role, role) for role in (*_BACKBONE, *_EXTRA)}
    return {
        **{role: f"extractor/{name}" for role, name in backbone.items()},
        "norm": "extractor/norm4",
        **_heads("multibox/conf/{}", "multibox/loc/{}", loc_first=True),
    }


_MMDETECTION = {
    "project": "mmdetection",
    "classes": 81,
    "background": 80,
    "sizes": COCO_SIZES,
    "means": (123.675, 116.28, 103.53),
}

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        # A `.caffemodel` has no names for tensors: a layer's blobs are numbered.
        Peer("caffe", "caffe", 21, VOC_SIZES, _caffe_names(), ("/0", "/1", "/0"), channels="BGR"),
        Peer(
            "ssd_keras",
            "ssd_keras",
            21,
            VOC_SIZES,
            _caffe_names(),
            ("/kernel:0", "/bias:0", "/conv4_3_norm_gamma:0"),
            channels="BGR",
            axes="HWIO",
        ),
        Peer("ssd.pytorch", "ssd.pytorch", 21, VOC_SIZES, _ssd_pytorch_names()),
        Peer("ssd.pytorch BGR", "ssd.pytorch", 21, VOC_SIZES, _ssd_pytorch_names(), channels="BGR"),
        Peer("lufficc", "lufficc", 21, VOC_SIZES, _lufficc_names()),
        Peer("lufficc COCO", "lufficc", 81, COCO_SIZES, _lufficc_names()),
        Peer(
            "torchvision",
            "torchvision",
            91,
            COCO_SIZES,
            _torchvision_names(),
            (".weight", ".bias", "scale_weight"),
            # It divides by 255, subtracts these and divides by 1/255.
            means=(0.48235 * 255, 0.45882 * 255, 0.40784 * 255),
        ),
        Peer("mmdetection", prefixes=_mmdetection_names(), **_MMDETECTION),
        Peer("mmdetection (old)", prefixes=_old_mmdetection_names(), limit_candidates=False, **_MMDETECTION),
        Peer("chainercv", "chainercv", 21, VOC_SIZES, _chainercv_names(), ("/W", "/b", "/scale")),
    )
}
