"""Planning a large job: seconds and memory of the launcher, by the number of names: python tests/benchmarks/plan.py."""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Plans jobs of growing size, each in a process of its own, as the launcher does before any worker starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, help=argparse.SUPPRESS)
    pictures = parser.parse_args().pictures
    if pictures is not None:
        _plan(pictures)
        return
    print("   pictures   seconds    MiB over the start    bytes a picture   graph and lists")
    for count in (10_000, 100_000, 1_000_000):
        subprocess.run([sys.executable, __file__, "--pictures", str(count)], check=True, stderr=subprocess.DEVNULL)


def _plan(pictures: int) -> None:
    from ssd300.datasets.classes import VOC
    from ssd300.datasets.sources.folder import FolderSource
    from ssd300.preprocessing.plan import make_plan
    from ssd300.preprocessing.runners.shard_list import write_shard_list
    from ssd300.preprocessing.settings import PreprocessSettings

    with tempfile.TemporaryDirectory() as folder:
        image_sets = Path(folder) / "ImageSets/Main"
        image_sets.mkdir(parents=True)
        (image_sets / "train.txt").write_text("".join(f"2012_{number:09d}\n" for number in range(pictures)))
        settings = PreprocessSettings((FolderSource("train", folder, "train"),), VOC)
        before, start = _peak(), time.perf_counter()
        plan = make_plan(settings)
        plan.digest()
        path = Path(folder) / "shards.jsonl"
        write_shard_list(str(path), plan.shards)
        seconds, grown = time.perf_counter() - start, _peak() - before
        index = Path(f"{path}.index").stat().st_size
        sizes = f"{path.stat().st_size / 2**20:.1f} MiB of names, {index / 2**10:.0f} KiB of places"
        print(f"{pictures:>11,}{seconds:>10.1f}{grown / 2**20:>16.0f}{grown / pictures:>22.0f}     {sizes}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
