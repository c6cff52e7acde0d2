"""Matching and encoding: pictures a second on one core, beside DALI's `box_encoder`, plain NumPy and a plain loop.

pip install -e '.[benchmarks]'; python tests/benchmarks/encoding.py
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from timing import in_turns, rate, report, subprocess_rate

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

from ssd300.model import box_coder  # noqa: E402
from ssd300.model import boxes as box_ops  # noqa: E402
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
    """Boxes ``[64, count, 4]``: other objects in each picture, so that they compete as they do in a dataset."""
    centres = random.uniform(0.2, 0.8, (_BATCH, count, 2))
    sizes = random.uniform(0.05, 0.6, (_BATCH, count, 2))
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1).clip(0, 1).astype(np.float32)


def _dali(boxes: np.ndarray) -> float | None:
    left_top = [1, 0, 3, 2]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/anchors.npy", CORNERS[:, left_top])
        np.save(f"{folder}/boxes.npy", np.ascontiguousarray(boxes[..., left_top]))
        script = Path(__file__).parent / "contenders/dali_box_encoder.py"
        return subprocess_rate(script, folder, "--batch-size", _BATCH, "--seconds", 3)


def main() -> None:
    """Measures pictures of so many objects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3, 10, 40])
    arguments = parser.parse_args()
    signature = [tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int32)]
    encode = tf.function(lambda boxes, labels: encode_ground_truth(boxes, labels, PAPER), input_signature=signature)
    together = tf.function(lambda *batch: encode_batch(*batch, PAPER), input_signature=signature)
    random = np.random.default_rng(0)
    for count in arguments.objects:
        boxes = _batch(random, count)
        labels = random.integers(1, 21, count).astype(np.int32)
        single = tf.constant(boxes[0]), tf.constant(labels)
        batch = tf.constant(boxes.reshape(-1, 4)), tf.repeat(tf.range(_BATCH), count)
        contenders = {
            "DALI's box_encoder": lambda b=boxes: _dali(b),
            "NumPy, dense": lambda b=boxes[0], n=labels: rate(lambda: len([plain_numpy(b, n)])),
            "Python loop over default boxes": lambda b=boxes[0], n=labels: rate(
                lambda: len([plain_python(b, n)]), repeats=1
            ),
            "ssd300, one picture": lambda t=single: rate(lambda: len([encode(*t)])),
            f"ssd300, {_BATCH} pictures together": lambda b=batch: rate(lambda: (together(*b), _BATCH)[1]),
        }
        report(f"encoding {count} objects", "pictures a second, one core", in_turns(contenders, rounds=3))


if __name__ == "__main__":
    main()
