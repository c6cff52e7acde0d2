"""The reader, compared with NVIDIA DALI's CPU pipeline and the usual NumPy and OpenCV chain, on real images.

    pip install -e '.[benchmarks]'; SSD300_REAL_DATA=... python tests/benchmarks/input_pipeline.py [--quick]

All make 300x300 images and dense targets of voc07_train in batches of 32, on as many threads or processes as there
are cores. DALI leaves the expansion out and its color step is a linear map; the others do all of the paper's steps.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from _measuring import Size, in_turns, is_installed, read_arguments, report, subprocess_rate, wanted
from _voc import make_tree

from ssd300.datasets import EncodedDataset
from ssd300.model import PAPER, boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.preprocessing import Augmentation
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION, PAPER_AUGMENTATION
from ssd300.training import training_batches

BATCH, COPIES = 32, 4


def main() -> None:
    """Encodes the images, then reads them in several ways, in turns."""
    arguments = read_arguments(
        __doc__,
        images=Size(1500, 40, "number of images"),
        seconds=Size(8.0, 0.1, "of each measurement"),
        rounds=Size(3, 1, "number of measurements, of which the median counts"),
    )
    seconds = arguments.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = make_tree(folder / "tree", arguments.images, quick=arguments.quick)
        dataset = EncodedDataset.open(tree.encode(folder / "dataset", copies=COPIES))
        np.save(folder / "anchors.npy", box_ops.to_corners(default_boxes(PAPER))[:, [1, 0, 3, 2]])
        peers = {}
        for title, module, script in (
            ("DALI, CPU, without expansion", "nvidia.dali", "dali_pipeline.py"),
            ("NumPy and OpenCV", "cv2", "opencv_chain.py"),
        ):
            if arguments.only is None and is_installed(module):
                options = (tree.root, folder, "--threads", os.cpu_count(), "--seconds", seconds)
                peers[title] = lambda script=script, options=options: subprocess_rate(script, *options)
        readers = {
            "ssd300, all of the paper's steps": _Reader(dataset, PAPER_AUGMENTATION),
            f"ssd300, colors and mirror on {COPIES} copies": _Reader(dataset, LIGHT_AUGMENTATION, copies=True),
            "ssd300, colors and mirror": _Reader(dataset, LIGHT_AUGMENTATION),
            "ssd300, decode and resize only": _Reader(dataset, NO_AUGMENTATION),
        }
        ours = {title: lambda reader=reader: reader.rate(seconds) for title, reader in readers.items()}
        rates = in_turns(wanted({**peers, **ours}, arguments.only), rounds=arguments.rounds)
        report("reading 300x300 images with dense targets", "images per second", rates)


class _Reader:
    """A reader that is stopped between two measurements."""

    def __init__(self, dataset: EncodedDataset, augmentation: Augmentation, *, copies: bool = False) -> None:
        self._batches = training_batches(
            dataset, "train", spec=PAPER, batch_size=BATCH, augmentation=augmentation, copies=copies
        )

    def rate(self, seconds: float) -> float:
        iterator = iter(self._batches)
        for _ in range(10):
            next(iterator)
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            next(iterator)
            done += BATCH
        return done / elapsed


if __name__ == "__main__":
    main()
