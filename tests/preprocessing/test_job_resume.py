"""The job and its folder: finished datasets, refused folders, lost shards, dead workers and kills."""

import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import content
from small_job import assert_looks_unfinished, settings_of

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing import job
from ssd300.preprocessing.job import JobError, preprocess
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.runners import beam_pipeline, local_workers
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.runners.shard_list import places_in, read_shard, write_shard_list


def shards_in(path: str) -> list[Shard]:
    """The shards of a list that was given to Beam."""
    return [read_shard(place) for place in places_in(path)]


def test_a_complete_dataset_is_left_alone(settings, output, encoded):
    report = preprocess(settings, output)
    before = {path: path.stat().st_mtime_ns for path in Path(output).iterdir()}
    encoded.clear()
    assert preprocess(settings, f"{output}/") == report
    assert encoded == []
    assert {path: path.stat().st_mtime_ns for path in Path(output).iterdir()} == before


def test_another_plan_in_the_folder_is_refused(tree, settings, output, monkeypatch):
    other = settings_of(*settings.sources, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(job, "_finish", lambda *_, **__: None)  # the job stops before its end
        preprocess(settings, output)
    unfinished = content(output)
    with pytest.raises(ValueError, match="unfinished job with another plan"):
        preprocess(other, output)
    assert content(output) == unfinished
    preprocess(settings, output)
    with pytest.raises(ValueError, match="another dataset"):
        preprocess(other, output)


def test_a_folder_of_something_else_is_refused_and_left_alone(settings, output):
    Path(output).mkdir()
    Path(output, "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        preprocess(settings, output)
    assert content(output) == {"thesis.txt": b"mine"}


def test_an_output_that_is_a_file_is_refused(settings, output):
    Path(output).write_text("mine")
    with pytest.raises(ValueError, match="dataset"):
        preprocess(settings, output)


@pytest.mark.parametrize("options", [{"max_rejected": -0.1}, {"max_rejected": 1.1}, {"workers": 0}], ids=str)
def test_invalid_arguments_are_refused_before_anything_is_written(settings, output, options):
    with pytest.raises(InputError, match=next(iter(options))):
        preprocess(settings, output, Execution(**options))
    assert not Path(output).exists()


def test_a_runner_that_lost_shards_once_is_run_again_for_them(settings, output, monkeypatch):
    run, calls = beam_pipeline.run_pipeline, []

    def lose_once(shards, *args, **kwargs):
        given = shards_in(shards)
        calls.append([shard.key for shard in given])
        if len(calls) == 1:
            write_shard_list(shards, given[1:])
        run(shards, *args, **kwargs)

    monkeypatch.setattr(beam_pipeline, "run_pipeline", lose_once)
    assert preprocess(settings, output)["total"]["written"] == 9
    assert calls == [["train-00000", "train-00001", "train-00002"], ["train-00000"]]


def test_a_runner_that_always_loses_a_shard_fails_the_job_by_its_name(settings, output, monkeypatch):
    run = beam_pipeline.run_pipeline

    def lose(shards, *args, **kwargs):
        write_shard_list(shards, [shard for shard in shards_in(shards) if shard.index != 1])
        run(shards, *args, **kwargs)

    monkeypatch.setattr(beam_pipeline, "run_pipeline", lose)
    with pytest.raises(JobError, match=r"1 of 3 shards.*train\.tfrecord-00001-of-00003"):
        preprocess(settings, output)
    assert_looks_unfinished(output)


@pytest.mark.parametrize("script", ["exit 1", "cat > /dev/null; exit 1"], ids=["at once", "after their orders"])
def test_workers_that_die_fail_the_job(settings, output, monkeypatch, tmp_path, script):
    popen = subprocess.Popen

    def start(*args, **kwargs):
        process = popen(*args, **kwargs)
        time.sleep(0.2)  # the worker dies first, if it can
        return process

    (tmp_path / "dies").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "dies").chmod(0o755)
    monkeypatch.setattr(local_workers.sys, "executable", str(tmp_path / "dies"))
    monkeypatch.setattr(local_workers.subprocess, "Popen", start)
    with pytest.raises(JobError, match="3 of 3 shards"):
        preprocess(settings, output, Execution(workers=2))
    assert_looks_unfinished(output)


KILLED = """
import os, pickle, signal, sys
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.shards import encode_shard
seen = []
def tick(count):
    seen.append(count)
    if len(seen) == 5:  # in the middle of the second shard
        os.kill(os.getpid(), signal.SIGKILL)
encode_shard.ticker = lambda folder: tick
preprocess(pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2], Execution(workers=1))
"""


def test_a_killed_job_resumes_to_the_same_bytes(settings, output, encoded):
    command = [sys.executable, "-c", KILLED, pickle.dumps(settings).hex(), output]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    assert_looks_unfinished(output)
    assert len([name for name in content(output) if ".tfrecord-" in name and ".tmp-" not in name]) == 1
    assert [name for name in content(output) if ".tmp-" in name]
    preprocess(settings, output)
    assert len(encoded) == 2
    preprocess(settings, f"{output}-whole")
    assert content(output) == content(f"{output}-whole")


def test_damaged_shards_of_an_unfinished_job_are_made_again_alone(settings, output, encoded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(job, "_finish", lambda *_, **__: None)
        preprocess(settings, output)
    shards = sorted(Path(output).glob("*.tfrecord-*"))
    shards[0].write_bytes(shards[0].read_bytes()[:-7])
    Path(output, ".work/reports/train-00002.json").unlink()
    Path(output, f"{shards[1].name}.tmp-{32 * 'd'}").write_bytes(b"half")
    encoded.clear()
    preprocess(settings, output)
    assert sorted(encoded) == ["train-00000", "train-00002"]
    preprocess(settings, f"{output}-whole")
    assert content(output) == content(f"{output}-whole")


@pytest.mark.parametrize("left", [".work/reports", ".work/plan.json.tmp-0123"])
def test_a_job_killed_before_its_plan_was_written_can_be_run_again(settings, output, left):
    Path(output, ".work/reports").mkdir(parents=True)
    if "plan" in left:
        Path(output, left).write_text('{"half')
    assert preprocess(settings, output)["total"]["written"] == 9


def test_a_moved_tree_gives_the_same_records(tree, settings, output, tmp_path):
    preprocess(settings, output)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tree, tmp_path / "elsewhere" / "VOC2007")
    preprocess(settings_of(FolderSource("train", str(moved), "train")), f"{output}-moved")
    first, second = content(output), content(f"{output}-moved")
    assert {name for name in first if first[name] != second[name]} <= {"COMPLETED"}
    assert (
        EncodedDataset.open(output).identity.fingerprint == EncodedDataset.open(f"{output}-moved").identity.fingerprint
    )
