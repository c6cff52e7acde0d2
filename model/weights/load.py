"""A network of this package from a file of another project's trained weights, with a passport of what was done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssd300.datasets.classes import KNOWN_LISTS, ClassList
from ssd300.datasets.errors import InputError
from ssd300.model.spec import PixelSpec, PresetName, Spec, spec_named
from ssd300.model.ssd300 import SSD300
from ssd300.model.weights.containers.read import read_tensors
from ssd300.model.weights.containers.stored import StoredTensors
from ssd300.model.weights.layouts import LAYOUTS, STAGES, Layout
from ssd300.model.weights.passport import TensorRow, make_passport

Channels = Literal["rgb", "bgr"]
# Files of one layout whose networks see blue first, by the beginning of the published name.
_BGR_FILES = ("ssd_300_VOC0712",)
_BOXES_IN_CELL = (4, 6, 6, 6, 4, 4)


@dataclass(frozen=True)
class ImportedWeights:
    """What a file of trained weights gave.

    Attributes:
        model: the network with the file's weights.
        classes: its class list.
        passport: what the weights are and where each came from, plain values that JSON can hold.
    """

    model: SSD300
    classes: ClassList
    passport: dict[str, Any]

    @property
    def spec(self) -> Spec:
        """The specification: default boxes, pixels, suppression."""
        return self.model.spec


def load_trained(
    path: str | Path,
    *,
    classes: ClassList | None = None,
    channels: Channels | None = None,
    preset: PresetName | None = None,
) -> ImportedWeights:
    """Reads a trained SSD300-VGG16 of Caffe, ssd_keras, ssd.pytorch, lufficc, torchvision, mmdetection or ChainerCV.

    Args:
        path: the file; its kind and its layout are recognized by its content.
        classes: names of its classes without the background, in the order of its labels; by default those of VOC or
            COCO, which the number of classes tells apart.
        channels: order of the colors that the network was trained with; by default that of the project, and for
            ssd.pytorch's file ``ssd_300_VOC0712`` blue first.
        preset: whose default boxes the network was trained with; by default those that the project has for VOC, and
            for COCO's classes those for COCO.

    Raises:
        InputError: the file is no such network, or damaged; or the classes do not fit.
    """
    path = Path(path)
    stored = read_tensors(path)
    layout = recognize(stored, path)
    num_classes = _count_classes(stored.tensors, layout, path)
    names, list_name = _class_list(layout, num_classes, classes, path)
    spec = layout.coco if list_name.startswith("coco") else layout.voc
    if preset is not None:
        spec = _with_boxes_of(spec, spec_named(preset))
    order, reason = _channel_order(spec.pixels, channels, layout, path)
    spec = replace(spec, pixels=_in_order(spec.pixels, order))
    model = SSD300(num_classes, preset=spec)
    rows = _fill(model, stored.tensors, layout, path)
    passport = make_passport(
        path, stored, layout, model, rows, classes=names, list_name=list_name, channels_decided_by=reason
    )
    return ImportedWeights(model, names, passport)


def recognize(stored: StoredTensors, path: Path) -> Layout:
    """The layout of a file's tensors.

    Raises:
        InputError: they are no SSD300-VGG16 of a known layout, or some are missing.
    """
    layouts = [one for one in LAYOUTS if stored.container.startswith(one.container)]
    missing = {one.name: [name for name, _, _ in _expected(one) if name not in stored.tensors] for one in layouts}
    best = min(layouts, key=lambda one: len(missing[one.name]))
    absent, count = missing[best.name], len(_expected(best))
    known = ", ".join(one.name for one in layouts)
    if f"{best.seventh}{best.kernel}" in stored.tensors:
        raise InputError(
            f"{path} is an SSD512 of {best.name}, with seven feature maps; expected an SSD300, which has six"
        )
    if len(absent) > count // 2:
        examples = ", ".join(ascii(name)[1:-1][:60] for name in list(stored.tensors)[:3])
        what = "a MobileNet" if _is_mobilenet(stored.tensors) else f"{len(stored.tensors)} tensors, such as {examples}"
        raise InputError(f"{path}: expected an SSD300-VGG16 in the layout of {known}; found {what}")
    if absent:
        others = "is missing" if len(absent) == 1 else f"and {len(absent) - 1} more are missing"
        raise InputError(f"{path}: an SSD300 of {best.name} has {count} tensors; {absent[0]} {others}")
    return best


def _is_mobilenet(names: Mapping[str, Any]) -> bool:
    signs = ("mobilenet", "depthwise", "conv_dw", "/dw", ".conv.0.0.", ".block.0.0.", "base_net.")
    return any(sign in name.lower() for name in names for sign in signs)


def _expected(layout: Layout) -> list[tuple[str, str, str]]:
    """Name in the file, our layer, and kind (``kernel``, ``bias``, ``scale``) of all tensors."""
    rows = []
    for layer, name in layout.layers.items():
        if layer == "conv4_3_norm":
            rows.append((f"{name}{layout.scale}", layer, "scale"))
        else:
            rows += [(f"{name}{layout.kernel}", layer, "kernel"), (f"{name}{layout.bias}", layer, "bias")]
    return rows


def _count_classes(tensors: Mapping[str, np.ndarray], layout: Layout, path: Path) -> int:
    counts = {}
    for stage, boxes in zip(STAGES, _BOXES_IN_CELL, strict=True):
        name = f"{layout.layers[f'{stage}_logits']}{layout.bias}"
        length = int(tensors[name].size)
        if length % boxes or length < 2 * boxes:
            raise InputError(
                f"{path}: {name} has {length} values; expected a multiple of {boxes} default boxes per cell"
            )
        counts[name] = length // boxes
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"{path}: the heads differ in their number of classes: {found}")
    return next(iter(counts.values()))


def _class_list(layout: Layout, num_classes: int, given: ClassList | None, path: Path) -> tuple[ClassList, str]:
    known = dict(layout.classes).get(num_classes)
    if given is None and known is None:
        usual = " or ".join(f"{count} ({name})" for count, name in layout.classes)
        raise InputError(
            f"{path} has {num_classes} classes with the background; expected {usual}, or a class list of "
            f"{num_classes - 1} names"
        )
    if given is None:
        return KNOWN_LISTS[str(known)], str(known)
    if len(given.names) + 1 != num_classes:
        raise InputError(
            f"{path} has {num_classes} classes with the background; the class list has {len(given.names)} names, "
            f"expected {num_classes - 1}"
        )
    name = next((name for name, one in KNOWN_LISTS.items() if one == given), None)
    return given, name or (f"given; as many as {known}" if known else "given")


def _channel_order(pixels: PixelSpec, given: Channels | None, layout: Layout, path: Path) -> tuple[Channels, str]:
    if given is not None:
        return given, "as given"
    if layout.name == "ssd.pytorch" and path.name.startswith(_BGR_FILES):
        return "bgr", "name of the published file"
    return pixels.channels, f"as {layout.name} trains"


def _with_boxes_of(spec: Spec, preset: Spec) -> Spec:
    if preset.variances != spec.variances:
        raise InputError(
            f"the preset {preset.name} encodes boxes otherwise; no file of these projects was trained with it"
        )
    return replace(spec, name=preset.name, feature_maps=preset.feature_maps, clamp=preset.clamp)


def _in_order(pixels: PixelSpec, channels: Channels) -> PixelSpec:
    if pixels.channels == channels:
        return pixels
    return replace(pixels, channels=channels, mean=(pixels.mean[2], pixels.mean[1], pixels.mean[0]))


def _fill(model: SSD300, tensors: Mapping[str, np.ndarray], layout: Layout, path: Path) -> list[TensorRow]:
    """Sets all weights of the model; returns a row about each tensor, and the array as the model has it."""
    rows = []
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for name, layer, kind in _expected(layout):
        array, changes = _as_ours(tensors[name], layer, kind, layout)
        wanted = tuple(getattr(model.get_layer(layer), kind).shape)
        if array is None or array.shape != wanted:
            raise InputError(
                f"{path}: {name} has the shape {tensors[name].shape}; expected that of {layer}'s {kind}, here {wanted} "
                "in the order height, width, inputs, outputs"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds NaN or infinite numbers")
        if layer.endswith("_logits") and layout.background == "last":
            array = _background_first(array, model.num_classes)
            changes.append("background moved to the front")
        arrays.setdefault(layer, {})[kind] = array
        rows.append(TensorRow(layer, kind, name, tensors[name].shape, tuple(changes), array))
    for layer, weights in arrays.items():
        model.get_layer(layer).set_weights([weights[kind] for kind in ("kernel", "bias", "scale") if kind in weights])
    return rows


def _as_ours(array: np.ndarray, layer: str, kind: str, layout: Layout) -> tuple[np.ndarray | None, list[str]]:
    """A tensor in our order of axes and offsets, None if it has another number of axes; and what was changed."""
    changes = []
    if array.ndim != (4 if kind == "kernel" else 1):
        return None, []
    if kind == "kernel" and layout.axes == "oihw":
        array = array.transpose(2, 3, 1, 0)
        changes.append("transposed to height, width, inputs, outputs")
    if layer.endswith("_offsets") and layout.offsets == "yx" and array.shape[-1] % 4 == 0:
        array = array.reshape(*array.shape[:-1], -1, 4)[..., [1, 0, 3, 2]].reshape(array.shape)
        changes.append("dy, dx, dh, dw to dx, dy, dw, dh")
    return np.ascontiguousarray(array, np.float32), changes


def _background_first(array: np.ndarray, num_classes: int) -> np.ndarray:
    shaped = array.reshape(*array.shape[:-1], -1, num_classes)
    return np.ascontiguousarray(np.roll(shaped, 1, axis=-1).reshape(array.shape))
