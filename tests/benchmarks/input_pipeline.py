"""The reader beside a plain loop that reads, decodes and resizes the same records, on real pictures.

SSD300_REAL_DATA=... python tests/benchmarks/input_pipeline.py
"""

import argparse
import tempfile

import tensorflow as tf
from timing import rate, real_data, report

from ssd300.datasets.classes import VOC
from ssd300.datasets.folder_source import FolderSource
from ssd300.datasets.record import parse
from ssd300.model.spec import PAPER
from ssd300.preprocessing.encoding import SparseTargets, encode_ground_truth, to_dense
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.training.photometric import distort
from ssd300.training.reader import decode, shard_paths, training_batches

BATCH = 32


def main() -> None:
    """Encodes voc07_train, then reads it in several ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    tree = real_data(parser) / "voc07_train/VOCdevkit/VOC2007"
    with tempfile.TemporaryDirectory() as folder:
        dataset = f"{folder}/dataset"
        preprocess(PreprocessSettings((FolderSource("train", str(tree), "trainval"),), VOC), dataset)
        rates = {"plain loop, one picture at a time, fresh matching": rate(_loop(dataset), seconds=15)}
        for name, augment in (("no augmentation", False), ("mirror and photometric", True)):
            batches = training_batches(dataset, "train", spec=PAPER, batch_size=BATCH, augment=augment)
            iterator = iter(batches)
            rates[f"ssd300 reader, {name}"] = rate(lambda it=iterator: _batches(it, 10), seconds=20)
        report("reading voc07_train, 300x300", "pictures a second", rates)


def _loop(dataset: str):
    records = tf.data.TFRecordDataset(shard_paths(dataset, "train")).repeat()
    iterator = iter(records)

    def work() -> int:
        for number in range(BATCH):
            record = parse(next(iterator))
            distort(decode(record["image"]), tf.constant([0, number]))
            to_dense(SparseTargets(*encode_ground_truth(record["boxes"], record["labels"], PAPER)), PAPER)
        return BATCH

    return work


def _batches(iterator, count: int) -> int:
    for _ in range(count):
        next(iterator)
    return count * BATCH


if __name__ == "__main__":
    main()
