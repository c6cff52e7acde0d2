"""The job from a tree to a dataset: totals, formats, several workers, rejects and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers import content
from small_job import BOX, BROKEN, GOOD, assert_looks_unfinished, settings_of

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.job import JobError, TooManyRejectsError, preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.runners.local_workers import LocalWorkers


def test_good_and_broken_pictures_are_all_counted(voc_tree, output):
    root = voc_tree(GOOD | {"negative": []}, files=BROKEN)
    report = preprocess(settings_of(FolderSource("train", str(root), "train")), output, Execution(max_rejected=0.2))
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
    assert caught.value.report == json.loads(content(output)["report.json"])
    assert caught.value.report["total"]["rejected"] == 2
    assert_looks_unfinished(output)
    assert content(output)["rejected.jsonl"].count(b"\n") == 2
    assert preprocess(settings, output, Execution(max_rejected=0.3))["total"]["written"] == 7


def test_pictures_repaired_after_too_many_rejects_are_checked_again(voc_tree, output):
    settings = settings_of(FolderSource("train", str(voc_tree(GOOD, files=BROKEN)), "train"))
    with pytest.raises(TooManyRejectsError):
        preprocess(settings, output)
    voc_tree(GOOD)
    assert preprocess(settings, output)["total"]["written"] == 9


def test_a_split_without_a_record_is_not_a_dataset(voc_tree, output):
    """TFDS cannot read a dataset with an empty split."""
    root = voc_tree(GOOD, image_sets={"train": list(GOOD), "test": ["000002"]}, files=BROKEN)
    settings = settings_of(*(FolderSource(split, str(root), split) for split in ("train", "test")))
    with pytest.raises(JobError, match="test"):
        preprocess(settings, output, Execution(max_rejected=1.0))
    assert_looks_unfinished(output)


def test_a_shard_without_a_record_is_fine(voc_tree, output):
    root = voc_tree(GOOD, files=BROKEN)
    preprocess(
        settings_of(FolderSource("train", str(root), "train"), shard_size=1), output, Execution(max_rejected=0.5)
    )
    assert len(list(tfds.builder_from_directory(output).as_dataset(split="train"))) == 7


def test_the_records_do_not_depend_on_the_number_of_workers(settings, output, monkeypatch):
    run, calls = LocalWorkers.run, []
    monkeypatch.setattr(LocalWorkers, "run", lambda self, tasks: (calls.append(len(tasks)), run(self, tasks))[1])
    preprocess(settings, output, Execution(workers=1))
    assert calls == []
    preprocess(settings, f"{output}-2", Execution(workers=2))
    assert calls == [2]  # and no second attempt
    assert content(output) == content(f"{output}-2")
    assert len([name for name in content(output) if "tfrecord" in name]) == 3


def test_workers_that_get_nothing_to_do_end():
    with LocalWorkers() as ready:
        process = ready._process
    assert process.poll() is not None


def test_empty_pictures_that_are_not_wanted_are_counted_but_are_not_bad_input(voc_tree, output):
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
    report = preprocess(settings_of(FolderSource("train", str(tmp_path / "flat"))), output, Execution(max_rejected=0.5))
    assert (report["total"]["written"], report["total"]["rejected_by_fault"]) == (3, {"missing_picture": 1})
    examples = tfds.as_numpy(tfds.builder_from_directory(output).as_dataset(split="train"))
    assert {one["image/id"] for one in examples} == {b"flat/p0", b"flat/p1", b"flat/p2"}
    assert EncodedDataset.open(output).identity.fields["sources"] == ["train=flat:*"]
