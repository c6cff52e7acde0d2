"""The Beam job beside a plain process pool and TFDS's own builder: pictures a second, and peak memory.

SSD300_REAL_DATA=... python tests/benchmarks/preprocess.py [--pictures 20000] [--verify decode]

Each contender is a program of its own, timed from its start to its end, on the pictures of voc07_train, repeated.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from timing import real_data

CONTENDERS = Path(__file__).parent / "contenders"
_INTERVAL = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Run:
    """How a program ran."""

    pictures: int
    seconds: float
    peak: int  # bytes, of the whole process tree; pages that processes share count once
    largest: int  # bytes, of the process that had most

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds


def main() -> None:
    """Runs the contenders one after the other and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000, help="the 1,500 of voc07_train are repeated")
    parser.add_argument("--verify", default="decode", help="of our job; the others always decode (default: decode)")
    arguments = parser.parse_args()
    original = real_data(parser) / "voc07_train/VOCdevkit/VOC2007"
    with tempfile.TemporaryDirectory() as folder:
        tree, few = _repeat(original, Path(folder) / "VOC", arguments.pictures), arguments.pictures // 4
        (tree / "ImageSets/Main/few.txt").write_text("\n".join(_ids(tree, "train")[:few]))

        def job(image_set: str, workers: int) -> list[str]:
            command = [
                sys.executable,
                "-m",
                "ssd300.training.cli.main",
                "preprocess",
                "--source",
                f"train={tree}:{image_set}",
            ]
            output = f"{folder}/{image_set}-{workers}"
            return [*command, "--output", output, "--workers", str(workers), "--verify", arguments.verify]

        pool = [sys.executable, str(CONTENDERS / "process_pool.py"), f"train={tree}:train"]
        for workers in (1, 2):
            (Path(folder) / f"pool-{workers}").mkdir()
        tfds = [sys.executable, str(CONTENDERS / "tfds_builder.py"), str(tree), "train", f"{folder}/tfds"]
        many = arguments.pictures
        runs = {
            "process pool, 2 workers": measure([*pool, f"{folder}/pool-2", "2"], many),
            "ssd300 preprocess --workers 2": measure(job("train", 2), many),
            "ssd300 preprocess --workers 1": measure(job("train", 1), many),
            "process pool, 1 worker": measure([*pool, f"{folder}/pool-1", "1"], many),
            "TFDS builder, NumPy encoding": measure(tfds, many),
            f"ssd300 preprocess --workers 2, {few:,} pictures": measure(job("few", 2), few),
        }
    baseline = next(iter(runs.values()))
    print(f"\n{many:,} pictures, --verify {arguments.verify}, start of Python included")
    print(f"  {'':<46}{'seconds':>9}{'a second':>10}{'':>9}{'peak':>10}{'largest process':>17}")
    for name, run in runs.items():
        ratio = f"{run.rate / baseline.rate:.2f}x"
        memory = f"{run.peak / 2**20:>7.0f} MiB{run.largest / 2**20:>13.0f} MiB"
        print(f"  {name:<46}{run.seconds:>9.1f}{run.rate:>10.0f}{ratio:>9}{memory}")


def measure(command: Sequence[str], pictures: int) -> Run:
    """Runs a program and watches its memory."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks = [0, 0]
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    watcher.join()
    return Run(pictures, seconds, *peaks)


def _watch(process: subprocess.Popen, peaks: list[int]) -> None:
    root = psutil.Process(process.pid)
    while process.poll() is None:
        sizes = []
        try:
            for one in (root, *root.children(recursive=True)):
                sizes.append(one.memory_full_info().pss)
        except psutil.Error:  # it ended meanwhile
            continue
        peaks[0], peaks[1] = max(peaks[0], sum(sizes)), max(peaks[1], *sizes)
        time.sleep(_INTERVAL)


def _ids(tree: Path, image_set: str) -> list[str]:
    return (tree / f"ImageSets/Main/{image_set}.txt").read_text().split()


def _repeat(tree: Path, target: Path, pictures: int) -> Path:
    """A tree of links in which the pictures of `tree` stand as often as it takes."""
    ids = _ids(tree, "trainval")
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (target / folder).mkdir(parents=True)
    names = []
    for number in range(pictures):
        original = ids[number % len(ids)]
        names.append(f"{number // len(ids)}_{original}")
        for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            (target / folder / f"{names[-1]}.{suffix}").symlink_to((tree / folder / f"{original}.{suffix}").resolve())
    (target / "ImageSets/Main/train.txt").write_text("\n".join(names))
    return target


if __name__ == "__main__":
    main()
