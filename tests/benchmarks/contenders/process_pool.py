"""The same work by a plain process pool: python process_pool.py TREE FOLDER WORKERS.

The same checks and the same encoding into the same records in shuffled order, a file for every 512 images; no Beam,
no reports, no verification, no metadata.
"""

import multiprocessing
import os
import random
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def batched(items: Iterable, size: int) -> Iterator[list]:
    """The items in lists of this size."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def start() -> None:
    """Makes a worker ready: one thread, as its neighbor has the other core."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def encode(tree: str, ids: list[str], path: str) -> int:
    """Encodes images into a file."""
    import tensorflow as tf

    from ssd300.datasets import FolderSource
    from ssd300.datasets.classes import read_class_file
    from ssd300.preprocessing import PreprocessSettings
    from ssd300.preprocessing.shards.encode_shard import checked_pictures, encode_pictures
    from ssd300.preprocessing.shards.shard_report import ShardReport

    source, classes = FolderSource("train", tree, "train"), read_class_file(f"{tree}/classes.txt")
    settings, report = PreprocessSettings((source,), classes), ShardReport()
    checked = checked_pictures([(0, picture_id) for picture_id in ids], settings, report)
    with tf.io.TFRecordWriter(path) as writer:
        for some in batched(checked, 64):
            for record in encode_pictures(some, settings, report):
                writer.write(record.serialize())
    return report.read


def main(tree: str, folder: str, workers: int) -> None:
    """Spreads the images over the workers."""
    ids = (Path(tree) / "ImageSets/Main/train.txt").read_text().split()
    random.Random(0).shuffle(ids)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start) as pool:
        parts = list(batched(ids, 512))
        paths = [f"{folder}/{number:05d}.tfrecord" for number in range(len(parts))]
        assert sum(pool.map(encode, [tree] * len(parts), parts, paths)) == len(ids)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
