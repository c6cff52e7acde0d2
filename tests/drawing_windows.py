"""`draw_windows` as its tests call it, and Caffe's loops."""

import math
from functools import lru_cache

import numpy as np
import tensorflow as tf

from ssd300.preprocessing.augmentation.windows import draw_windows, number_of_draws

WHOLE = [0.0, 0.0, 1.0, 1.0]


def random_batch(chance, images, step=None):
    """Up to six objects per image, none in every fifth; in fractions, on a grid of `step` if there is one."""
    boxes, owners = [], []
    for owner in range(images):
        for _ in range(0 if owner % 5 == 3 else chance.randint(1, 6)):
            height, width = (min(1.0, 0.02 * math.exp(chance.uniform(0, 4))) for _ in range(2))
            top, left = chance.uniform(0, 1 - height), chance.uniform(0, 1 - width)
            box = [top, left, top + height, left + width]
            boxes.append(box if step is None else [round(number / step) * step for number in box])
            owners.append(owner)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(owners, np.int32)


def slow_iou(one, other):
    """Caffe's JaccardOverlap."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def slow_window(objects, draws, augmentation):
    """ExpandImage, GenerateBatchSamples and the choice, one image, in doubles.

    Returns the window and how close the nearest decision was, so that a test may leave out what rounding decides.
    """
    numbers = iter(float(number) for number in draws)
    chance, ratio, y, x = (next(numbers) for _ in range(4))
    canvas, margin = WHOLE, 1.0
    if augmentation.expand is not None:
        margin = min(margin, abs(chance - augmentation.expand_probability))
        if chance < augmentation.expand_probability:
            ratio = 1 + ratio * (augmentation.expand - 1)
            top, left = y * (ratio - 1), x * (ratio - 1)
            canvas = [-top, -left, ratio - top, ratio - left]
    if augmentation.crop is None:
        return canvas, margin
    choice = next(numbers)

    def sample_box():
        """SampleBBox, as a box of the image."""
        scale, aspect, y, x = (next(numbers) for _ in range(4))
        scale = augmentation.crop_scale[0] + scale * (augmentation.crop_scale[1] - augmentation.crop_scale[0])
        aspect = augmentation.crop_aspect[0] + aspect * (augmentation.crop_aspect[1] - augmentation.crop_aspect[0])
        aspect = min(max(aspect, scale**2), 1 / scale**2)
        width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
        top, left = y * (1 - height), x * (1 - width)
        rows, columns = canvas[2] - canvas[0], canvas[3] - canvas[1]
        return [
            canvas[0] + top * rows,
            canvas[1] + left * columns,
            canvas[0] + (top + height) * rows,
            canvas[1] + (left + width) * columns,
        ]

    candidates = [canvas]
    for least in augmentation.crop:
        found = None
        for _ in range(augmentation.crop_tries):
            box = sample_box()  # also after a hit: every try has numbers of its own
            if found is None:
                overlaps = [slow_iou(box, one) for one in objects]
                margin = min([margin, *(abs(overlap - least) for overlap in overlaps)])
                if any(overlap >= least for overlap in overlaps):
                    found = box
        if found is not None:
            candidates.append(found)
    last = sample_box()
    if len(objects):
        candidates.append(last)  # Caffe asks for an IoU of 1 at most, with any object: there must be one
    assert next(numbers, None) is None
    chosen = choice * len(candidates)
    if len(candidates) > 1:
        margin = min(margin, abs(chosen - round(chosen)) if 0 < round(chosen) < len(candidates) else 1.0)
    return candidates[int(chosen)], margin


@lru_cache
def traced(augmentation):
    """One trace, whatever the batch: as in the reader."""
    signature = [
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, number_of_draws(augmentation)], tf.float32),
    ]
    return tf.function(lambda *inputs: draw_windows(*inputs, augmentation), input_signature=signature)


def windows_of(boxes, owners, draws, augmentation):
    """`draw_windows`, eagerly and traced: both must agree to rounding."""
    inputs = (
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(owners, np.int32),
        np.asarray(draws, np.float32),
    )
    windows = draw_windows(*inputs, augmentation)
    assert windows.dtype == tf.float32
    np.testing.assert_allclose(windows, traced(augmentation)(*map(tf.constant, inputs)), rtol=0, atol=1e-6)
    return windows.numpy()
