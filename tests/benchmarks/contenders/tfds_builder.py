"""The same dataset by TFDS's own builder: python tfds_builder.py TREE FOLDER.

Each image is decoded to check it; its objects are parsed, matched and encoded, for the image and its mirror image,
in NumPy, as the usual encoders do it. The features are those of our records.
"""

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from ssd300.datasets.classes import ClassList, read_class_file
from ssd300.datasets.record import tfds_features
from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import PAPER, default_boxes

CORNERS = box_ops.to_corners(default_boxes(PAPER))


def encode(boxes: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The usual encoder: the whole IoU matrix, argmax both ways."""
    if not len(boxes):
        return {"index": np.zeros(0, np.int32), "label": np.zeros(0, np.int64), "offsets": np.zeros((0, 4), np.float32)}
    overlaps = box_ops.iou(boxes, CORNERS)
    objects, best = overlaps.argmax(axis=0), overlaps.max(axis=0)
    forced = overlaps.argmax(axis=1)
    best[forced], objects[forced] = 2.0, np.arange(len(boxes))
    indices = np.flatnonzero(best >= 0.5)
    chosen = objects[indices]
    offsets = box_coder.encode(boxes[chosen], default_boxes(PAPER)[indices])
    return {"index": indices.astype(np.int32), "label": labels[chosen], "offsets": offsets.astype(np.float32)}


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder as TFDS's guide writes it."""

    name = "ssd300_numpy"
    VERSION = tfds.core.Version("1.0.0")
    tree: Path
    classes: ClassList

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds_features(self.classes.with_background))

    def _split_generators(self, _dl_manager: tfds.download.DownloadManager) -> dict:
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        tree = self.tree
        for picture_id in (tree / "ImageSets/Main/train.txt").read_text().split():
            jpeg = (tree / f"JPEGImages/{picture_id}.jpg").read_bytes()
            tf.io.decode_jpeg(jpeg, channels=3, ratio=8)
            root = ElementTree.parse(tree / f"Annotations/{picture_id}.xml").getroot()
            width, height = Image.open(tree / f"JPEGImages/{picture_id}.jpg").size
            rows, labels, difficult, truncated = [], [], [], []
            for element in root.iter("object"):
                xmin, ymin, xmax, ymax = (
                    float(element.findtext(f"bndbox/{c}")) for c in ("xmin", "ymin", "xmax", "ymax")
                )
                rows.append((ymin / height, xmin / width, ymax / height, xmax / width))
                labels.append(self.classes.label(element.findtext("name")))
                difficult.append(element.findtext("difficult") == "1")
                truncated.append(element.findtext("truncated") == "1")
            boxes, numbers = np.array(rows, np.float32).reshape(-1, 4).clip(0, 1), np.array(labels, np.int64)
            yield (
                picture_id,
                {
                    "image": jpeg,
                    "image/height": height,
                    "image/width": width,
                    "image/shown": (0, 0, height, width),
                    "image/filename": f"{picture_id}.jpg",
                    "image/id": picture_id,
                    "objects": {"bbox": boxes, "label": numbers, "is_difficult": difficult, "is_truncated": truncated},
                    "targets": encode(boxes, numbers),
                    "flipped_targets": encode(box_ops.flip(boxes), numbers),
                },
            )


def main(tree: str, folder: str) -> None:
    """Builds the dataset."""
    Builder.tree, Builder.classes = Path(tree), read_class_file(f"{tree}/classes.txt")
    tfds.disable_progress_bar()
    Builder(data_dir=folder).download_and_prepare()


if __name__ == "__main__":
    main(*sys.argv[1:])
