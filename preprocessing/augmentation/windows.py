"""Expansion and IoU-constrained crop (paper section 2.2; Caffe's ExpandImage and batch samplers), for whole batches.

Both decide which window of the plane a training image shows. A window is a corner box in fractions of the image;
after an expansion it reaches beyond [0, 1]. Nothing here looks at pixels.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from ssd300.model import boxes as box_ops
from ssd300.model.spec import IMAGE_SIZE
from ssd300.preprocessing.augmentation.settings import Augmentation

_EXPANSION_DRAWS, _CROP_DRAWS = 4, 4  # random numbers of an expansion and of a single crop
_SLIVER = 16  # pixels of the input; where less of an image is visible, whole pixels would distort it too much


class Placement(NamedTuple):
    """Which pixels of an image go where in the network's input.

    Attributes:
        windows: the windows in which boxes meet the pixels, float32 ``[B, 4]``.
        source: top, left, height and width of the visible part in the image, pixels, int32 ``[B, 4]``.
        target: top, left, height and width of the same part in the input, pixels, int32 ``[B, 4]``; height and width
            are 0 where nothing of the image is visible.
    """

    windows: tf.Tensor
    source: tf.Tensor
    target: tf.Tensor


class VisibleObjects(NamedTuple):
    """Objects as they appear in windows."""

    indices: tf.Tensor  # which of the objects, rising, int32 ``[K]``
    boxes: tf.Tensor  # corner boxes in fractions of the window, inside it, of positive area, float32 ``[K, 4]``


def number_of_draws(augmentation: Augmentation) -> int:
    """Random numbers that `draw_windows` needs for an image."""
    crop = augmentation.crop
    crops = 0 if crop is None else 1 + _CROP_DRAWS * (len(crop) * augmentation.crop_tries + 1)
    return _EXPANSION_DRAWS + crops


def draw_windows(boxes: Any, owners: Any, draws: Any, augmentation: Augmentation) -> tf.Tensor:
    """The window of each image, float32 ``[B, 4]``.

    An expansion puts the image at a random place of a canvas up to `expand` times as wide and high. Then every crop
    sampler tries up to `crop_tries` crops and keeps the first that has at least its IoU with any object; one of the
    successful samplers is chosen, each as likely as the others. Images without objects are not cropped, as in Caffe.

    Args:
        boxes: corner boxes of all objects of the batch, float32 ``[N, 4]`` in [0, 1].
        owners: the image of each object, int32 ``[N]``.
        draws: uniform random numbers in [0, 1), float32 ``[B, number_of_draws(augmentation)]``.
        augmentation: which steps, and their ranges.
    """
    canvases = _canvases(draws[:, :_EXPANSION_DRAWS], augmentation)
    if augmentation.crop is None:
        return canvases
    crops = _crops(draws[:, _EXPANSION_DRAWS + 1 :], augmentation)  # [B, T, 4] in fractions of the canvas
    low, size = canvases[:, None, :2], canvases[:, None, 2:] - canvases[:, None, :2]
    crops = tf.concat([low + crops[..., :2] * size, low + crops[..., 2:] * size], axis=-1)

    samplers, tries = len(augmentation.crop), augmentation.crop_tries
    count = tf.shape(draws)[0]
    constrained = crops[:, :-1]
    overlaps = box_ops.paired_iou(tf.gather(constrained, owners), boxes[:, None])  # [N, T - 1]
    minimum = tf.repeat(tf.constant(augmentation.crop, tf.float32), tries)
    hits = tf.math.unsorted_segment_max(tf.cast(overlaps >= minimum, tf.int32), owners, count) > 0  # [B, T - 1]
    hits = tf.cast(tf.reshape(hits, [-1, samplers, tries]), tf.int32)
    first = tf.argmax(hits, axis=2, output_type=tf.int32) + tf.range(samplers) * tries  # [B, samplers]
    has_objects = tf.math.unsorted_segment_sum(tf.ones_like(owners), owners, count) > 0

    found = tf.concat(
        [tf.ones([count, 1], tf.bool), tf.reduce_max(hits, axis=2) > 0, has_objects[:, None]], axis=1
    )  # [B, samplers + 2]: the whole image, the constrained samplers, the last one
    candidates = tf.concat(
        [canvases[:, None], tf.gather(constrained, first, batch_dims=1), crops[:, -1:]], axis=1
    )  # [B, samplers + 2, 4]
    ranks = tf.cumsum(tf.cast(found, tf.int32), axis=1)  # from 1
    chosen = tf.cast(draws[:, _EXPANSION_DRAWS] * tf.cast(ranks[:, -1], tf.float32), tf.int32) + 1
    # A number just below 1 may round to 1.
    chosen = tf.minimum(chosen, ranks[:, -1])
    index = tf.argmax(tf.cast(found & (ranks == chosen[:, None]), tf.int32), axis=1, output_type=tf.int32)
    return tf.gather(candidates, index, batch_dims=1)


def _canvases(draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """The expanded canvases as windows ``[B, 4]``; the image itself where there is no expansion."""
    ratio = tf.ones_like(draws[:, 0])
    if augmentation.expand is not None:
        drawn = 1 + draws[:, 1] * (augmentation.expand - 1)
        ratio = tf.where(draws[:, 0] < augmentation.expand_probability, drawn, ratio)
    low = -draws[:, 2:4] * (ratio - 1)[:, None]
    return tf.concat([low, low + ratio[:, None]], axis=1)


def _crops(draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Random crops ``[B, T, 4]`` (Caffe's SampleBBox) from numbers ``[B, T * 4]``."""
    scale, aspect, y, x = tf.unstack(tf.reshape(draws, [tf.shape(draws)[0], -1, _CROP_DRAWS]), axis=-1)  # [B, T]
    low, high = augmentation.crop_scale
    scale = low + scale * (high - low)
    low, high = augmentation.crop_aspect
    # No side may be longer than the canvas's.
    aspect = tf.clip_by_value(low + aspect * (high - low), scale * scale, 1 / (scale * scale))
    # Only roots and quotients, which are the same to the last bit in and out of vector registers.
    root = tf.sqrt(aspect)
    height, width = tf.minimum(scale / root, 1.0), tf.minimum(scale * root, 1.0)
    ymin, xmin = y * (1 - height), x * (1 - width)
    return tf.stack([ymin, xmin, ymin + height, xmin + width], axis=-1)


