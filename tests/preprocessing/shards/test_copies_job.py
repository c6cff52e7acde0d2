"""The job with augmented copies: splits for TFDS, totals, identity, and the same bytes after any damage."""

import dataclasses
import json
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers import content, write_voc_tree

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.files import sealed, unsealed
from ssd300.datasets.record import parse_record
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing import job
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION
from ssd300.preprocessing.job import check, preprocess
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.report.summary import summary
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.identity import identity_of

TRAIN = [f"{number:06d}" for number in range(12)]
TEST = [f"{number:06d}" for number in range(12, 15)]
OBJECTS = [("ant", 30, 20, 150, 100), ("bee", 100, 50, 280, 190)]


def records(folder, split: str) -> list:
    """The records of a split, shard after shard."""
    paths = sorted(map(str, Path(folder).glob(f"ssd300-{split}.tfrecord-*")))
    return [parse_record(one.numpy()) for one in tf.data.TFRecordDataset(paths)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    pictures = {name: OBJECTS[: number % 3] for number, name in enumerate(TRAIN + TEST)}
    return write_voc_tree(
        tmp_path_factory.mktemp("copies") / "VOC2007", pictures, image_sets={"train": TRAIN, "test": TEST}
    )


@pytest.fixture(scope="module")
def settings(tree) -> PreprocessSettings:
    """Two copies of `train`, in six shards of two images; none of `test`, in two."""
    sources = tuple(FolderSource(split, str(tree), split) for split in ("train", "test"))
    return PreprocessSettings(sources, ClassList(("ant", "bee")), shard_size=2, copies=2)


@pytest.fixture(scope="module")
def dataset(tree, settings) -> Path:
    """A dataset of a job that ran in one go. Read only."""
    output = tree.parent / "dataset"
    preprocess(settings, str(output), Execution(workers=1))
    return output


@pytest.fixture(scope="module")
def plain(tree, settings) -> Path:
    """The same without copies. Read only."""
    output = tree.parent / "plain"
    preprocess(dataclasses.replace(settings, copies=0), str(output), Execution(workers=1))
    return output


@pytest.fixture(scope="module")
def unfinished(tree, settings) -> Path:
    """The folder of a job whose shards are all finished and that ended before its dataset was finished. Read only."""
    output = tree.parent / "unfinished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_finish", lambda *_, **__: None)
        preprocess(settings, str(output), Execution(workers=1))
    return output


def test_tfds_reads_every_split_and_the_copies_in_the_order_of_their_pictures(dataset):
    builder = tfds.builder_from_directory(str(dataset))
    splits = builder.info.splits
    counts = {name: split.num_examples for name, split in splits.items()}
    assert counts == {"train": 12, "train_copy1": 12, "train_copy2": 12, "test": 3}
    assert splits["train_copy1"].shard_lengths == splits["train"].shard_lengths == [2] * 6
    read = {name: list(tfds.as_numpy(builder.as_dataset(split=name))) for name in splits}
    order = [one["image/id"] for one in read["train"]]
    assert sorted(order) == [f"VOC2007/{name}".encode() for name in TRAIN]
    for name in ("train_copy1", "train_copy2"):
        assert [one["image/id"] for one in read[name]] == order
        for one, record in zip(read[name], records(dataset, name), strict=True):
            assert one["image"].shape == (300, 300, 3)
            np.testing.assert_array_equal(one["image"], tf.io.decode_jpeg(record.image, channels=3).numpy())
            assert (one["image/height"], one["image/width"]) == (300, 300)
            assert one["image/shown"].tolist() == record.shown
            np.testing.assert_array_equal(one["objects"]["bbox"], record.boxes)
            assert one["objects"]["label"].tolist() == record.labels
            np.testing.assert_array_equal(one["targets"]["index"], record.targets[0])
            np.testing.assert_array_equal(one["flipped_targets"]["offsets"], record.flipped_targets[2])
    assert {one["image"].shape for one in read["train"]} == {(200, 300, 3)}
    assert len(list(builder.as_dataset(split="train_copy1[:5]+train_copy2[5:]"))) == 12


def test_tfds_knows_the_size_of_the_copies(dataset):
    splits = tfds.builder_from_directory(str(dataset)).info.splits
    for name in ("train", "train_copy1", "train_copy2", "test"):
        paths = sorted(map(str, dataset.glob(f"ssd300-{name}.tfrecord-*")))
        assert splits[name].num_bytes == sum(len(one.numpy()) for one in tf.data.TFRecordDataset(paths))
        assert splits[name].num_shards == len(paths)


