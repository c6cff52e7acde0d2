"""The layers of the network by numbers, and the fused batch normalization against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssd300.model.layers import DilatedConvolution, FusedBatchNormalization, L2Normalization, PixelNormalization
from ssd300.model.spec import SSD_PIXELS, UNIT_PIXELS, VGG16_PIXELS, PixelSpec


def config_round_trip(layer):
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))


def test_pixels_become_bgr_minus_the_means():
    pixels = np.array([[[[0, 100, 255], [1, 2, 3]]]], np.uint8)  # red, green, blue
    # Blue - 104, green - 117, red - 123
    normalized = PixelNormalization()(pixels)
    assert normalized.dtype == tf.float32
    np.testing.assert_array_equal(normalized, [[[[151, -17, -123], [-101, -115, -122]]]])
    # Blue - 103.939, green - 116.779, red - 123.68
    expected = [[[[151.061, -16.779, -123.68], [-100.939, -114.779, -122.68]]]]
    np.testing.assert_allclose(PixelNormalization(VGG16_PIXELS)(pixels), expected, rtol=1e-6)


def test_channels_means_and_scale_are_values():
    pixels = np.array([[[[1, 2, 3]]]], np.uint8)
    # ((1, 2, 3) - (1, 1, 1)) / 4
    np.testing.assert_array_equal(PixelNormalization(PixelSpec("rgb", (1, 1, 1), 4))(pixels), [[[[0, 0.25, 0.5]]]])


def test_unit_pixels_keep_their_order():
    pixels = np.array([[[[0, 51, 255]]]], np.uint8)
    np.testing.assert_allclose(PixelNormalization(UNIT_PIXELS)(pixels), [[[[0.0, 0.2, 1.0]]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("mode", [SSD_PIXELS, UNIT_PIXELS], ids=["bgr", "unit"])
def test_pixels_of_any_number_type_give_the_same(mode, dtype):
    pixels = np.arange(48).reshape(1, 4, 4, 3) * 5
    expected = PixelNormalization(mode)(pixels.astype(np.float32))
    np.testing.assert_array_equal(PixelNormalization(mode)(pixels.astype(dtype)), expected)


def test_an_unknown_pixel_mode_is_refused():
    with pytest.raises(ValueError, match="'bgr_mean' or 'unit', got 'rgb'"):
        PixelNormalization(mode="rgb")


def test_a_layer_that_an_earlier_version_saved_keeps_its_pixels():
    assert PixelNormalization.from_config({"name": "normalization", "mode": "bgr_mean"}).pixels == VGG16_PIXELS
    assert PixelNormalization.from_config({"name": "normalization", "mode": "unit"}).pixels == UNIT_PIXELS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"channels": "gbr"}, "got 'gbr'"), ({"mean": (1.0,)}, "three means"), ({"scale": 0.0}, "above 0")],
)
def test_wrong_pixels_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PixelSpec(**wrong)


def test_l2_normalization_divides_by_the_norm_over_channels_and_scales():
    features = np.array([[[[3.0, 4.0], [0.0, -2.0]]]], np.float32)
    layer = L2Normalization()
    # (3, 4) / 5 · 20 and (0, -2) / 2 · 20: each position by its own norm.
    np.testing.assert_allclose(layer(features), [[[[12.0, 16.0], [0.0, -20.0]]]], rtol=1e-6)
    layer.scale.assign([1.0, 10.0])  # one scale a channel
    np.testing.assert_allclose(layer(features), [[[[0.6, 8.0], [0.0, -10.0]]]], rtol=1e-6)
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2,)]


def test_l2_normalization_learns_its_scale():
    features = tf.constant([[[[3.0, 4.0], [0.0, -2.0]]]])
    layer = L2Normalization()
    layer.build(features.shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(features))
    # The sum over positions of the features divided by their norms: .6 + 0 and .8 - 1.
    np.testing.assert_allclose(tape.gradient(loss, layer.scale.value), [0.6, -0.2], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_l2_normalization_keeps_a_position_of_zeros_at_zero_with_a_finite_gradient(dtype):
    # Behind a ReLU, as in the network, where a flat part of an image can leave no channel active.
    layer = L2Normalization(dtype=dtype)
    features = tf.zeros([1, 1, 2, 8], layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(features)
        normalized = layer(tf.nn.relu(features))
        loss = tf.reduce_sum(tf.cast(normalized, tf.float32))
    assert (normalized.numpy() == 0).all()
    gradient = tape.gradient(loss, features).numpy()
    assert np.isfinite(gradient).all()


def test_l2_normalization_in_float16_does_not_overflow():
    layer = L2Normalization(dtype="mixed_float16")
    # 512 · 200² is 2e7, and float16 ends at 65504. All channels equal: 20 / sqrt(512) each.
    normalized = layer(np.full((1, 2, 2, 512), 200.0, np.float16))
    assert normalized.dtype == tf.float16
    np.testing.assert_allclose(normalized, np.full((1, 2, 2, 512), 20 / np.sqrt(512)), rtol=1e-3)
    assert layer.scale.dtype == "float32"


BATCH = np.random.default_rng(1).normal(3.0, 2.0, (4, 3, 5, 6)).astype(np.float32)


def pair_of_normalizations(dtype="float32", **options):
    """The fused layer and Keras's own with the same random weights."""
    random = np.random.default_rng(2)
    weights = [random.uniform(0.5, 2.0, 6).astype(np.float32) for _ in range(4)]
    pair = [
        kind(momentum=0.9, epsilon=1e-5, dtype=dtype, **options)
        for kind in (FusedBatchNormalization, keras.layers.BatchNormalization)
    ]
    for layer in pair:
        layer.build(BATCH.shape)
        layer.set_weights(weights)
    return pair


