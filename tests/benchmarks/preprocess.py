"""The Beam job, compared with a plain process pool and with TFDS's own builder: images per second, and peak memory.

    SSD300_REAL_DATA=... python tests/benchmarks/preprocess.py [--quick]

Each contender is a program of its own, timed from its start to its end, on the images of voc07_train, repeated.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from _measuring import CONTENDERS, Size, read_arguments, report, wanted
from _voc import VocTree, make_tree

_INTERVAL = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Run:
    """How a program ran."""

    seconds: float
    peak: int  # bytes, of the whole process tree; pages that processes share count once
    largest: int  # bytes, of the process that had most


def main() -> None:
    """Runs the contenders one after the other and reports."""
    arguments = read_arguments(
        __doc__,
        images=Size(20_000, 16, "number of images; the 1,500 of voc07_train are repeated"),
        verify=Size("decode", "decode", "of our job, decode or header; the others always decode"),
    )
    images, few = arguments.images, arguments.images // 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = make_tree(folder / "tree", images, quick=arguments.quick)
        (tree.root / "ImageSets/Main/few.txt").write_text("\n".join(tree.ids()[:few]))
        contenders = {
            "process pool, 2 workers": (_script("process_pool.py", tree, folder / "pool-2", 2), images),
            "ssd300 preprocess --workers 2": (_job(tree, folder, "train", 2, arguments.verify), images),
            "ssd300 preprocess --workers 1": (_job(tree, folder, "train", 1, arguments.verify), images),
            "process pool, 1 worker": (_script("process_pool.py", tree, folder / "pool-1", 1), images),
            "TFDS builder, NumPy encoding": (_script("tfds_builder.py", tree, folder / "tfds"), images),
            f"ssd300 preprocess --workers 2, {few:,} images": (_job(tree, folder, "few", 2, arguments.verify), few),
        }
        if arguments.quick:  # one of each kind
            contenders = dict(
                [item for item in contenders.items() if "1 worker" not in item[0] and item[1][1] == images]
            )
            del contenders["ssd300 preprocess --workers 1"]
        rates, notes = {}, {}
        for title, (command, count) in wanted(contenders, arguments.only).items():
            run = measure(command)
            rates[title] = count / run.seconds
            notes[title] = (
                f"{run.seconds:.1f} s, peak {run.peak / 2**20:.0f} MiB, largest process {run.largest / 2**20:.0f} MiB"
            )
    report(f"encoding {images:,} images, --verify {arguments.verify}", "images per second", rates, notes)


def _script(name: str, tree: VocTree, output: Path, *more: Any) -> list[str]:
    output.mkdir()
    return [sys.executable, *map(str, (CONTENDERS / name, tree.root, output, *more))]


def _job(tree: VocTree, folder: Path, image_set: str, workers: int, verify: str) -> list[str]:
    options = {
        "source": f"train={tree.root}:{image_set}",
        "classes": tree.classes,
        "output": folder / f"{image_set}-{workers}",
        "workers": workers,
        "verify": verify,
    }
    command = [sys.executable, "-m", "ssd300.training.cli.main", "preprocess"]
    return [*command, *(f"--{name}={value}" for name, value in options.items())]


def measure(command: Sequence[str]) -> Run:
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
    return Run(seconds, *peaks)


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


if __name__ == "__main__":
    main()
