"""`EncodedDataset.files`, of a dataset with two augmented copies of `train`, in files of five records."""

from pathlib import Path

import pytest
import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import (
    EncodedDataset,
    SplitFiles,
)
from ssd300.datasets.record import parse
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """An encoded dataset: 24 images in `train`, each with two copies, and 4 in `test`."""
    folder = tmp_path_factory.mktemp("copied")
    write_shapes_tree(folder / "tree", {"train": 24, "test": 4}, seed=0)
    sources = tuple(FolderSource(split, str(folder / "tree"), split) for split in ("train", "test"))
    settings = PreprocessSettings(sources=sources, classes=ClassList(CLASSES), shard_size=5, copies=2)
    preprocess(settings, str(folder / "dataset"), Execution(workers=1, max_rejected=0.0))
    return EncodedDataset.open(str(folder / "dataset"))


def ids(paths):
    return [parse(serialized)["id"].numpy() for serialized in tf.data.TFRecordDataset(list(paths))]


def write(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return str(path)


def test_copies_are_no_splits_of_their_own(copied):
    assert copied.splits == {"train": 24, "test": 4}


def test_only_the_split_that_was_copied_has_copies(copied):
    assert [copied.identity.copies.get(split, 0) for split in ("train", "test", "nothing")] == [
        2,
        0,
        0,
    ]


def test_without_copies_there_is_one_variant_whose_files_hold_all_records(copied):
    files = copied.files("train")
    assert len(files.variants) == 1
    assert (files.records, sum(files.lengths), len(files.lengths)) == (24, 24, 5)
    assert max(files.lengths) <= 5
    assert all(Path(path).is_file() for path in files.variants[0])
    assert [len(ids([path])) for path in files.variants[0]] == list(files.lengths)


def test_record_bytes_is_the_mean_size_of_an_original(copied):
    files = copied.files("train")
    sizes = [len(record) for record in tf.data.TFRecordDataset(list(files.variants[0])).as_numpy_iterator()]
    assert files.record_bytes == pytest.approx(sum(sizes) / 24, rel=0.01)  # 16 bytes of framing, if they are counted
    assert copied.files("train", copies=True).record_bytes == files.record_bytes


def test_copies_follow_the_originals_and_show_the_same_pictures_in_the_same_order(copied):
    files = copied.files("train", copies=True)
    assert files.records == 24
    assert files.variants[0] == copied.files("train").variants[0]
    assert [Path(paths[0]).name.split("-")[1].split(".")[0] for paths in files.variants] == [
        "train",
        "train_copy1",
        "train_copy2",
    ]
    originals, first, second = (ids(paths) for paths in files.variants)
    assert len(set(originals)) == 24
    assert originals == first == second


def test_a_copy_can_be_named_as_a_split(copied):
    assert copied.files("train_copy2").variants[0] == copied.files("train", copies=True).variants[2]


def test_an_unknown_split_is_refused_with_those_there_are_but_not_the_copies(copied):
    with pytest.raises(ValueError, match=r"no split 'val', it has: ") as refused:
        copied.files("val")
    assert set(str(refused.value).rsplit(": ", 1)[1].split(", ")) == {"train", "test"}


def test_a_split_without_copies_is_refused_with_the_option_that_makes_them(copied):
    with pytest.raises(ValueError, match=r"no augmented copies of 'test'"):
        copied.files("test", copies=True)


def test_a_record_is_found_by_its_number_in_all_variants(tmp_path):
    # Lengths 2, 0, 1: number 2 is the first of the third file.
    variants = tuple(
        tuple(
            write(tmp_path / f"{name}{i}", [name.encode() + content for content in contents])
            for i, contents in enumerate([[b"0", b"1"], [], [b"2"]])
        )
        for name in "ab"
    )
    files = SplitFiles(variants, (2, 0, 1), 2.0)
    assert files.records == 3
    assert [[record.numpy() for record in files.read(n)] for n in range(3)] == [
        [b"a0", b"b0"],
        [b"a1", b"b1"],
        [b"a2", b"b2"],
    ]
