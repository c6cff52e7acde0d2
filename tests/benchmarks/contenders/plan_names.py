"""What a launcher does before any worker starts, ours or bare: python plan_names.py ours|bare NAMES; prints JSON."""

import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def bare(tree: str, shards: Path) -> None:
    """Reads the names, shuffles them and writes them, one shard of 512 per line, with an index of the lines."""
    names = (Path(tree) / "ImageSets/Main/train.txt").read_text().split()
    random.Random(0).shuffle(names)
    places = []
    with shards.open("wb") as file:
        for start in range(0, len(names), 512):
            places.append(file.tell())
            file.write(f"{json.dumps(names[start : start + 512])}\n".encode())
    Path(f"{shards}.index").write_text(json.dumps(places))


def ours(tree: str, shards: Path) -> None:
    """Makes the plan, its identity and the list of its shards."""
    plan = make_plan(PreprocessSettings((FolderSource("train", tree, "train"),), VOC))
    identity_of(plan)
    write_shard_list(str(shards), plan.shards)


def main(kind: str, count: int) -> None:
    """Prints seconds, bytes of memory that it grew by, and bytes of the files."""
    with tempfile.TemporaryDirectory() as folder:
        image_sets, shards = Path(folder) / "ImageSets/Main", Path(folder) / "shards.jsonl"
        image_sets.mkdir(parents=True)
        (image_sets / "train.txt").write_text("".join(f"2012_{number:09d}\n" for number in range(count)))
        before, start = _peak(), time.perf_counter()
        {"bare": bare, "ours": ours}[kind](folder, shards)
        seconds, grown = time.perf_counter() - start, _peak() - before
        sizes = {"names": shards.stat().st_size, "index": Path(f"{shards}.index").stat().st_size}
    print(json.dumps({"seconds": seconds, "grown": grown, **sizes}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1] == "ours":
        from ssd300.datasets.classes import VOC
        from ssd300.datasets.sources.folder import FolderSource
        from ssd300.preprocessing.plan import make_plan
        from ssd300.preprocessing.runners.shard_list import write_shard_list
        from ssd300.preprocessing.settings import PreprocessSettings
        from ssd300.preprocessing.shards.identity import identity_of
    main(sys.argv[1], int(sys.argv[2]))
