"""The settings of a job validate themselves."""

import dataclasses
import math
from dataclasses import replace

import pytest

from ssd300.datasets.classes import VOC, ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.tfds import TfdsSource
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION as AUGMENTATION
from ssd300.preprocessing.settings import PreprocessSettings

GOOD = PreprocessSettings(sources=(FolderSource("train", "/data/VOC2007", "trainval"),), classes=VOC)


def test_the_defaults():
    assert (GOOD.preset, GOOD.coordinates, GOOD.verify, GOOD.seed) == ("paper", "caffe", "decode", 0)
    assert (GOOD.min_size, GOOD.drop_empty, GOOD.shard_size) == (0.0, False, 512)
    assert (GOOD.copies, GOOD.copies_of, GOOD.copy_augmentation) == (0, ("train",), AUGMENTATION)
    assert GOOD.spec is PAPER
    assert dataclasses.replace(GOOD, preset="article").spec is ARTICLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ()}, "at least one source"),
        ({"preset": "papre"}, r"one of paper, .*article, got 'papre'"),
        ({"coordinates": "zero"}, r"one of caffe, inclusive, got 'zero'"),
        ({"verify": "none"}, r"one of decode, header, got 'none'"),
        ({"shard_size": 0}, "got 0"),
        ({"shard_size": -3}, "got -3"),
        ({"shard_size": 100_001}, "got 100001"),
        ({"seed": -1}, "-1"),
        ({"min_size": -0.5}, "min_size .* got -0.5"),
        ({"min_size": math.nan}, "min_size .* got nan"),
        ({"min_size": math.inf}, "min_size .* got inf"),
        ({"copies": -1}, "copies .* got -1"),
        ({"copies": 1001}, "copies .* got 1001"),
        ({"copies": 1, "copies_of": ("test",)}, "copies are wanted of split test, there are: train"),
        ({"copies": 1, "copies_of": ("train", "val", "dev")}, "split dev, val, there are: train"),
        ({"copies": 1, "copies_of": ()}, "split none, there are: train"),
        ({"copies_of": ("test",)}, "no number of copies"),
        ({"copy_augmentation": replace(AUGMENTATION, expand=None)}, "no number of copies"),
        ({"copy_augmentation": replace(AUGMENTATION, hue=3.0)}, "expanded and cropped, nothing else .*hue=3.0"),
        ({"copy_augmentation": replace(AUGMENTATION, flip_probability=0)}, "nothing else .*flip_probability=0"),
        ({"copy_augmentation": "paper"}, "copy_augmentation must be of type Augmentation, got 'paper'"),
        ({"copies": 1.5}, "copies must be a whole number, got 1.5"),
        ({"drop_empty": "yes"}, "drop_empty must be true or false, got 'yes'"),
        ({"classes": ("cat",)}, "classes must be of type ClassList"),
    ],
)
def test_settings_that_cannot_be_used_say_what_was_expected_and_got(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GOOD, **change)


TRAIN, COPY1, COPY2 = (FolderSource(split, "VOC2007", "train") for split in ("train", "train_copy1", "train_copy2"))


def test_a_split_that_has_the_name_of_a_copy_is_refused():
    with pytest.raises(ValueError, match="split train_copy1 has the name of an augmented copy"):
        dataclasses.replace(GOOD, sources=(TRAIN, COPY1), copies=1)
    with pytest.raises(ValueError, match="split train_copy2 has"):
        dataclasses.replace(GOOD, sources=(TRAIN, COPY2), copies=2)


def test_a_split_that_no_copy_is_called_after_is_not():
    assert dataclasses.replace(GOOD, sources=(TRAIN, COPY1), copies=0).number_of_copies("train") == 0
    assert dataclasses.replace(GOOD, sources=(TRAIN, COPY2), copies=1).number_of_copies("train") == 1
    settings = dataclasses.replace(GOOD, sources=(TRAIN, COPY1), copies=1, copies_of=("train_copy1",))
    assert (settings.number_of_copies("train"), settings.number_of_copies("train_copy1")) == (0, 1)


def test_copies_are_of_the_splits_that_are_named():
    assert dataclasses.replace(GOOD, copies=3).number_of_copies("train") == 3
    assert dataclasses.replace(GOOD, copies=3).number_of_copies("test") == 0
    assert dataclasses.replace(GOOD, copies=1000).number_of_copies("train") == 1000


@pytest.mark.parametrize("shard_size", [1, 100_000])
def test_the_limits_of_the_shard_size_are_allowed(shard_size):
    assert dataclasses.replace(GOOD, shard_size=shard_size).shard_size == shard_size


def test_settings_are_frozen_and_compare_by_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.seed = 1
    assert dataclasses.replace(GOOD) == GOOD
    assert dataclasses.replace(GOOD, seed=1) != GOOD


OTHER = PreprocessSettings(
    sources=(
        FolderSource("train", "gs://bucket/caf\u00e9", "train"),
        FolderSource("train", "my/pictures"),
        TfdsSource("test", "voc/2012", "validation[:10%]"),
    ),
    classes=ClassList(("Traffic Light", "\u732b")),
    preset="article",
    coordinates="inclusive",
    verify="header",
    min_size=7.5,
    drop_empty=True,
    seed=5,
    shard_size=30,
    copies=2,
    copies_of=("test", "train"),
    copy_augmentation=replace(AUGMENTATION, expand=None, crop=(0.5, 0.9)),
)
