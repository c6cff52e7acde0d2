"""Photometric distortion (paper section 2.2 via Howard 2013; Caffe's DistortImage), one fused pass over the pixels.

Hue and saturation are those of HSV. Both leave a pixel's largest channel, its value, as it is, and the hue of a pixel
times its chroma is a difference of channels; so neither needs a conversion to HSV and back.
"""

from typing import NamedTuple

import tensorflow as tf

from ssd300.preprocessing.augmentation.settings import Augmentation

NUMBER_OF_DRAWS = 9
_SMALLEST = 1e-9  # keeps the division of a gray pixel's 0 by its chroma of 0 finite


class Distortion(NamedTuple):
    """What happens to the colors of images; each float32 ``[B]``, or ``[]`` of a single one."""

    brightness: tf.Tensor  # what is added, in levels of 255
    contrast_first: tf.Tensor  # factor before saturation and hue
    saturation: tf.Tensor  # factor
    hue: tf.Tensor  # turn, as a fraction of the circle
    contrast_last: tf.Tensor  # factor after saturation and hue


def draw_distortions(draws: tf.Tensor, augmentation: Augmentation) -> Distortion:
    """A distortion for each image; steps that are not applied get the value that changes nothing.

    Brightness comes first; contrast comes next or, as often, last; saturation precedes hue.

    Args:
        draws: uniform random numbers in [0, 1), float32 ``[B, NUMBER_OF_DRAWS]``.
        augmentation: which steps, their ranges and probability.
    """
    applied = draws[:, :4] < augmentation.photometric_probability
    first = draws[:, 8] < 0.5

    def drawn(number: int, span: tuple[float, float] | None, neutral: float) -> tf.Tensor:
        low, high = (neutral, neutral) if span is None else span
        return tf.where(applied[:, number], low + draws[:, 4 + number] * (high - low), neutral)

    def around(limit: float | None) -> tuple[float, float] | None:
        return None if limit is None else (-limit, limit)

    contrast = drawn(1, augmentation.contrast, 1.0)
    hue = None if augmentation.hue is None else augmentation.hue / 360
    return Distortion(
        drawn(0, around(augmentation.brightness), 0.0),
        tf.where(first, contrast, 1.0),
        drawn(2, augmentation.saturation, 1.0),
        drawn(3, around(hue), 0.0),
        tf.where(first, 1.0, contrast),
    )


def distort(pixels: tf.Tensor, distortion: Distortion, *, saturation: bool = True, hue: bool = True) -> tf.Tensor:
    """Applies a distortion.

    Caffe's contrast pivots on black: it multiplies. Every step ends within 0 to 255, as Caffe's does; unlike Caffe's
    none rounds.

    Args:
        pixels: RGB, float32 ``[H, W, 3]``, 0 to 255.
        distortion: of this image.
        saturation: False leaves the step out, for a distortion whose saturation is 1.
        hue: False leaves the step out, for a distortion whose hue is 0.

    Returns:
        float32 ``[H, W, 3]``.
    """
    pixels = _within(_within(pixels + distortion.brightness) * distortion.contrast_first)
    if saturation or hue:
        # Channels first: XLA makes vector instructions of whole planes.
        planes = tf.transpose(pixels, [2, 0, 1])
        factor = distortion.saturation if saturation else tf.constant(1.0)
        planes = _colored(planes, factor, 6 * distortion.hue if hue else None)
        pixels = tf.transpose(planes, [1, 2, 0])
    return _within(pixels * distortion.contrast_last)


def _colored(planes: tf.Tensor, factor: tf.Tensor, turn: tf.Tensor | None) -> tf.Tensor:
    """Channels ``[3, H, W]`` after the saturation times `factor` and the hue plus `turn` sixths of the circle.

    In HSV a channel is ``value - chroma * f(hue)``, where f rises from 0 to 1 over a sixth of the circle, stays 1 over
    two, falls to 0 over the next and stays 0 over the last two; green and blue lag behind red by two and four sixths.
    All hues here are times the chroma: no division.
    """
    value = tf.reduce_max(planes, axis=0)  # [H, W]
    chroma = value - tf.reduce_min(planes, axis=0)
    # The saturation, chroma over value, ends at 1.
    share = _smaller(factor + tf.zeros_like(chroma), value / (chroma + _SMALLEST))
    if turn is None:
        return value[None] - share[None] * (value[None] - planes)
    red, green, blue = tf.unstack(planes)
    hue = tf.where(
        red >= value,
        green - blue,
        tf.where(green >= value, 2 * chroma + (blue - red), 4 * chroma + (red - green)),
    )
    # Red's f begins to rise at five sixths after the hue 0. A turn is half a circle at most, so that the sum is
    # positive and below three circles.
    circle = 6 * chroma
    hue = hue + (turn + 5) * chroma
    hue = tf.where(hue >= circle, hue - circle, hue)
    hue = tf.where(hue >= circle, hue - circle, hue)
    hues = hue[None] - tf.constant([0.0, 2.0, 4.0])[:, None, None] * chroma[None]  # [3, H, W]
    hues = tf.where(hues < 0, hues + circle[None], hues)
    lacks = _larger(_smaller(_smaller(hues, 4 * chroma[None] - hues), chroma[None]), 0.0)  # chroma * f
    return value[None] - share[None] * lacks


def _within(channel: tf.Tensor) -> tf.Tensor:
    return _smaller(_larger(channel, 0.0), 255.0)


# tf.maximum and tf.minimum propagate NaN, which costs XLA several instructions per number; these take one.
def _larger(first: tf.Tensor, second: tf.Tensor | float) -> tf.Tensor:
    return tf.where(first > second, first, second)


def _smaller(first: tf.Tensor, second: tf.Tensor | float) -> tf.Tensor:
    return tf.where(first < second, first, second)
