"""Recognizing a layout by its names alone, for all of them: whole, with a tensor missing, SSD512, MobileNet."""

import re
from pathlib import Path

import numpy as np
import pytest

from ssd300.datasets.errors import InputError
from ssd300.model.ssd300 import SSD300
from ssd300.model.weights.containers.stored import StoredTensors
from ssd300.model.weights.layouts import LAYOUTS
from ssd300.model.weights.load import recognize

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
PATH = Path("weights.pth")
NOTHING = np.zeros(1, np.float32)


def names_of(layout):
    ends = {"conv4_3_norm": [layout.scale]}
    return [
        f"{name}{end}" for layer, name in layout.layers.items() for end in ends.get(layer, [layout.kernel, layout.bias])
    ]


def stored(layout, names):
    return StoredTensors(layout.container, dict.fromkeys(names, NOTHING))


@EVERY_LAYOUT
def test_each_layout_names_71_tensors_and_is_told_from_the_others(layout):
    names = names_of(layout)
    assert len(set(names)) == len(names) == 71
    assert recognize(stored(layout, [*names, "more"]), PATH) is layout


@EVERY_LAYOUT
def test_its_layers_are_the_network_s(layout):
    model = SSD300(3, width=0.02)
    assert set(layout.layers) == {layer.name for layer in model.layers if layer.weights}


@EVERY_LAYOUT
@pytest.mark.parametrize("place", [0, 35, 70])
def test_a_missing_tensor_is_named(layout, place):
    names = names_of(layout)
    missing = names.pop(place)
    expected = f"an SSD300 of {layout.name} has 71 tensors; {missing} is missing"
    with pytest.raises(InputError, match=re.escape(expected)):
        recognize(stored(layout, names), PATH)


@EVERY_LAYOUT
def test_an_ssd512_is_named(layout):
    names = [*names_of(layout), f"{layout.seventh}{layout.kernel}"]
    with pytest.raises(InputError, match=re.escape(f"is an SSD512 of {layout.name}")):
        recognize(stored(layout, names), PATH)


MOBILENETS = {
    "caffe": ["conv0.0", "conv1/dw.0", "conv1.0", "conv2/dw.0"],
    "keras": ["conv1/kernel", "conv_dw_1/depthwise_kernel", "conv_pw_1/kernel"],
    "torch": ["backbone.features.0.0.0.weight", "backbone.features.0.1.conv.0.0.weight"],
    "numpy": ["extractor/mobilenet/conv1/W", "extractor/mobilenet/conv2/W"],
}


@EVERY_LAYOUT
def test_a_mobilenet_is_named(layout):
    with pytest.raises(InputError, match=r"expected an SSD300-VGG16 in the layout of .*; found a MobileNet"):
        recognize(stored(layout, MOBILENETS[layout.container]), PATH)