def test_the_files_are_the_shards_and_those_of_their_copies(dataset):
    names = {path.name for path in dataset.glob("*.tfrecord*")}
    train = {f"ssd300-train{copy}.tfrecord-{n:05d}-of-00006" for copy in ("", "_copy1", "_copy2") for n in range(6)}
    assert names == train | {f"ssd300-test.tfrecord-{n:05d}-of-00002" for n in range(2)}
    assert not [name for name in content(dataset) if ".tmp" in name or name.startswith(".work")]


def test_the_report_counts_what_is_in_the_files_of_the_copies(dataset):
    report = EncodedDataset.open(str(dataset)).report
    copies = records(dataset, "train_copy1") + records(dataset, "train_copy2")
    splits = tfds.builder_from_directory(str(dataset)).info.splits
    expected = {
        "number": 2,
        "objects": sum(len(record.labels) for record in copies),
        "matches": sum(len(record.targets[0]) for record in copies),
        "bytes": splits["train_copy1"].num_bytes + splits["train_copy2"].num_bytes,
    }
    assert expected["objects"] > 10
    assert report["splits"]["train"]["copies"] == report["total"]["copies"] == expected
    assert report["splits"]["test"]["copies"] == {"number": 0, "objects": 0, "matches": 0, "bytes": 0}


def test_the_summary_has_a_line_for_the_copies(dataset, plain):
    report = EncodedDataset.open(str(dataset)).report
    copies = report["total"]["copies"]
    (line,) = [line for line in summary(report).splitlines() if "copies" in line]
    assert line.split() == [
        "train,", "2", "copies", "24", str(copies["objects"]), f"{copies['matches']:,}", f"{copies['bytes'] / 1e6:.1f}",
    ]  # fmt: skip
    assert "train, 2 copies" in (dataset / "report.html").read_text()
    assert "cop" not in summary(EncodedDataset.open(str(plain)).report)


def test_copies_change_nothing_else(dataset, plain):
    """Records, and all totals but their own, are those of a job without copies."""
    with_copies, without = content(dataset), content(plain)
    shards = {name for name in without if ".tfrecord-" in name}
    assert {name for name in with_copies if ".tfrecord-" in name and "_copy" not in name} == shards
    assert all(with_copies[name] == without[name] for name in shards | {"features.json", "rejected.jsonl"})
    assert with_copies.keys() - without.keys() == {name for name in with_copies if "_copy" in name}
    reports = [EncodedDataset.open(str(folder)).report for folder in (dataset, plain)]
    for report in reports:
        for part in (report["total"], *report["splits"].values()):
            del part["copies"]
    assert reports[0] == reports[1]


def test_the_identity_names_the_copies(dataset, plain):
    identity, without = EncodedDataset.open(str(dataset)).identity, EncodedDataset.open(str(plain)).identity
    assert identity.copies == {"train": 2}
    assert (identity.fields["copy_augmentation"]["expand"], identity.fields["seed"]) == (4.0, 0)
    assert (without.copies, without.fields["copy_augmentation"]) == ({}, None)
    differing = {name for name in identity.fields if identity.fields[name] != without.fields[name]}
    assert differing == {"copies", "copy_augmentation"}


def test_another_number_or_augmentation_of_copies_makes_another_identity(settings):
    def fingerprint(**change) -> str:
        return identity_of(make_plan(dataclasses.replace(settings, **change))).fingerprint

    changes = [
        {},
        {"copies": 0},
        {"copies": 3},
        {"copies_of": ("train", "test")},
        {"copies_of": ("test",)},
        {"copy_augmentation": dataclasses.replace(PAPER_AUGMENTATION, expand=None)},
        {"copy_augmentation": dataclasses.replace(PAPER_AUGMENTATION, expand=3.0)},
        {"copy_augmentation": dataclasses.replace(PAPER_AUGMENTATION, crop_tries=5)},
    ]
    assert len({fingerprint(**change) for change in changes}) == len(changes)
    assert fingerprint(copies_of=("test", "train")) == fingerprint(copies_of=("train", "test"))


def test_two_workers_write_the_same_bytes(settings, dataset, tmp_path):
    preprocess(settings, str(tmp_path / "dataset"), Execution(workers=2))
    assert content(tmp_path / "dataset") == content(dataset)


def test_copies_that_are_missing_or_damaged_have_their_shards_made_again_alone(
    settings, dataset, unfinished, tmp_path, encoded
):
    output = Path(shutil.copytree(unfinished, tmp_path / "dataset"))

    def path(copy: int, shard: int) -> Path:
        return output / f"ssd300-train_copy{copy}.tfrecord-{shard:05d}-of-00006"

    path(2, 0).unlink()
    path(1, 1).write_bytes(path(1, 1).read_bytes()[:-7])
    one, other = path(1, 2).read_bytes(), path(2, 2).read_bytes()
    assert len(one) != len(other)
    path(1, 2).write_bytes(other)
    path(2, 2).write_bytes(one)
    (output / ".work/reports/train-00003.json").unlink()
    path(2, 4).write_bytes(path(2, 4).read_bytes() * 2)
    (output / f"ssd300-train_copy1.tfrecord-00005-of-00006.tmp-{32 * 'd'}").write_bytes(b"half")
    preprocess(settings, str(output), Execution(workers=1))
    assert sorted(encoded) == [f"train-{shard:05d}" for shard in range(5)]
    assert content(output) == content(dataset)