def train(layer, inputs, direction):
    """Output of a training call, and gradients of its product with `direction` for the inputs, gamma and beta."""
    inputs = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * direction)
    return outputs, tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])


def test_fused_normalization_by_numbers():
    layer = FusedBatchNormalization(momentum=0.9, epsilon=0.0)
    # One channel with 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9)/4 = 5, of the batch and not the unbiased 20/3.
    outputs = layer(np.array([1, 3, 5, 7], np.float32).reshape(2, 2, 1, 1), training=True)
    np.testing.assert_allclose(np.ravel(outputs), np.array([-3, -1, 1, 3]) / np.sqrt(5), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, [0.9 * 0 + 0.1 * 4], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 * 1 + 0.1 * 5], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("mixed_float16", 2e-2)])
def test_fused_training_equals_keras(dtype, tolerance):
    fused, reference = pair_of_normalizations(dtype)
    inputs = BATCH.astype(fused.compute_dtype)
    direction = np.random.default_rng(3).normal(size=BATCH.shape).astype(np.float32)
    for _ in range(2):  # the second step starts from moved statistics
        outputs, gradients = train(fused, inputs, direction)
        expected, expected_gradients = train(reference, inputs, direction)
        assert outputs.dtype == expected.dtype
        np.testing.assert_allclose(outputs, expected, rtol=tolerance, atol=tolerance)
        for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
            scale = np.abs(expected_gradient).max()
            np.testing.assert_allclose(gradient, expected_gradient, rtol=tolerance, atol=tolerance * scale)
    for moved, expected in zip(fused.non_trainable_weights, reference.non_trainable_weights, strict=True):
        np.testing.assert_allclose(moved, expected, rtol=tolerance, atol=tolerance)


