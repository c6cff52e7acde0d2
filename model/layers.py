"""The Keras layers that SSD300 needs and Keras does not have."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from ssd300.model.spec import SSD_PIXELS, UNIT_PIXELS, VGG16_PIXELS, PixelSpec

# Modes of earlier versions, which saved models name.
_MODES = {"bgr_mean": VGG16_PIXELS, "unit": UNIT_PIXELS}


@keras.saving.register_keras_serializable("ssd300")
class PixelNormalization(keras.layers.Layer):
    """RGB pixels 0 to 255 ``[B, H, W, 3]``, any dtype, as the network's input, in the layer's compute dtype.

    Args:
        pixels: order of the channels, means and scale; by default the released SSD's.
        mode: what layers of earlier versions were saved with instead, ``bgr_mean`` (VGG16's means) or ``unit``.
    """

    def __init__(self, pixels: PixelSpec | Mapping[str, Any] = SSD_PIXELS, mode: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if mode is not None:
            if mode not in _MODES:
                raise ValueError(f"mode must be 'bgr_mean' or 'unit', got {mode!r}")
            pixels = _MODES[mode]
        if not isinstance(pixels, PixelSpec):
            pixels = PixelSpec(pixels["channels"], tuple(pixels["mean"]), pixels["scale"])
        self.pixels = pixels

    def call(self, pixels: Any) -> Any:
        """Normalized pixels, the shape of `pixels`."""
        pixels = ops.cast(pixels, self.compute_dtype)
        if self.pixels.channels == "bgr":
            pixels = ops.flip(pixels, axis=-1)
        if any(self.pixels.mean):
            pixels = pixels - ops.convert_to_tensor(self.pixels.mean, dtype=pixels.dtype)
        return pixels if self.pixels.scale == 1 else pixels / self.pixels.scale

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        pixels = {**asdict(self.pixels), "mean": list(self.pixels.mean)}
        return {**super().get_config(), "pixels": pixels}


@keras.saving.register_keras_serializable("ssd300")
class L2Normalization(keras.layers.Layer):
    """Divides each position by the L2 norm over its channels and multiplies by a learned scale per channel.

    Paper section 3.1 and ParseNet; Caffe's Normalize layer with ``across_spatial: false, channel_shared: false``.

    Args:
        initial_scale: start of every channel's scale.
    """

    # Caffe's own.
    EPSILON = 1e-10

    def __init__(self, initial_scale: float = 20.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_scale = initial_scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the scale, one number per channel."""
        self.scale = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.initial_scale), name="scale"
        )

    def call(self, features: Any) -> Any:
        """Normalized features, the shape and dtype of `features`."""
        # The squares of 512 channels overflow float16.
        wide = ops.cast(features, "float32")
        squares = ops.sum(ops.square(wide), axis=-1, keepdims=True)
        # A position where no channel is active stays at zero and gets no gradient: 20 / sqrt(EPSILON) of one would be
        # infinite in float16, and NaN after the ReLU.
        inverse = ops.where(squares > 0, ops.rsqrt(squares + self.EPSILON), 0.0)
        return ops.cast(wide * inverse * ops.cast(self.scale, "float32"), features.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "initial_scale": self.initial_scale}


@keras.saving.register_keras_serializable("ssd300")
class DilatedConvolution(keras.layers.Conv2D):
    """Keras's dilated convolution, several times faster on a CPU: fc6, of stride 1 and padding ``same``.

    Keras's own goes through ``tf.nn.convolution``, which rearranges the input into one small image per offset of the
    dilation and convolves those. Here the kernel itself is dilated, and the gradients are convolutions too: that of
    the input with the turned kernel, that of the kernel as `_kernel_gradient` says. On a GPU it is Keras's own, whose
    kernels are fast there.

    Args:
        filters: output channels.
        kernel_size: an odd number.
        dilation_rate: distance of the kernel's taps.
        **kwargs: of ``keras.layers.Conv2D``.
    """

    def __init__(self, filters: int, kernel_size: Any, *, dilation_rate: Any = 1, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, dilation_rate=dilation_rate, **{"padding": "same", **kwargs})
        if (
            self.padding != "same"
            or set(self.strides) != {1}
            or self.groups != 1
            or not all(k % 2 for k in self.kernel_size)
        ):
            raise ValueError(
                "a fast dilated convolution has an odd kernel, a stride of 1, one group and the padding 'same', got "
                f"kernel_size={self.kernel_size}, strides={self.strides}, groups={self.groups}, "
                f"padding={self.padding!r}"
            )

    def call(self, inputs: Any) -> Any:
        """Features ``[B, H, W, filters]``."""
        if tf.config.list_logical_devices("GPU"):
            return super().call(inputs)
        outputs = _dilated(inputs, tf.convert_to_tensor(self.kernel), self.dilation_rate)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)


def _dilated(inputs: tf.Tensor, kernel: tf.Tensor, dilation: tuple[int, int]) -> tf.Tensor:
    """A dilated convolution of stride 1 and padding ``same`` whose gradients are convolutions without rearranging."""

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
            return (
                tf.nn.conv2d(upstream, turned, 1, "SAME", dilations=dilation),
                _kernel_gradient(inputs, upstream, kernel.shape[:2], dilation),
            )

        return tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation), gradients

    return convolve(inputs, kernel)


def _kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, kernel_size: tuple[int, int], dilation: tuple[int, int]
) -> tf.Tensor:
    """The gradient of a dilated kernel ``[K, L, C, D]``, as a convolution of columns.

    For each column of the kernel, the sum over the rows of the images is a convolution down the rows, with the upstream
    gradient as its kernel; image and position in a row are its channels, and the input's channels are its width. It is
    faster than TensorFlow's own kernel for this gradient, which lacks dilation without oneDNN.
    """
    (taps, columns), (down, across) = kernel_size, dilation
    batch = tf.shape(inputs)[0]
    height, width, channels = inputs.shape[1:]
    above, left = down * (taps // 2), across * (columns // 2)
    padded = tf.pad(inputs, ((0, 0), (0, 0), (left, left), (0, 0)))
    rows = tf.transpose(padded, (1, 3, 2, 0))  # [H, C, W, B]: a shift along a row stays one piece
    shifted = [rows[:, :, across * i : across * i + width] for i in range(columns)]
    shifted = tf.stack([tf.reshape(one, (height, channels, width * batch)) for one in shifted])
    weights = tf.reshape(tf.transpose(upstream, (1, 2, 0, 3)), (height, 1, width * batch, upstream.shape[-1]))
    sums = tf.nn.conv2d(shifted, weights, (1, down, 1, 1), ((0, 0), (above, above), (0, 0), (0, 0)))
    return tf.transpose(sums, (1, 0, 2, 3))


@keras.saving.register_keras_serializable("ssd300")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalization over the channels of ``[B, H, W, C]``, by TensorFlow's fused kernel when training.

    Keras 3 computes the moments and the normalization as separate operations; on a CPU that takes a third of the time
    of a narrow network's step. Weights, inference and configuration are Keras's own.

    Args:
        momentum: of the moving mean and variance.
        epsilon: added to the variance.
        **kwargs: of ``keras.layers.Layer``; the kernel always has a scale and an offset, over the last axis.
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)
        if not (self.center and self.scale) or self.axis not in (-1, [-1]):
            raise ValueError(
                "a fused batch normalization has a scale and an offset over the last axis, "
                f"got scale={self.scale}, center={self.center}, axis={self.axis}"
            )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalized features, the shape and dtype of `inputs`."""
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True
        )
        # The kernel gives the unbiased variance; Keras keeps the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs
