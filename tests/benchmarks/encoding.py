"""Matching and encoding: images per second on one core, compared with DALI's `box_encoder`, NumPy and a Python loop.

pip install -e '.[benchmarks]'; python tests/benchmarks/encoding.py [--quick]
"""

import tempfile

import numpy as np
import tensorflow as tf
from _measuring import Size, in_turns, is_installed, rate, read_arguments, report, subprocess_rate, wanted

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

from ssd300.model import box_coder, boxes as box_ops  # noqa: E402
from ssd300.model.default_boxes import default_boxes  # noqa: E402
from ssd300.model.spec import PAPER  # noqa: E402
from ssd300.preprocessing.encoding.targets import encode_batch, encode_ground_truth  # noqa: E402

_BATCH = 64
DEFAULT_BOXES = default_boxes(PAPER)
CORNERS = box_ops.to_corners(DEFAULT_BOXES)


def plain_numpy(boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The usual encoder: the whole IoU matrix, argmax both ways, every default box encoded."""
    overlaps = box_ops.iou(boxes, CORNERS)
    objects = overlaps.argmax(axis=0)
    best = overlaps.max(axis=0)
    forced = overlaps.argmax(axis=1)
    best[forced], objects[forced] = 2.0, np.arange(len(boxes))
    offsets = box_coder.encode(boxes[objects], DEFAULT_BOXES)
    return np.where(best >= 0.5, labels[objects], 0), offsets


def plain_python(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """As tutorials write it: a loop over objects and default boxes."""
    result = np.zeros(len(CORNERS), np.int32)
    corners = CORNERS.tolist()
    for (ymin, xmin, ymax, xmax), label in zip(boxes.tolist(), labels.tolist(), strict=True):
        area = (ymax - ymin) * (xmax - xmin)
        for index, (dymin, dxmin, dymax, dxmax) in enumerate(corners):
            height, width = min(ymax, dymax) - max(ymin, dymin), min(xmax, dxmax) - max(xmin, dxmin)
            if height > 0 and width > 0:
                shared = height * width
                if shared / (area + (dymax - dymin) * (dxmax - dxmin) - shared) >= 0.5:
                    result[index] = label
    return result


def _batch(random: np.random.Generator, count: int) -> np.ndarray:
    """Boxes ``[64, count, 4]``: different objects in each image, so that they compete as they do in a dataset."""
    centers = random.uniform(0.2, 0.8, (_BATCH, count, 2))
    sizes = random.uniform(0.05, 0.6, (_BATCH, count, 2))
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=-1).clip(0, 1).astype(np.float32)


def _dali(boxes: np.ndarray, seconds: float) -> float:
    left_top = [1, 0, 3, 2]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/anchors.npy", CORNERS[:, left_top])
        np.save(f"{folder}/boxes.npy", np.ascontiguousarray(boxes[..., left_top]))
        return subprocess_rate("dali_box_encoder.py", folder, "--batch-size", _BATCH, "--seconds", seconds)


def main() -> None:
    """Measures images with different numbers of objects."""
    arguments = read_arguments(
        __doc__,
        objects=Size([1, 3, 10, 40], [3], "numbers of objects per image"),
        seconds=Size(2.0, 0.1, "of each measurement"),
        rounds=Size(3, 1, "number of measurements, of which the median counts"),
    )
    signature = [tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int32)]
    encode = tf.function(lambda boxes, labels: encode_ground_truth(boxes, labels, PAPER), input_signature=signature)
    together = tf.function(lambda *batch: encode_batch(*batch, PAPER), input_signature=signature)
    has_dali = arguments.only is None and is_installed("nvidia.dali")
    random = np.random.default_rng(0)
    for count in arguments.objects:
        boxes = _batch(random, count)
        labels = random.integers(1, 21, count).astype(np.int32)
        single = tf.constant(boxes[0]), tf.constant(labels)
        batch = tf.constant(boxes.reshape(-1, 4)), tf.repeat(tf.range(_BATCH), count)
        works = {
            "NumPy, dense": lambda b=boxes[0], n=labels: len([plain_numpy(b, n)]),
            "Python loop over default boxes": lambda b=boxes[0], n=labels: len([plain_python(b, n)]),
            "ssd300, one image": lambda t=single: len([encode(*t)]),
            f"ssd300, {_BATCH} images together": lambda b=batch: (together(*b), _BATCH)[1],
        }
        contenders = {name: lambda w=work: rate(w, seconds=arguments.seconds) for name, work in works.items()}
        if has_dali:
            contenders = {"DALI's box_encoder": lambda b=boxes: _dali(b, arguments.seconds), **contenders}
        rates = in_turns(wanted(contenders, arguments.only), rounds=arguments.rounds)
        report(f"encoding {count} objects per image, one core", "images per second", rates)


if __name__ == "__main__":
    main()