def place(windows: Any, sizes: Any) -> Placement:
    """Fits windows to whole pixels of the image and, where they reach beyond it, of the input.

    An edge inside the image moves by half a pixel of the image at most, an edge of the image inside the input by
    half a pixel of the input. The windows that come back are those of the moved edges, so that boxes and pixels fit
    exactly; only where less than 16 pixels of the input show the image they stay as drawn. The whole image stays
    the whole image.

    Args:
        windows: float32 ``[B, 4]``.
        sizes: height and width of the images in pixels, ``[B, 2]``.
    """
    sizes = tf.cast(sizes, tf.float32)
    low, high = windows[:, :2] * sizes, windows[:, 2:] * sizes  # [B, 2] in pixels of the image
    span = high - low
    first = tf.clip_by_value(tf.round(low), 0, sizes - 1)
    last = tf.clip_by_value(tf.round(high), first + 1, sizes)
    begin = tf.where(low < 0, tf.clip_by_value(tf.round(-low / span * IMAGE_SIZE), 0, IMAGE_SIZE - 1), 0)
    end = tf.where(high > sizes, tf.round((sizes - low) / span * IMAGE_SIZE), IMAGE_SIZE)
    end = tf.clip_by_value(end, begin + 1, IMAGE_SIZE)
    pixel = (last - first) / (end - begin)  # of the input, in pixels of the image
    fitted = tf.concat([(first - begin * pixel) / sizes, (last + (IMAGE_SIZE - end) * pixel) / sizes], axis=1)
    # Of a large canvas a crop may show nothing but the mean color.
    visible = tf.reduce_all((low < sizes) & (high > 0), axis=1)[:, None]
    target = tf.where(visible, tf.concat([begin, end - begin], axis=1), 0)
    fits = visible & (tf.reduce_min(end - begin, axis=1) >= _SLIVER)[:, None]
    return Placement(
        tf.where(fits, fitted, windows),
        tf.cast(tf.concat([first, last - first], axis=1), tf.int32),
        tf.cast(target, tf.int32),
    )


def project_objects(windows: Any, boxes: Any, owners: Any) -> VisibleObjects:
    """The objects whose centers are in their windows, cut at the windows' borders.

    As Caffe's emit constraint ``CENTER``, borders included, and ProjectBBox, which drops what has no area left.

    Args:
        windows: float32 ``[B, 4]``.
        boxes: corner boxes of all objects in fractions of their images, float32 ``[N, 4]``.
        owners: the image of each object, int32 ``[N]``.
    """
    own = tf.gather(windows, owners)  # [N, 4]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = tf.reduce_all((centers >= own[:, :2]) & (centers <= own[:, 2:]), axis=1)
    size = own[:, 2:] - own[:, :2]
    seen = tf.concat([(boxes[:, :2] - own[:, :2]) / size, (boxes[:, 2:] - own[:, :2]) / size], axis=1)
    seen = box_ops.clip(seen)
    kept = tf.cast(tf.where(inside & (box_ops.area(seen) > 0)), tf.int32)[:, 0]
    return VisibleObjects(kept, tf.gather(seen, kept))
