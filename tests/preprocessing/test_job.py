"""The job from a tree to a dataset: accounts, formats, several workers, lost shards, kills and refusals."""

import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import (
    EncodedDataset,
)
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing import job
from ssd300.preprocessing.job import JobError, TooManyRejectsError, preprocess
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.runners import beam_pipeline, execution, local_workers
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.runners.shard_list import places_in, read_shard, write_shard_list
from ssd300.preprocessing.settings import PreprocessSettings

BOX = (30, 20, 150, 100)
GOOD = {f"{number:06d}": [("ant", *BOX), ("bee", number + 1, 50, 280, 190)] for number in range(9)}
BROKEN = {"JPEGImages/000002.jpg": b"broken", "Annotations/000005.xml": None}


def settings_of(*sources: FolderSource, **options) -> PreprocessSettings:
    return PreprocessSettings(sources=sources, classes=ClassList(("ant", "bee")), **{"shard_size": 3, **options})


def content(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def shards_in(path: str) -> list[Shard]:
    """The shards of a list that was given to Beam."""
    return [read_shard(place) for place in places_in(path)]


def assert_looks_unfinished(folder) -> None:
    assert not {"COMPLETED", "dataset_info.json", "features.json", "identity.json"} & content(folder).keys()


@pytest.fixture
def tree(voc_tree) -> Path:
    return voc_tree(GOOD)


@pytest.fixture
def settings(tree) -> PreprocessSettings:
    return settings_of(FolderSource("train", str(tree), "train"))


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "dataset")


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """Keys of the shards that were given to Beam, in the order of the calls."""
    keys: list[str] = []
    run = beam_pipeline.run_pipeline
    monkeypatch.setattr(
        beam_pipeline,
        "run_pipeline",
        lambda shards, *args, **kwargs: (keys.extend(s.key for s in shards_in(shards)), run(shards, *args, **kwargs)),
    )
    return keys


def test_good_and_broken_pictures_are_all_accounted_for(voc_tree, output):
    root = voc_tree(GOOD | {"negative": []}, files=BROKEN)
    report = preprocess(settings_of(FolderSource("train", str(root), "train")), output, max_rejected=0.2)
    total = report["total"]
    assert (total["read"], total["written"], total["rejected"], total["negatives"]) == (10, 8, 2, 1)
    assert total["rejected_by_fault"] == {"undecodable_picture": 1, "missing_annotation": 1}
    assert total["objects"] == {"ant": 7, "bee": 7}
    assert report == EncodedDataset.open(output).report
    rows = [json.loads(line) for line in Path(output, "rejected.jsonl").read_text().splitlines()]
    assert {(row["fault"], row["path"]) for row in rows} == {
        ("undecodable_picture", f"{root}/JPEGImages/000002.jpg"),
        ("missing_annotation", f"{root}/Annotations/000005.xml"),
    }
    assert all(row["message"] for row in rows)
    assert {"COMPLETED", "report.html"} <= content(output).keys()
    assert not [name for name in content(output) if ".tmp" in name or name.startswith(".work")]


def test_tfds_reads_several_sources_and_splits_with_their_counts_and_values(voc_tree, output):
    first = voc_tree(GOOD, name="VOC2007", image_sets={"trainval": list(GOOD)[:6], "test": list(GOOD)[6:]})
    second = voc_tree(
        {"2012_1": [("bee", *BOX)], "2012_2": []}, name="VOC2012", image_sets={"trainval": ["2012_1", "2012_2"]}
    )
    sources = [FolderSource("train", str(root), "trainval") for root in (first, second)]
    preprocess(settings_of(*sources, FolderSource("test", str(first), "test")), output)
    builder = tfds.builder_from_directory(output)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 8, "test": 3}
    assert builder.info.features["objects"]["label"].names == ["background", "ant", "bee"]
    train = {one["image/id"].decode(): one for one in tfds.as_numpy(builder.as_dataset(split="train"))}
    assert train.keys() == {f"VOC2007/{name}" for name in list(GOOD)[:6]} | {"VOC2012/2012_1", "VOC2012/2012_2"}
    one = train["VOC2007/000004"]
    np.testing.assert_allclose(
        one["objects"]["bbox"], [[0.1, 0.1, 0.5, 0.5], [0.25, 5 / 300, 0.95, 280 / 300]], rtol=1e-6
    )
    assert one["objects"]["label"].tolist() == [1, 2]
    data = (first / "JPEGImages/000004.jpg").read_bytes()
    np.testing.assert_array_equal(one["image"], tf.io.decode_jpeg(data, channels=3).numpy())
    assert len(one["targets"]["index"]) == len(one["targets"]["offsets"]) > 0
    assert train["VOC2012/2012_2"]["objects"]["bbox"].shape == (0, 4)
    test = {one["image/id"].decode() for one in tfds.as_numpy(builder.as_dataset(split="test"))}
    assert test == {f"VOC2007/{name}" for name in list(GOOD)[6:]}


def test_the_metadata_names_no_code_of_this_package(settings, output):
    preprocess(settings, output)
    assert b"ssd300." not in content(output)["features.json"]


def test_pictures_of_two_trees_of_one_name_have_different_ids(voc_tree, output):
    sources = [FolderSource("train", str(voc_tree({"1": []}, name=f"{side}/VOC2007")), "train") for side in "ab"]
    preprocess(settings_of(*sources), output)
    examples = tfds.as_numpy(tfds.builder_from_directory(output).as_dataset(split="train"))
    assert len({one["image/id"] for one in examples}) == 2


