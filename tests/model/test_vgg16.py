"""VGG16: its shape, and reading its weights from a file in the layout of Keras's applications."""

import h5py
import keras
import numpy as np
import pytest

from ssd300.model import vgg16
from ssd300.model.spec import UNIT_PIXELS, VGG16_PIXELS
from ssd300.model.ssd300 import SSD300

# (block, convolution, channels) of configuration D.
CONVOLUTIONS = [
    *[(1, i, 64) for i in (1, 2)],
    *[(2, i, 128) for i in (1, 2)],
    *[(3, i, 256) for i in (1, 2, 3)],
    *[(4, i, 512) for i in (1, 2, 3)],
    *[(5, i, 512) for i in (1, 2, 3)],
]
REAL_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def write_weights(path, convolutions, names=str.encode):
    """A file as Keras's `save_weights` wrote it for VGG16; returns kernel and bias by the model's layer names."""
    random, written, channels = np.random.default_rng(0), {}, 3
    with h5py.File(path, "w") as file:
        for block, index, wide in convolutions:
            stored = f"block{block}_conv{index}"
            arrays = {
                f"{stored}_W_1:0": random.normal(size=(3, 3, channels, wide)).astype(np.float32),
                f"{stored}_b_1:0": random.normal(size=wide).astype(np.float32),
            }
            group = file.create_group(stored)
            group.attrs["weight_names"] = [names(name) for name in arrays]
            for name, array in arrays.items():
                group[name] = array
            written[f"conv{block}_{index}"] = list(arrays.values())
            channels = wide
    return written


def narrow(convolutions=CONVOLUTIONS):
    """The convolutions of a network of width .125."""
    return [(block, index, wide // 8) for block, index, wide in convolutions]


@pytest.fixture(scope="module")
def model():
    """A narrow network: what a file must hold follows from the model, so narrow files serve."""
    return SSD300(3, width=0.125)


@pytest.mark.parametrize("names", [str.encode, str], ids=["bytes", "text"])
def test_load_weights_fills_all_thirteen_convolutions(model, tmp_path, names):
    written = write_weights(tmp_path / "vgg16.h5", narrow(), names)
    vgg16.load_weights(model, tmp_path / "vgg16.h5")
    assert len(written) == 13
    for name, (kernel, bias) in written.items():
        stored_kernel, stored_bias = model.get_layer(name).get_weights()
        np.testing.assert_array_equal(stored_kernel, kernel)
        np.testing.assert_array_equal(stored_bias, bias)


def test_load_weights_leaves_the_other_layers_alone(model, tmp_path):
    vgg = {f"conv{block}_{index}" for block, index, _ in CONVOLUTIONS}
    others = [layer for layer in model.layers if layer.weights and layer.name not in vgg]
    assert {"fc6", "conv8_1", "conv4_3_norm", "conv4_3_logits"} <= {layer.name for layer in others}
    before = [layer.get_weights() for layer in others]
    write_weights(tmp_path / "vgg16.h5", narrow())
    vgg16.load_weights(model, str(tmp_path / "vgg16.h5"))
    for layer, weights in zip(others, before, strict=True):
        for weight, expected in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_imagenet_is_downloaded(model, tmp_path, monkeypatch):
    written, asked = write_weights(tmp_path / "cached.h5", narrow()), []

    def get_file(*arguments, **options):
        asked.append((arguments, options))
        return str(tmp_path / "cached.h5")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    vgg16.load_weights(model, "imagenet")
    np.testing.assert_array_equal(model.get_layer("conv5_3").get_weights()[0], written["conv5_3"][0])
    [((name, address), options)] = asked
    assert name == REAL_FILE
    assert address.endswith(f"/vgg16/{REAL_FILE}")
    assert len(options["file_hash"]) == 32  # MD5: a damaged download is refused


def add_classifier(path, channels=64, units=512):
    """Adds the classifier's dense layers, of a network of width .125."""
    random, written = np.random.default_rng(1), {}
    with h5py.File(path, "a") as file:
        for stored, inputs in (("fc1", 49 * channels), ("fc2", units)):
            arrays = [random.normal(size=(inputs, units)), random.normal(size=units)]
            file.create_group(stored).attrs["weight_names"] = [f"{stored}_W_1:0", f"{stored}_b_1:0"]
            for end, array in zip("Wb", arrays, strict=True):
                file[stored][f"{stored}_{end}_1:0"] = array.astype(np.float32)
            written[stored] = [array.astype(np.float32) for array in arrays]
    return written


def test_a_classifier_s_dense_layers_are_decimated(model, tmp_path):
    write_weights(tmp_path / "vgg16.h5", narrow())
    dense = add_classifier(tmp_path / "vgg16.h5")
    vgg16.load_weights(model, tmp_path / "vgg16.h5")
    kernel, bias = model.get_layer("fc6").get_weights()
    assert kernel.shape == (3, 3, 64, 128)
    for row, column, channel, unit in ((0, 0, 0, 0), (1, 2, 5, 7), (2, 1, 63, 127)):
        # Rows and columns 0, 3, 6 of 7; of the units every fourth; a position's channels lie together.
        place = ((3 * row) * 7 + 3 * column) * 64 + channel
        assert kernel[row, column, channel, unit] == dense["fc1"][0][place, 4 * unit]
    np.testing.assert_array_equal(bias, dense["fc1"][1][::4])
    kernel, bias = model.get_layer("fc7").get_weights()
    np.testing.assert_array_equal(kernel[0, 0], dense["fc2"][0][::4, ::4])
    np.testing.assert_array_equal(bias, dense["fc2"][1][::4])


def test_a_decimated_layer_is_the_dense_one_where_nothing_is_left_out():
    random = np.random.default_rng(2)
    kernel, bias = random.normal(size=(3 * 3 * 5, 6)), random.normal(size=6)
    convolution, same = vgg16.decimate(kernel, bias, (3, 3, 5, 6), size=3)
    patch = random.normal(size=(3, 3, 5))
    expected = patch.reshape(-1) @ kernel + bias
    np.testing.assert_allclose(np.einsum("hwi,hwio->o", patch, convolution) + same, expected)


@pytest.mark.parametrize("shape", [(3, 3, 60, 128), (3, 3, 64, 100), (9, 9, 64, 128)])
def test_sizes_that_cannot_be_decimated_are_refused(shape):
    with pytest.raises(ValueError, match=r"a dense layer of \(3136, 512\) cannot be decimated"):
        vgg16.decimate(np.zeros((49 * 64, 512)), np.zeros(512), shape, size=7)


def test_a_classifier_of_another_size_is_named(model, tmp_path):
    write_weights(tmp_path / "vgg16.h5", narrow())
    add_classifier(tmp_path / "vgg16.h5", channels=60)
    with pytest.raises(ValueError, match=r"vgg16\.h5: fc1: a dense layer of \(2940, 512\)"):
        vgg16.load_weights(model, tmp_path / "vgg16.h5")


def test_the_full_file_is_downloaded_on_request(model, tmp_path, monkeypatch):
    write_weights(tmp_path / "cached.h5", narrow())
    dense, asked = add_classifier(tmp_path / "cached.h5"), []
    monkeypatch.setattr(keras.utils, "get_file", lambda name, *_, **__: asked.append(name) or tmp_path / "cached.h5")
    vgg16.load_weights(model, "imagenet-full")
    assert asked == ["vgg16_weights_tf_dim_ordering_tf_kernels.h5"]
    np.testing.assert_array_equal(model.get_layer("fc7").get_weights()[1], dense["fc2"][1][::4])


def test_a_missing_file_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"none\.h5: no such file"):
        vgg16.load_weights(model, tmp_path / "none.h5")


def test_a_file_without_a_convolution_is_refused(model, tmp_path):
    write_weights(tmp_path / "vgg16.h5", narrow(CONVOLUTIONS[:-1]))
    with pytest.raises(ValueError, match=r"vgg16\.h5: expected .* block5_conv3 is not there"):
        vgg16.load_weights(model, tmp_path / "vgg16.h5")


def test_a_file_of_another_width_is_refused(model, tmp_path):
    write_weights(tmp_path / "vgg16.h5", CONVOLUTIONS[:1])
    with pytest.raises(
        ValueError, match=r"block1_conv1 has shapes \[\(3, 3, 3, 64\), \(64,\)\].*expects \[\(3, 3, 3, 8\), \(8,\)\]"
    ):
        vgg16.load_weights(model, tmp_path / "vgg16.h5")


def test_a_network_with_batch_normalization_is_refused(tmp_path):
    write_weights(tmp_path / "vgg16.h5", narrow())
    with pytest.raises(ValueError, match="without batch normalization"):
        vgg16.load_weights(SSD300(3, width=0.125, norm="batch"), tmp_path / "vgg16.h5")


def test_the_real_file_fits_the_full_network(real_data):
    path = real_data / "weights" / REAL_FILE
    if not path.is_file():
        pytest.skip(f"the real data hold no weights/{REAL_FILE}")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, vgg16.features(inputs))  # as SSD300's, without the weight of the later layers
    vgg16.load_weights(model, path)
    with h5py.File(path, "r") as file:
        for block, index, wide in CONVOLUTIONS:
            group = file[f"block{block}_conv{index}"]
            kernel, bias = model.get_layer(f"conv{block}_{index}").get_weights()
            assert kernel.shape[-1] == wide
            np.testing.assert_array_equal(kernel, group[f"block{block}_conv{index}_W_1:0"])
            np.testing.assert_array_equal(bias, group[f"block{block}_conv{index}_b_1:0"])


