"""A trained model as a function from pictures to detections."""

from collections.abc import Callable

import tensorflow as tf

from ssd300.model.nms import Detections, detect
from ssd300.model.spec import IMAGE_SIZE
from ssd300.model.ssd300 import SSD300


def make_detector(model: SSD300) -> Callable[[tf.Tensor], Detections]:
    """A compiled function from RGB pixels, uint8 ``[B, 300, 300, 3]``, to `Detections`, in fractions of the picture."""
    spec = model.spec

    @tf.function(input_signature=[tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)])
    def detector(pixels: tf.Tensor) -> Detections:
        return detect(model(tf.cast(pixels, tf.float32), training=False), spec)

    return detector
