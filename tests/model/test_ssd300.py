"""The SSD300 network: its size, its resolutions, the order of its outputs, saving, and its variants."""

from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from ssd300.model.default_boxes import default_boxes, stage_offsets
from ssd300.model.spec import ARTICLE, PAPER, VGG16_PIXELS, PixelSpec, SuppressionSpec
from ssd300.model.ssd300 import SSD300
from ssd300.model.vgg16 import load_weights

# Convolutions outside the heads: (resolution, channels, kernel), paper figure 2 for an image of 300x300.
CONVOLUTIONS = {
    **{f"conv1_{i}": (300, 64, 3) for i in (1, 2)},
    **{f"conv2_{i}": (150, 128, 3) for i in (1, 2)},
    **{f"conv3_{i}": (75, 256, 3) for i in (1, 2, 3)},
    **{f"conv4_{i}": (38, 512, 3) for i in (1, 2, 3)},  # 75 is rounded up
    **{f"conv5_{i}": (19, 512, 3) for i in (1, 2, 3)},
    "fc6": (19, 1024, 3),
    "fc7": (19, 1024, 1),
    "conv8_1": (19, 256, 1),
    "conv8_2": (10, 512, 3),
    "conv9_1": (10, 128, 1),
    "conv9_2": (5, 256, 3),
    "conv10_1": (5, 128, 1),
    "conv10_2": (3, 256, 3),
    "conv11_1": (3, 128, 1),
    "conv11_2": (1, 256, 3),
}
OTHER_LAYERS = {
    **dict.fromkeys(("pixels", "normalization"), 300),
    **{f"pool{block}": side for block, side in enumerate((150, 75, 38, 19, 19), start=1)},
    **dict(zip(("conv4_3_norm", "conv8_2_pad", "conv9_2_pad"), (38, 21, 12), strict=True)),
}
# Heads: (resolution, default boxes a cell).
HEADS = {
    "conv4_3": (38, 4),
    "fc7": (19, 6),
    "conv8_2": (10, 6),
    "conv9_2": (5, 6),
    "conv10_2": (3, 4),
    "conv11_2": (1, 4),
}


def picture(seed, count=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 300, 300, 3)).astype(np.uint8)


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def shapes_of(outputs):
    return {name: tuple(value.shape) for name, value in outputs.items()}


@pytest.fixture(scope="module")
def full():
    """The paper's network at full width: built once, never called."""
    return SSD300()


@pytest.fixture(scope="module")
def narrow():
    """A narrow network with random biases, so that a lost bias shows."""
    keras.utils.set_random_seed(1)
    model = SSD300(3, width=0.125)
    random = np.random.default_rng(1)
    for layer in convolutions(model):
        layer.bias.assign(random.normal(0, 0.3, layer.bias.shape))
    return model


def inner(model, *names):
    """The outputs of these layers on one random image."""
    values = keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])(picture(2))
    return [value.numpy() for value in values]


def test_parameters(full):
    assert full.count_params() == 26_285_486
    assert sum(int(np.prod(w.shape)) for w in full.trainable_weights) == 26_285_486


def test_resolution_of_every_layer(full):
    expected = {name: (side, side) for name, side in OTHER_LAYERS.items()}
    for name, (side, _, _) in CONVOLUTIONS.items():
        expected[name] = expected[f"{name}_relu"] = (side, side)
    for stage, (side, shapes) in HEADS.items():
        for output in ("logits", "offsets"):
            expected[f"{stage}_{output}"] = (side, side)
            expected[f"{stage}_{output}_boxes"] = (side * side * shapes,)
    expected["logits"] = expected["offsets"] = (8732,)
    assert {layer.name: tuple(layer.output.shape[1:-1]) for layer in full.layers} == expected


def test_channels_and_kernels_of_every_convolution(full):
    expected = {name: (channels, (kernel, kernel)) for name, (_, channels, kernel) in CONVOLUTIONS.items()}
    for stage, (_, shapes) in HEADS.items():
        expected[f"{stage}_logits"] = (shapes * 21, (3, 3))
        expected[f"{stage}_offsets"] = (shapes * 4, (3, 3))
    assert {layer.name: (layer.filters, tuple(layer.kernel_size)) for layer in convolutions(full)} == expected
    strides = {layer.name: layer.strides[0] for layer in convolutions(full)}
    assert {name: stride for name, stride in strides.items() if stride != 1} == {"conv8_2": 2, "conv9_2": 2}
    dilations = {layer.name: layer.dilation_rate[0] for layer in convolutions(full)}
    assert {name: dilation for name, dilation in dilations.items() if dilation != 1} == {"fc6": 6}
    pool5 = full.get_layer("pool5")
    assert (tuple(pool5.pool_size), tuple(pool5.strides)) == ((3, 3), (1, 1))


