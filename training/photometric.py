"""Photometric distortion (paper section 2.2 via Howard 2013, Caffe's DistortImage), stateless TensorFlow operations."""

from collections.abc import Callable

import tensorflow as tf

BRIGHTNESS = 32.0  # most that is added, of 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18 / 180  # of the colour circle: 18 of OpenCV's 180 units, 36 degrees


def brightness(pixels: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Adds `delta` to float32 pixels 0 to 255."""
    return tf.clip_by_value(pixels + delta, 0.0, 255.0)


def contrast(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies float32 pixels 0 to 255 by `factor`: Caffe's contrast pivots on black, not on the mean."""
    return tf.clip_by_value(pixels * factor, 0.0, 255.0)


def saturation(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation (HSV) of float32 RGB pixels 0 to 255 by `factor`."""
    return tf.clip_by_value(tf.image.adjust_saturation(pixels, factor), 0.0, 255.0)


def hue(pixels: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Turns the hue (HSV) of float32 RGB pixels 0 to 255 by `delta`, a fraction of the circle."""
    return tf.clip_by_value(tf.image.adjust_hue(pixels, delta), 0.0, 255.0)


def distort(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Brightness, contrast, saturation and hue at random, each with probability .5.

    Brightness comes first; contrast comes next or, as often, last; saturation precedes hue.

    Args:
        pixels: RGB uint8 ``[H, W, 3]``.
        seed: of stateless random operations, two integers.

    Returns:
        uint8 ``[H, W, 3]``.
    """
    chance = tf.random.stateless_uniform((5,), tf.random.experimental.stateless_fold_in(seed, 0))
    amount = tf.random.stateless_uniform((4,), tf.random.experimental.stateless_fold_in(seed, 1))

    def between(low: float, high: float, index: int) -> tf.Tensor:
        return low + amount[index] * (high - low)

    def maybe(applies: tf.Tensor, operation: Callable, image: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return tf.cond(applies, lambda: operation(image, value), lambda: image)

    contrast_first = chance[4] < 0.5
    has_contrast, factor = chance[1] < 0.5, between(*CONTRAST, 1)
    image = tf.cast(pixels, tf.float32)
    image = maybe(chance[0] < 0.5, brightness, image, between(-BRIGHTNESS, BRIGHTNESS, 0))
    image = maybe(has_contrast & contrast_first, contrast, image, factor)
    image = maybe(chance[2] < 0.5, saturation, image, between(*SATURATION, 2))
    image = maybe(chance[3] < 0.5, hue, image, between(-HUE, HUE, 3))
    image = maybe(has_contrast & ~contrast_first, contrast, image, factor)
    return tf.cast(tf.round(image), tf.uint8)
