"""The reader beside NVIDIA DALI's CPU pipeline and the usual NumPy/OpenCV chain, on real pictures, in one run.

pip install -e '.[benchmarks]'; SSD300_REAL_DATA=... python tests/benchmarks/input_pipeline.py

All make 300x300 pictures and dense targets of voc07_train in batches of 32, on as many threads or processes as there
are cores. DALI leaves the expansion out and its colour step is a linear map; the others do all of the paper's steps.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import in_turns, real_data, report, subprocess_rate

from ssd300.datasets.classes import VOC
from ssd300.datasets.sources.folder import FolderSource
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import PAPER
from ssd300.preprocessing.augmentation.settings import (
    LIGHT_AUGMENTATION,
    NO_AUGMENTATION,
    PAPER_AUGMENTATION,
    Augmentation,
)
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.training.reading.reader import training_batches

BATCH, COPIES = 32, 4
CONTENDERS = Path(__file__).parent / "contenders"


def main() -> None:
    """Encodes voc07_train, then reads it in several ways, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tree, seconds, cores = real_data(parser) / "voc07_train/VOCdevkit/VOC2007", arguments.seconds, os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        dataset = f"{folder}/dataset"
        source = FolderSource("train", str(tree), "trainval")
        preprocess(PreprocessSettings((source,), VOC, copies=COPIES), dataset)
        corners = box_ops.to_corners(default_boxes(PAPER))
        np.save(f"{folder}/anchors.npy", corners[:, [1, 0, 3, 2]])

        def beside(script: str) -> float | None:
            return subprocess_rate(CONTENDERS / script, tree, folder, "--threads", cores, "--seconds", seconds)

        readers = {
            "ssd300, the paper's whole chain": _Reader(dataset, PAPER_AUGMENTATION),
            f"ssd300, colours and mirror on {COPIES} copies": _Reader(dataset, LIGHT_AUGMENTATION, copies=True),
            "ssd300, colours and mirror": _Reader(dataset, LIGHT_AUGMENTATION),
            "ssd300, decode and resize alone": _Reader(dataset, NO_AUGMENTATION),
        }
        contenders = {
            "DALI, CPU, without expansion": lambda: beside("dali_pipeline.py"),
            "NumPy and OpenCV": lambda: beside("opencv_chain.py"),
        }
        contenders |= {name: lambda reader=reader: reader.rate(seconds) for name, reader in readers.items()}
        rates = in_turns(contenders, rounds=arguments.rounds)
        report("reading voc07_train, 300x300", "pictures a second", rates)


class _Reader:
    """A reader that is stopped between two measurements."""

    def __init__(self, dataset: str, augmentation: Augmentation, *, copies: bool = False) -> None:
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
