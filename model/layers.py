"""The Keras layers that SSD300 needs and Keras does not have."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

# The means of the BGR channels that VGG16 was trained with, in its own order.
VGG16_BGR_MEAN = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable("ssd300")
class PixelNormalization(keras.layers.Layer):
    """RGB pixels 0 to 255 ``[B, H, W, 3]``, any dtype, as the network's input, in the layer's compute dtype.

    Mode ``bgr_mean`` reverses the channels and subtracts VGG16's means; ``unit`` divides by 255.
    """

    def __init__(self, mode: str = "bgr_mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("bgr_mean", "unit"):
            raise ValueError(f"mode must be 'bgr_mean' or 'unit', got {mode!r}")
        self.mode = mode

    def call(self, pixels: Any) -> Any:
        """Normalized pixels, the shape of `pixels`."""
        pixels = ops.cast(pixels, self.compute_dtype)
        if self.mode == "unit":
            return pixels / 255.0
        return ops.flip(pixels, axis=-1) - ops.convert_to_tensor(VGG16_BGR_MEAN, dtype=pixels.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mode": self.mode}


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