def test_too_many_rejects_fail_loudly_and_leave_no_dataset(voc_tree, output):
    settings = settings_of(FolderSource("train", str(voc_tree(GOOD, files=BROKEN)), "train"))
    with pytest.raises(TooManyRejectsError, match=r"(?s)2 of 9.*missing_annotation.*000005\.xml") as caught:
        preprocess(settings, output, Execution(max_rejected=0.2))
    assert caught.value.report == EncodedDataset.open(output).report
    assert caught.value.report["total"]["rejected"] == 2
    assert_looks_unfinished(output)
    assert content(output)["rejected.jsonl"].count(b"\n") == 2
    assert preprocess(settings, output, Execution(max_rejected=0.3))["total"]["written"] == 7


def test_pictures_mended_after_too_many_rejects_are_looked_at_again(voc_tree, output):
    settings = settings_of(FolderSource("train", str(voc_tree(GOOD, files=BROKEN)), "train"))
    with pytest.raises(TooManyRejectsError):
        preprocess(settings, output)
    voc_tree(GOOD)
    assert preprocess(settings, output)["total"]["written"] == 9


def test_a_split_without_a_record_is_no_dataset(voc_tree, output):
    """TFDS cannot read a dataset with an empty split."""
    root = voc_tree(GOOD, image_sets={"train": list(GOOD), "test": ["000002"]}, files=BROKEN)
    settings = settings_of(*(FolderSource(split, str(root), split) for split in ("train", "test")))
    with pytest.raises(JobError, match="test"):
        preprocess(settings, output, Execution(max_rejected=1.0))
    assert_looks_unfinished(output)


def test_a_shard_without_a_record_is_fine(voc_tree, output):
    root = voc_tree(GOOD, files=BROKEN)
    preprocess(settings_of(FolderSource("train", str(root), "train"), shard_size=1), output, max_rejected=0.5)
    assert len(list(tfds.builder_from_directory(output).as_dataset(split="train"))) == 7


def test_the_records_do_not_depend_on_the_number_of_workers(settings, output, monkeypatch):
    run, calls = execution._run_processes, []
    monkeypatch.setattr(execution, "_run_processes", lambda tasks, ready: (calls.append(len(tasks)), run(tasks, ready)))
    preprocess(settings, output, Execution(workers=1))
    assert calls == []
    preprocess(settings, f"{output}-2", Execution(workers=2))
    assert calls == [2]  # and no second attempt
    assert content(output) == content(f"{output}-2")
    assert len([name for name in content(output) if "tfrecord" in name]) == 3


def test_workers_that_get_nothing_to_do_end():
    with local_workers.LocalWorkers() as ready:
        process = ready._process
    assert process.poll() is not None


def test_empty_pictures_that_are_not_wanted_are_accounted_for_but_no_bad_input(voc_tree, output):
    root = voc_tree(GOOD | {"negative": [], "other": []})
    settings = settings_of(FolderSource("train", str(root), "train"), drop_empty=True)
    total = preprocess(settings, output, Execution(max_rejected=0.0))["total"]
    assert (total["read"], total["written"], total["rejected"], total["negatives"]) == (11, 9, 2, 0)
    assert total["rejected_by_fault"] == {"dropped_empty": 2}
    assert content(output)["rejected.jsonl"].count(b"dropped_empty") == 2


def test_small_objects_reach_neither_records_nor_counts(settings, output):
    """The ants are 80 of 200 pixels high, the bees 140."""
    total = preprocess(settings_of(*settings.sources, min_size=100), output)["total"]
    assert total["objects"] == {"ant": 0, "bee": 9}
    assert total["repaired"] == {"small_object": 9}
    examples = tfds.as_numpy(tfds.builder_from_directory(output).as_dataset(split="train"))
    assert [one["objects"]["label"].tolist() for one in examples] == [[2]] * 9


def test_a_flat_folder_without_image_set_becomes_a_dataset(tmp_path, output, jpeg, voc_xml):
    (tmp_path / "flat").mkdir()
    for number in range(3):
        (tmp_path / f"flat/p{number}.jpg").write_bytes(jpeg(seed=number))
        (tmp_path / f"flat/p{number}.xml").write_bytes(voc_xml([("ant", *BOX)]))
    (tmp_path / "flat/p3.xml").write_bytes(voc_xml([]))
    report = preprocess(settings_of(FolderSource("train", str(tmp_path / "flat"))), output, max_rejected=0.5)
    assert (report["total"]["written"], report["total"]["rejected_by_fault"]) == (3, {"missing_picture": 1})
    examples = tfds.as_numpy(tfds.builder_from_directory(output).as_dataset(split="train"))
    assert {one["image/id"] for one in examples} == {b"flat/p0", b"flat/p1", b"flat/p2"}
    assert EncodedDataset.open(output).identity.fields["sources"] == ["train=flat:*"]


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
def test_senseless_arguments_are_refused_before_anything_is_written(settings, output, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        preprocess(settings, output, **options)
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
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.job import preprocess
encode, seen = beam_pipeline.encode_shard, []
def tick(count):
    seen.append(count)
    if len(seen) == 5:  # in the middle of the second shard
        os.kill(os.getpid(), signal.SIGKILL)
beam_pipeline.encode_shard = lambda *args, **kwargs: encode(*args, **{**kwargs, "tick": tick})
preprocess(pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2], Execution(workers=1))
"""


def test_a_killed_job_goes_on_to_the_same_bytes(settings, output, encoded):
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
    Path(output, f"{shards[1].name}.tmp-dead").write_bytes(b"half")
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