def test_fused_inference_equals_keras_and_moves_nothing():
    fused, reference = pair_of_normalizations()
    before = fused.get_weights()
    for training in (False, None):
        np.testing.assert_array_equal(fused(BATCH, training=training), reference(BATCH, training=training))
    for weight, expected in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_frozen_fused_normalization_infers_also_in_training():
    fused, reference = pair_of_normalizations(trainable=False)
    before = fused.get_weights()
    np.testing.assert_array_equal(fused(BATCH, training=True), reference(BATCH, training=False))
    for weight, expected in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_fused_normalization_updates_its_statistics_inside_a_graph():
    fused, reference = pair_of_normalizations()
    tf.function(lambda x: fused(x, training=True))(tf.constant(BATCH))
    reference(BATCH, training=True)
    np.testing.assert_allclose(fused.moving_mean, reference.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(fused.moving_variance, reference.moving_variance, rtol=1e-5)


def dilated_pair(kernel_size, dilation, channels, filters, **options):
    """The fast layer and Keras's own with the same weights."""
    layers = [
        kind(filters, kernel_size, dilation_rate=dilation, padding="same", **options)
        for kind in (DilatedConvolution, keras.layers.Conv2D)
    ]
    for layer in layers:
        layer.build((None, None, None, channels))
    random = np.random.default_rng(5)
    layers[0].set_weights([random.normal(size=array.shape) for array in layers[0].get_weights()])
    layers[1].set_weights(layers[0].get_weights())
    return layers


@pytest.mark.parametrize(
    ("shape", "kernel_size", "dilation"),
    [((2, 19, 13, 5), 3, 6), ((1, 5, 7, 3), 3, 6), ((3, 9, 8, 4), (5, 3), (1, 2)), ((2, 6, 4, 3), (1, 3), 3)],
)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("graph", [True, False])
def test_a_dilated_convolution_and_its_gradients_equal_keras(shape, kernel_size, dilation, use_bias, graph):
    layers = dilated_pair(kernel_size, dilation, shape[-1], 7, use_bias=use_bias)
    random = np.random.default_rng(3)
    features = tf.constant(random.normal(size=shape), tf.float32)
    upstream = tf.constant(random.normal(size=(*shape[:-1], 7)), tf.float32)

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features)
            total = tf.reduce_sum(outputs * upstream)
        return [outputs, *tape.gradient(total, [features, *[one.value for one in layer.trainable_variables]])]

    fast, slow = (tf.function(run)(layer) if graph else run(layer) for layer in layers)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_dilated_convolution_by_numbers():
    layer = DilatedConvolution(1, 3, dilation_rate=2)
    layer.build((None, 3, 5, 1))
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3, 1, 1)
    layer.set_weights([kernel, np.array([0.5])])
    image = np.zeros((1, 3, 5, 1), np.float32)
    image[0, 2, 3] = 10
    # The pixel at (2, 3) lies two below and two right of (0, 1), where the kernel's last tap, 9, sees it; the kernel's
    # other taps meet it from (0, 3) (the 8), from (2, 1) (the 6) and from (2, 3) itself (the 5).
    expected = np.full((3, 5), 0.5)
    expected[0, 1], expected[0, 3], expected[2, 1], expected[2, 3] = 90.5, 80.5, 60.5, 50.5
    np.testing.assert_array_equal(layer(image)[0, :, :, 0], expected)


@pytest.mark.parametrize("wrong", [{"kernel_size": 2}, {"strides": 2}, {"padding": "valid"}])
def test_a_dilated_convolution_that_is_not_fast_is_refused(wrong):
    with pytest.raises(ValueError, match="odd kernel"):
        DilatedConvolution(**{"filters": 4, "kernel_size": 3, **wrong})


@pytest.mark.parametrize(
    ("layer", "attributes"),
    [
        (PixelNormalization(UNIT_PIXELS, name="pixels"), {"pixels": UNIT_PIXELS, "name": "pixels"}),
        (L2Normalization(7.5, name="norm"), {"initial_scale": 7.5, "name": "norm"}),
        (DilatedConvolution(4, (5, 3), dilation_rate=6, name="fc6"), {"filters": 4, "dilation_rate": (6, 6)}),
        (FusedBatchNormalization(momentum=0.8, epsilon=1e-4, name="bn"), {"momentum": 0.8, "epsilon": 1e-4}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else "",
)
def test_a_layer_comes_back_from_its_configuration(layer, attributes):
    restored = config_round_trip(layer)
    assert type(restored) is type(layer)
    assert restored.get_config() == layer.get_config()
    for name, value in attributes.items():
        assert getattr(restored, name) == value