@pytest.mark.parametrize("change", [{"copy_bytes": []}, {"copy_bytes": [1]}, {"copy_bytes": None}], ids=str)
def test_a_report_that_does_not_cover_the_copies_is_not_believed(
    settings, dataset, unfinished, tmp_path, encoded, change
):
    output = Path(shutil.copytree(unfinished, tmp_path / "dataset"))
    path = output / ".work/reports/train-00003.json"
    path.write_text(sealed(json.dumps(json.loads(unsealed(str(path))) | change)))
    preprocess(settings, str(output), Execution(workers=1))
    assert encoded == ["train-00003"]
    assert content(output) == content(dataset)


KILLED = """
import os, pickle, signal, sys
from ssd300.preprocessing.shards import encode_shard
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
copy, seen = encode_shard.augmented_copies, []
def killed(*arguments):
    for record in copy(*arguments):
        seen.append(record)
        if len(seen) == 7:  # in the second copy of the second shard
            os.kill(os.getpid(), signal.SIGKILL)
        yield record
encode_shard.augmented_copies = killed
preprocess(pickle.loads(bytes.fromhex(sys.argv[1])), sys.argv[2], Execution(workers=1))
"""


def test_a_job_killed_in_the_middle_of_a_copy_resumes_to_the_same_bytes(settings, dataset, tmp_path, encoded):
    output = tmp_path / "dataset"
    command = [sys.executable, "-c", KILLED, pickle.dumps(settings).hex(), str(output)]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    left = content(output)
    assert not {"COMPLETED", "dataset_info.json"} & left.keys()
    assert len([name for name in left if ".tfrecord-" in name and ".tmp-" not in name]) == 3
    assert len([name for name in left if ".tmp-" in name]) == 3
    preprocess(settings, str(output), Execution(workers=1))
    assert len(encoded) == 7
    assert content(output) == content(dataset)


def test_another_number_of_copies_is_another_job(settings, dataset, unfinished, tmp_path, encoded):
    other = dataclasses.replace(settings, copies=1)
    with pytest.raises(ValueError, match="another dataset"):
        preprocess(other, str(dataset), Execution(workers=1))
    output = Path(shutil.copytree(unfinished, tmp_path / "dataset"))
    with pytest.raises(ValueError, match="unfinished job with another plan"):
        preprocess(other, str(output), Execution(workers=1))
    assert content(output) == content(unfinished)
    assert encoded == []


def test_a_finished_dataset_is_not_made_again(settings, dataset, encoded):
    before = content(dataset)
    assert preprocess(settings, str(dataset), Execution(workers=1)) == EncodedDataset.open(str(dataset)).report
    assert encoded == []
    assert content(dataset) == before


def test_a_check_makes_no_copies(settings, dataset, tmp_path):
    report = check(settings, str(tmp_path / "check"), Execution(workers=1))
    assert content(tmp_path / "check").keys() == {"report.json", "report.html", "rejected.jsonl"}
    expected = EncodedDataset.open(str(dataset)).report
    for part in (expected["total"], expected["splits"]["train"]):
        part["copies"] = {"number": 0, "objects": 0, "matches": 0, "bytes": 0}
    assert report == expected


def test_rejected_pictures_have_no_copies_and_a_shard_may_have_no_others(voc_tree, tmp_path):
    pictures = dict.fromkeys(TRAIN[:3], OBJECTS)
    root = voc_tree(pictures, files={f"JPEGImages/{TRAIN[1]}.jpg": b"broken"})
    settings = PreprocessSettings(
        (FolderSource("train", str(root), "train"),), ClassList(("ant", "bee")), shard_size=1, copies=1
    )
    output = str(tmp_path / "dataset")
    report = preprocess(settings, output, Execution(workers=1, max_rejected=0.5))
    assert (report["total"]["written"], report["total"]["rejected"]) == (2, 1)
    builder = tfds.builder_from_directory(output)
    assert sorted(builder.info.splits["train_copy1"].shard_lengths) == [0, 1, 1]
    ids = [[one["image/id"] for one in builder.as_dataset(split=split)] for split in ("train", "train_copy1")]
    assert len(ids[0]) == 2
    assert ids[0] == ids[1]