def test_the_classifier_has_the_papers_parameters():
    model = vgg16.VGG16()
    assert model.count_params() == 138_357_544
    assert model.output_shape == (None, 1000)
    # Five poolings: 224 / 32 = 7; 7 · 7 · 512 inputs of the first dense layer.
    assert model.get_layer("pool5").output.shape[1:] == (7, 7, 512)
    assert tuple(model.get_layer("fc6").kernel.shape) == (25088, 4096)
    assert tuple(model.get_layer("fc7").kernel.shape) == (4096, 4096)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.name for layer in convolutions] == [f"conv{block}_{index}" for block, index, _ in CONVOLUTIONS]
    assert [layer.filters for layer in convolutions] == [wide for _, _, wide in CONVOLUTIONS]


def test_a_small_classifier_gives_probabilities():
    model = vgg16.VGG16(5, image_size=32)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    probabilities = model(pixels).numpy()
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    # Reversed channels and other means: the two kinds of pixels are told apart.
    other = vgg16.VGG16(5, image_size=32, pixels=UNIT_PIXELS)
    assert other.get_layer("normalization").pixels == UNIT_PIXELS
    assert model.get_layer("normalization").pixels == VGG16_PIXELS


def test_a_classifier_of_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        vgg16.VGG16(1)


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure on https://x: None -- [Errno 111] Connection refused")

    monkeypatch.setattr(vgg16.keras.utils, "get_file", fail)
    with pytest.raises(ValueError, match=r"cannot be downloaded: URL fetch failure.*give the file vgg16_.*\(none\)"):
        vgg16.load_weights(None, "imagenet")
