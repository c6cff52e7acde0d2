"""A job that is killed again and again ends with the bytes of one that never was, and is no dataset before."""

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers import content
from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset, IncompleteDatasetError
from ssd300.datasets.sources.parse import parse_source
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings

PICTURES = 60
SHARD_SIZE = 3


def shards(folder: Path, *, temporary: bool = False) -> int:
    """Number of finished shards, and with `temporary` of begun ones as well."""
    with contextlib.suppress(FileNotFoundError):
        names = [name for name in os.listdir(folder) if ".tfrecord-" in name]  # noqa: PTH208 - fast
        return sum(temporary or ".tmp-" not in name for name in names)
    return 0


def of_group(group: int) -> list[int]:
    """Processes of a group that are still running."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def assert_whole(folder: Path) -> None:
    assert EncodedDataset.open(str(folder)).identity.classes.names == ("ant", "bee")
    builder = tfds.builder_from_directory(str(folder))
    assert builder.info.splits["train"].num_examples == PICTURES
    files = sorted(map(str, folder.glob("ssd300-train.tfrecord-*-of-00020")))
    assert len(files) == PICTURES // SHARD_SIZE
    assert sum(1 for _ in tf.data.TFRecordDataset(files)) == PICTURES


def assert_unfinished_or_whole(folder: Path) -> str:
    if (folder / "COMPLETED").exists():
        assert_whole(folder)
        return "whole"
    with pytest.raises(IncompleteDatasetError):
        EncodedDataset.open(str(folder))
    # TFDS knows nothing of COMPLETED; its own metadata is written just before that, when all the rest is there.
    try:
        builder = tfds.builder_from_directory(str(folder))
    except Exception:  # TFDS raises several kinds for a folder without its metadata
        return "unfinished"
    assert sum(1 for _ in builder.as_dataset(split="train")) == PICTURES
    return "all but COMPLETED"


@pytest.fixture(scope="module")
def tree(tmp_path_factory, jpeg, voc_xml) -> Path:
    root = tmp_path_factory.mktemp("kills") / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"{number:06d}" for number in range(PICTURES)]
    for number, name in enumerate(names):
        # A PNG has to be stored as JPEG: there is time to kill in the midst of a shard.
        with Image.open(io.BytesIO(jpeg(900, 600, seed=number))) as image:
            image.save(root / f"JPEGImages/{name}.png", compress_level=1)
        objects = [("ant", 30, 20, 150 + number, 100), ("bee", 100 + number, 50, 280, 190)][: number % 3]
        (root / f"Annotations/{name}.xml").write_bytes(voc_xml(objects, size=(900, 600)))
    (root / "ImageSets/Main/train.txt").write_text("".join(f"{name}\n" for name in names))
    (root.parent / "classes.txt").write_text("ant\nbee\n")
    return root


@pytest.fixture(scope="module")
def never_killed(tree) -> dict[str, bytes]:
    """The files of a job that ran in one go."""
    output = tree.parent / "whole"
    source = parse_source(f"train={tree}:train")
    settings = PreprocessSettings((source,), ClassList(("ant", "bee")), shard_size=SHARD_SIZE)
    preprocess(settings, str(output), Execution(workers=1))
    assert_whole(output)
    return content(output)


def start(tree: Path, output: Path, workers: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "ssd300.training.cli.main", "preprocess", "--source", f"train={tree}:train"]
    command += ["--classes", str(tree.parent / "classes.txt"), "--shard-size", str(SHARD_SIZE)]
    command += ["--workers", str(workers), "--output", str(output)]
    log = (tree.parent / "log.txt").open("ab")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def wait_until(process: subprocess.Popen, reached: Callable[[], bool]) -> bool:
    """Whether the moment came before the process ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            return True
        time.sleep(0.0005)
    return False


def kill(process: subprocess.Popen, *, whole_group: bool) -> None:
    """Kills the launcher, or it and its workers; either way none of them is left after a few seconds."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    try:
        assert wait_for_end(process.pid), f"workers {of_group(process.pid)} outlive their launcher"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for_end(group: int) -> bool:
    deadline = time.monotonic() + 8
    while of_group(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def after_seconds(seconds: float) -> Callable[[Path], Callable[[], bool]]:
    def moment(_: Path) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    return moment


def after_shards(more: int, *, temporary: bool) -> Callable[[Path], Callable[[], bool]]:
    """When this many more shards are finished than at the start, or with `temporary` begun; or else all."""

    def moment(output: Path) -> Callable[[], bool]:
        wanted = min(shards(output, temporary=temporary) + more, PICTURES // SHARD_SIZE)
        return lambda: shards(output, temporary=temporary) >= wanted

    return moment


def after_file(name: str) -> Callable[[Path], Callable[[], bool]]:
    """When the file is there, if it was not, or another one is in its place."""

    def inode(output: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(output / name).st_ino  # noqa: PTH116 - fast
        return 0

    def moment(output: Path) -> Callable[[], bool]:
        before = inode(output)
        return lambda: inode(output) not in (0, before)

    return moment


RANDOM = random.Random(300)
# Moment, workers, whether all processes are killed at once. At the end of the job all that encodes is done already.
KILLS = [
    (after_seconds(RANDOM.uniform(0.1, 1)), 2, False),
    (after_file(".work/plan.json"), 2, True),
    (after_shards(1, temporary=True), 1, True),
    (after_shards(RANDOM.randint(1, 4), temporary=False), 2, True),
    (after_shards(RANDOM.randint(1, 4), temporary=True), 1, True),
    # Workers end within a second of their launcher; until then they go on.
    (after_shards(RANDOM.randint(1, 4), temporary=False), 2, False),
    (after_file("report.json"), 2, False),
    (after_file("dataset_info.json"), 1, True),
    (after_file("COMPLETED"), 1, False),
]


@pytest.mark.parametrize(
    ("moments", "most_ended"),
    [
        pytest.param([1, 3, 7], 1, id="three"),
        pytest.param(range(len(KILLS)), 3, id="nine", marks=pytest.mark.slow),
    ],
)
def test_a_job_killed_at_many_moments_ends_with_the_bytes_of_one_that_never_was(
    tree, never_killed, tmp_path, moments, most_ended
):
    output = tmp_path / "dataset"
    states, standing = [], []
    for moment, workers, whole_group in (KILLS[number] for number in moments):
        process = start(tree, output, workers)
        try:
            came = wait_until(process, moment(output))
        finally:
            kill(process, whole_group=whole_group)
        states.append(assert_unfinished_or_whole(output) if came else "ended")
        standing.append(shards(output))
    assert states.count("ended") <= most_ended, (states, standing)
    assert standing == sorted(standing), "a finished shard was lost"
    assert any(0 < count < 20 for count in standing), "no kill came in the midst of the shards"
    process = start(tree, output, 1)
    try:
        assert process.wait(timeout=90) == 0, (tree.parent / "log.txt").read_text()[-3000:]
    finally:
        kill(process, whole_group=True)
    assert_whole(output)
    found = content(output)
    assert found.keys() == never_killed.keys()
    assert [name for name in found if found[name] != never_killed[name]] == []
