"""The Beam job beside a plain single process that does the same work, on real pictures.

SSD300_REAL_DATA=... python tests/benchmarks/preprocess.py [--pictures 1500]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import real_data, report

_JOB = """
import sys
from ssd300.training.cli import main
sys.exit(main(sys.argv[1:]))
"""

# The same pictures by a bare loop: no Beam, no shards, no reports, no verification, one file.
_LOOP = """
import sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
from ssd300.datasets.classes import VOC
from ssd300.datasets.sources import Source
from ssd300.preprocessing.encode_shard import encode_picture
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shard_report import ShardReport
source, output = Source.parse(sys.argv[1]), sys.argv[2]
settings = PreprocessSettings((source,), VOC)
with tf.io.TFRecordWriter(output) as writer:
    for picture_id in source.ids():
        writer.write(encode_picture(0, picture_id, settings, ShardReport()).serialize())
"""


def main() -> None:
    """Runs each contender in a process of its own and reports whole run times as pictures a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=6000, help="the 1,500 pictures of voc07_train are repeated")
    arguments = parser.parse_args()
    tree = real_data(parser) / "voc07_train/VOCdevkit/VOC2007"
    with tempfile.TemporaryDirectory() as folder:
        repeated, count = _repeat(tree, Path(folder) / "VOC", arguments.pictures)
        source = f"train={repeated}:train"
        job = [sys.executable, "-c", _JOB, "preprocess", "--source", source]
        contenders = {
            "plain loop, one process, no Beam": [sys.executable, "-c", _LOOP, source, f"{folder}/loop.tfrecord"],
            "ssd300 preprocess --workers 1": [*job, "--output", f"{folder}/one", "--workers", "1"],
            "ssd300 preprocess --workers 2": [*job, "--output", f"{folder}/two", "--workers", "2"],
        }
        rates = {}
        for name, command in contenders.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            rates[name] = count / (time.perf_counter() - start)
        report(f"preprocessing {count:,} pictures, start of Python included", "pictures a second", rates)


def _repeat(tree: Path, target: Path, pictures: int) -> tuple[Path, int]:
    """A tree of links in which the pictures of `tree` stand as often as it takes."""
    ids = (tree / "ImageSets/Main/trainval.txt").read_text().split()
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (target / folder).mkdir(parents=True)
    names = []
    for number in range(pictures):
        original = ids[number % len(ids)]
        names.append(f"{number // len(ids)}_{original}")
        for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            (target / folder / f"{names[-1]}.{suffix}").symlink_to((tree / folder / f"{original}.{suffix}").resolve())
    (target / "ImageSets/Main/train.txt").write_text("\n".join(names))
    return target, len(names)


if __name__ == "__main__":
    main()
