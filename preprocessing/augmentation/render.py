"""Pixels: from a JPEG and a window to the network's input, decoding no more of the image than the window shows."""

from typing import Any

import tensorflow as tf

from ssd300.model.spec import IMAGE_SIZE

# The released model's mean, on which an expansion puts the image: Caffe's `mean_value`s, as RGB.
MEAN_COLOR = (123, 117, 104)
_RATIOS = (1, 2, 4, 8)  # by which libjpeg can scale an image down while it decodes


def decode_resized(jpeg: Any) -> tf.Tensor:
    """A JPEG as the network's input, uint8 ``[300, 300, 3]`` RGB.

    The whole image is stretched to the square, as Caffe's test phase does.
    """
    source = tf.concat([[0, 0], tf.io.extract_jpeg_shape(jpeg)[:2]], axis=0)
    return round_to_bytes(render(jpeg, source, tf.constant([0, 0, IMAGE_SIZE, IMAGE_SIZE])))


def round_to_bytes(pixels: tf.Tensor) -> tf.Tensor:
    """Float pixels 0 to 255 as uint8, rounded."""
    return tf.cast(pixels + 0.5, tf.uint8)


def render(jpeg: Any, source: Any, target: Any) -> tf.Tensor:
    """A window of an image before colors change, float32 ``[300, 300, 3]``, 0 where the image ends.

    Only the visible part is decoded, and scaled down by 2, 4 or 8 on the way where it is shown that much smaller; the
    rest is bilinear.

    Args:
        jpeg: scalar string.
        source: top, left, height and width in the image, int32 ``[4]``, as `Placement` has them.
        target: the same in the input; 0 by 0 for an image that is not visible.
    """
    shrink = tf.reduce_min(source[2:] // tf.maximum(target[2:], 1))
    branch = tf.cast(shrink >= 2, tf.int32) + tf.cast(shrink >= 4, tf.int32) + tf.cast(shrink >= 8, tf.int32)

    def visible() -> tf.Tensor:
        part = tf.switch_case(branch, [lambda ratio=ratio: _part(jpeg, source, target[2:], ratio) for ratio in _RATIOS])
        fills = tf.reduce_all(target[2:] == IMAGE_SIZE)
        return tf.cond(fills, lambda: part, lambda: _on_canvas(part, target))

    canvas = tf.cond(target[2] > 0, visible, lambda: tf.zeros([IMAGE_SIZE, IMAGE_SIZE, 3]))
    return tf.ensure_shape(canvas, [IMAGE_SIZE, IMAGE_SIZE, 3])


def on_mean(pixels: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
    """Float pixels ``[300, 300, 3]`` with the mean color outside of `shown`.

    Args:
        pixels: 0 to 255.
        shown: top, left, height and width, int32 ``[4]``.
    """
    places = tf.range(IMAGE_SIZE)
    rows, columns = (
        tf.cast((places >= shown[axis]) & (places < shown[axis] + shown[axis + 2]), tf.float32) for axis in (0, 1)
    )  # [300] each
    # Products instead of a choice: XLA makes vector instructions of them.
    inside = (rows[:, None] * columns[None])[..., None]  # [300, 300, 1]
    return pixels * inside + (1 - inside) * tf.constant(MEAN_COLOR, tf.float32)


def _part(jpeg: Any, source: tf.Tensor, size: tf.Tensor, ratio: int) -> tf.Tensor:
    """The window `source` of an image, decoded with its sides divided by `ratio` and then resized to `size`."""
    low = source[:2] // ratio
    high = -(-(source[:2] + source[2:]) // ratio)
    window = tf.concat([low, high - low], axis=0)
    # The default transform overflows at hard edges of nearly lossless files, and is no faster.
    pixels = tf.io.decode_and_crop_jpeg(jpeg, window, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    if ratio == 1:
        # The kernel takes half the time on floats.
        pixels = tf.cast(pixels, tf.float32)[None]
        return tf.raw_ops.ResizeBilinear(images=pixels, size=size, half_pixel_centers=True)[0]
    return _resize_between(pixels, source[:2] - low * ratio, source[2:], size, ratio)


def _resize_between(pixels: tf.Tensor, low: tf.Tensor, extent: tf.Tensor, size: tf.Tensor, ratio: int) -> tf.Tensor:
    """Resizes what lies between two edges within the outermost pixels of a scaled-down image.

    A pixel of it shows `ratio` of the image, and the edges of a window are seldom where one ends.

    Args:
        pixels: uint8 ``[h, w, 3]``.
        low: the upper and left edge, in pixels of the image, int32 ``[2]``.
        extent: height and width between the edges, in pixels of the image, int32 ``[2]``.
        size: height and width of the outcome, int32 ``[2]``.
        ratio: by which the image was scaled down.
    """
    step = tf.cast(extent, tf.float32) / tf.cast(size * ratio, tf.float32)
    first = tf.cast(low, tf.float32) / ratio + step / 2 - 0.5  # the centers of the outermost samples
    last = first + step * tf.cast(size - 1, tf.float32)
    whole = tf.cast(tf.maximum(tf.shape(pixels)[:2] - 1, 1), tf.float32)
    # The kernel gives black beyond the last pixel's center, where rounding may lead.
    box = tf.clip_by_value(tf.concat([first / whole, last / whole], axis=0), 0.0, 1 - 1e-6)
    return tf.raw_ops.CropAndResize(image=pixels[None], boxes=box[None], box_ind=[0], crop_size=size)[0]


def _on_canvas(part: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    low = target[:2]
    high = IMAGE_SIZE - low - target[2:]
    return tf.pad(part, tf.stack([tf.stack([low[0], high[0]]), tf.stack([low[1], high[1]]), tf.constant([0, 0])]))