def test_kernels_are_xavier_and_biases_zero(full):
    for layer in convolutions(full):
        kernel, bias = layer.get_weights()
        limit = np.sqrt(3 / np.prod(kernel.shape[:3]))  # Caffe's: inputs alone
        # Uniform in ±limit: the largest of thousands is near it, the deviation is limit/√3.
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01), layer.name
        assert np.abs(kernel).max() <= limit * 1.0001
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.05), layer.name
        assert (bias == 0).all()
    np.testing.assert_array_equal(full.get_layer("conv4_3_norm").scale, np.full(512, 20.0))


def test_output_shapes_and_types(narrow, full):
    assert shapes_of(full.output) == {"logits": (None, 8732, 21), "offsets": (None, 8732, 4)}
    outputs = narrow(picture(0, count=2))
    assert shapes_of(outputs) == {"logits": (2, 8732, 3), "offsets": (2, 8732, 4)}
    assert {value.dtype.name for value in outputs.values()} == {"float32"}


def test_whole_numbers_and_floats_give_the_same(narrow):
    pixels = picture(3)
    for name, value in narrow(pixels).items():
        np.testing.assert_allclose(value, narrow(pixels.astype(np.float32))[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("output", "values"), [("logits", 3), ("offsets", 4)])
def test_outputs_follow_the_order_of_the_default_boxes(narrow, output, values):
    joined, *heads = inner(narrow, output, *(f"{stage}_{output}" for stage in HEADS))
    starts = stage_offsets(PAPER)
    for head, start, (cells, shapes) in zip(heads, starts[:-1], HEADS.values(), strict=True):
        for row, column, shape in np.ndindex(cells, cells, shapes):
            index = start + (row * cells + column) * shapes + shape
            assert (joined[0, index] == head[0, row, column, shape * values : (shape + 1) * values]).all()


def test_a_bias_of_one_shape_moves_its_default_boxes_alone(narrow):
    head = narrow.get_layer("conv9_2_logits")
    before, bias = narrow(picture(4))["logits"].numpy(), head.bias.numpy()
    head.bias.assign(bias + np.eye(18)[2 * 3 + 1])  # shape 2 of six, class 1 of three
    moved = narrow(picture(4))["logits"].numpy() - before
    head.bias.assign(bias)
    rows, classes = np.nonzero(np.abs(moved[0]) > 0.5)
    assert rows.tolist() == list(range(8542 + 2, 8692, 6))
    assert set(classes.tolist()) == {1}
    # All of them have the third shape of conv9_2, 162 px at ratio 2.
    np.testing.assert_allclose(default_boxes(PAPER)[rows, 2:] * 300, [[162 * 2**0.5, 162 / 2**0.5]] * 25, rtol=1e-5)


def test_a_spot_of_the_picture_reaches_the_default_boxes_there(narrow):
    # Off the diagonal, so that exchanged rows and columns show.
    pixels = np.full((1, 300, 300, 3), 128, np.float32)
    before = narrow(pixels)["logits"].numpy()
    pixels[:, 60:68, 220:228] = 255
    moved = np.abs(narrow(pixels)["logits"].numpy() - before)[0, :5776].max(axis=1) > 1e-4
    centers = default_boxes(PAPER)[:5776, :2][moved] * 300
    # conv4_3 sees 92 px, its head 2 · 8 more on each side: nothing farther off than 54 + 4 + 4 can change.
    assert moved.sum() > 20
    assert (np.abs(centers - [224, 64]) < 66).all()


@pytest.mark.parametrize(("stage", "side"), [("conv8", 19), ("conv9", 10)])
def test_stride_2_pads_one_pixel_on_each_side(narrow, stage, side):
    features, expected = inner(narrow, f"{stage}_1_relu", f"{stage}_2")
    assert features.shape[1:3] == (side, side)
    kernel, bias = narrow.get_layer(f"{stage}_2").get_weights()
    padded = np.zeros((side + 2, side + 2, features.shape[3]))
    padded[1:-1, 1:-1] = features[0]
    result = np.zeros(expected.shape[1:])
    for row, column in np.ndindex(result.shape[:2]):
        window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        result[row, column] = np.tensordot(window, kernel, axes=3) + bias
    np.testing.assert_allclose(expected[0], result, rtol=1e-4, atol=1e-4 * np.abs(result).max())


def test_only_the_head_sees_the_normalized_conv4_3(narrow):
    features, pooled, normalized = inner(narrow, "conv4_3_relu", "pool4", "conv4_3_norm")
    np.testing.assert_array_equal(pooled, features.reshape(1, 19, 2, 19, 2, -1).max(axis=(2, 4)))
    norms = np.sqrt((features.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
    # 20 at 512 channels; at 64 the scale that leaves each channel its magnitude: 20 · sqrt(64/512).
    np.testing.assert_allclose(normalized, 20 * 0.125**0.5 * features / norms, rtol=1e-4, atol=1e-6)


def test_configuration_and_saving(narrow, tmp_path):
    arguments = {"num_classes": 3, "preset": PAPER.to_plain(), "width": 0.125, "norm": "none"}
    assert narrow.get_config() == {**arguments, "name": "ssd300", "trainable": True}
    again = SSD300.from_config({**narrow.get_config(), "name": "again", "trainable": False})
    assert (again.name, again.trainable, again.count_params()) == ("again", False, narrow.count_params())
    narrow.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is SSD300
    assert loaded.get_config() == narrow.get_config()
    for name, value in narrow(picture(5)).items():
        np.testing.assert_array_equal(loaded(picture(5))[name], value)


def test_a_network_that_an_earlier_version_saved_keeps_its_pixels(narrow):
    restored = SSD300.from_config({**narrow.get_config(), "preset": "paper"})
    assert restored.get_layer("normalization").pixels == VGG16_PIXELS


def test_a_specification_of_ones_own(tmp_path):
    spec = replace(PAPER, pixels=PixelSpec("rgb", (1, 2, 3)), suppression=SuppressionSpec(keep=7))
    model = SSD300(3, preset=spec, width=0.02)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.spec == spec
    assert loaded.get_layer("normalization").pixels == spec.pixels


def test_batch_normalization_follows_every_convolution_but_the_heads(tmp_path):
    model = SSD300(3, width=0.125, norm="batch")
    for name in CONVOLUTIONS:
        assert not model.get_layer(name).use_bias
        assert isinstance(model.get_layer(f"{name}_bn"), keras.layers.BatchNormalization)
        assert model.get_layer(f"{name}_relu").input is model.get_layer(f"{name}_bn").output
        assert model.get_layer(name).filters == CONVOLUTIONS[name][1] // 8
    heads = [layer for layer in convolutions(model) if layer.name not in CONVOLUTIONS]
    assert [head.use_bias for head in heads] == [True] * 12
    assert not {f"{head.name}_bn" for head in heads} & {layer.name for layer in model.layers}
    model(picture(6, count=2), training=True)  # moves the statistics, which must be saved as well
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for name, value in model(picture(7)).items():
        np.testing.assert_array_equal(loaded(picture(7))[name], value)


def test_the_articles_network():
    model = SSD300(4, preset="article", width=0.125)
    assert "pool5" not in {layer.name for layer in model.layers}
    assert isinstance(model.get_layer("conv4_3_norm"), keras.layers.BatchNormalization)
    assert model.get_layer("fc6").input is model.get_layer("conv5_3_relu").output
    assert model.get_layer("normalization").pixels == ARTICLE.pixels
    assert model.spec.name == "article"
    assert shapes_of(model(picture(8))) == {"logits": (1, 8732, 4), "offsets": (1, 8732, 4)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_classes": 1}, "at least 2, got 1"),
        ({"width": 0.0}, r"\(0, 1\], got 0\.0"),
        ({"width": 1.5}, r"\(0, 1\], got 1\.5"),
        ({"norm": "layer"}, "got 'layer'"),
        ({"preset": "ssd512"}, r"paper, .*article; got 'ssd512'"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SSD300(**wrong)


def test_the_real_vgg16_weights_arrive(full, real_data):
    path = real_data / "weights" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    if not path.is_file():
        pytest.skip(f"the real data hold no weights/{path.name}")
    load_weights(full, path)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(full.get_layer("conv1_1").kernel, file["block1_conv1/block1_conv1_W_1:0"])
