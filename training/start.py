"""What a new run starts from: VGG16's weights, another run, or nothing."""

import logging
import re
from dataclasses import dataclass, fields, replace
from typing import Any

import keras
import numpy as np

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.model import vgg16
from ssd300.model.default_boxes import digest
from ssd300.model.spec import Spec
from ssd300.model.ssd300 import SSD300
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """A run to start from: its folder, its configuration, and its network with the newest weights."""

    path: str
    config: RunConfig
    model: SSD300
    step: int

    @classmethod
    def read(cls, path: str) -> "Start":
        """The run in the folder `path`; InputError if it cannot be used."""
        run = RunDirectory(path)
        model, config, step = run.load_model()
        return cls(str(run.path), config, model, step)


def started_settings(settings: TrainSettings, start: RunConfig) -> TrainSettings:
    """The settings with the width and the normalization of the run to start from.

    Raises:
        InputError: the settings ask for another width or normalization than that run's.
    """
    defaults = {one.name: one.default for one in fields(TrainSettings)}
    names = ("width", "norm")
    differing = [
        name for name in names if getattr(settings, name) not in (defaults[name], getattr(start.settings, name))
    ]
    if differing:
        wanted = ", ".join(f"{name} {getattr(settings, name)}" for name in differing)
        found = ", ".join(f"{name} {getattr(start.settings, name)}" for name in differing)
        raise InputError(f"the run to start from has {found}; a run that starts from it cannot have {wanted}")
    return replace(settings, **{name: getattr(start.settings, name) for name in names})


def started_spec(spec: Spec, start: Spec) -> Spec:
    """The dataset's specification `spec` with the input that the weights to start from were trained with.

    Raises:
        InputError: the network is another one.
    """
    for name in ("conv4_3_norm", "pool5", "variances"):
        if getattr(spec, name) != getattr(start, name):
            raise InputError(
                f"the run to start from is of preset {start.name}, whose {name} is {getattr(start, name)}; the new run "
                f"is of preset {spec.name} and needs {getattr(spec, name)}"
            )
    if digest(spec) != digest(start):
        _LOG.warning(
            "the run to start from has the default boxes of %s, the dataset those of %s: its boxes will be off until "
            "they are trained; a dataset encoded with the preset %s has its default boxes",
            start.name,
            spec.name,
            start.name,
        )
    return replace(spec, pixels=start.pixels)


def load_start(model: SSD300, classes: ClassList, start: Start) -> str:
    """Puts the weights of `start` into `model`, a network of the same width and other classes.

    All layers outside the class heads are taken over, and of the class heads the background and the classes of the same
    name, as `ClassList.label` finds it. The other classes keep their new weights.

    Returns:
        A line that says what happened.
    """
    labels = [(0, 0)]  # pairs of a label here and a label there
    new = []
    for label, name in enumerate(classes.names, start=1):
        try:
            labels.append((label, start.config.classes.label(name)))
        except KeyError:
            new.append(name)
    here, there = (np.array(column) for column in zip(*labels, strict=True))
    heads = {f"{feature_map.name}_logits" for feature_map in model.spec.feature_maps}
    for layer in model.layers:
        stored = start.model.get_layer(layer.name)
        if layer.name in heads:
            _carry_over(layer, stored, here, there, model.num_classes, start.model.num_classes)
        else:
            layer.set_weights(stored.get_weights())
    carried = f"classes carried over: {len(here) - 1} of {len(classes.names)}"
    line = f"started from {start.path}, step {start.step:,}; {carried}"
    return f"{line}; new: {', '.join(new)}" if new else line


def _carry_over(
    layer: keras.layers.Layer,
    stored: keras.layers.Layer,
    here: np.ndarray,
    there: np.ndarray,
    num_classes: int,
    stored_classes: int,
) -> None:
    """Copies the channels of some classes from one head to another; a channel is box times classes plus class."""
    arrays = []
    for own, other in zip(layer.get_weights(), stored.get_weights(), strict=True):
        shaped = own.reshape(*own.shape[:-1], -1, num_classes).copy()
        shaped[..., here] = other.reshape(*other.shape[:-1], -1, stored_classes)[..., there]
        arrays.append(shaped.reshape(own.shape))
    layer.set_weights(arrays)


_NEW_LAYERS = re.compile(r"(fc6|fc7|conv(8|9|10|11)_[12])(_relu|_pad)?")


def rescale_new_layers(model: SSD300, pixels: Any) -> None:
    """Divides the weights of fc6 to conv11_2 so that each layer's output on `pixels` has a root mean square of 1.

    What VGG16's features, which are large, become in layers that begin at random shrinks from layer to layer by the
    choice of the initializer alone, and the heads of large objects, which sit on the last ones, learn late. A layer of
    kernel, bias and ReLU scales with its weights, so this changes the scale of an output and nothing else (after
    Mishkin and Matas 2015, whose kernels are orthonormal too).

    Args:
        model: without batch normalization, which makes any scale one.
        pixels: uint8 ``[B, 300, 300, 3]``, a batch of training images.
    """
    layers = [layer for layer in model.layers if _NEW_LAYERS.fullmatch(layer.name)]
    features = keras.Model(model.input, layers[0].input)(pixels)
    for layer in layers:
        outputs = layer(features)
        if isinstance(layer, keras.layers.Conv2D):
            scale = float(
                np.sqrt(np.mean(np.square(np.maximum(keras.ops.convert_to_numpy(outputs), 0.0), dtype=float)))
            )
            if scale > 0:
                layer.set_weights([array / scale for array in layer.get_weights()])
                outputs = layer(features)
        features = outputs


def load_vgg16(model: SSD300, weights: str) -> None:
    """Puts VGG16's convolutions into `model`, unless `weights` is ``none``; InputError if they cannot be used."""
    if weights == "none":
        return
    try:
        vgg16.load_weights(model, weights)
    except ValueError as error:
        raise InputError(str(error)) from None
