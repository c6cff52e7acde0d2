"""The settings of a job validate themselves."""

import dataclasses
import json
import math

import pytest

from ssd300.datasets.classes import VOC, ClassList
from ssd300.datasets.folder_source import FolderSource
from ssd300.datasets.tfds_source import TfdsSource
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.settings import PreprocessSettings

GOOD = PreprocessSettings(sources=(FolderSource("train", "VOC2007", "trainval"),), classes=VOC)


def test_the_defaults():
    assert (GOOD.preset, GOOD.convention, GOOD.verify, GOOD.seed) == ("paper", "caffe", "decode", 0)
    assert (GOOD.min_size, GOOD.drop_empty, GOOD.shard_size) == (0.0, False, 512)
    assert GOOD.spec is PAPER
    assert dataclasses.replace(GOOD, preset="article").spec is ARTICLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ()}, "at least one source"),
        ({"preset": "papre"}, r"paper, article; got 'papre'"),
        ({"convention": "zero"}, r"caffe, inclusive; got 'zero'"),
        ({"verify": "none"}, r"'decode' or 'header', got 'none'"),
        ({"shard_size": 0}, "got 0"),
        ({"shard_size": -3}, "got -3"),
        ({"shard_size": 100_001}, "got 100001"),
        ({"seed": -1}, "-1"),
        ({"min_size": -0.5}, "min_size .* got -0.5"),
        ({"min_size": math.nan}, "min_size .* got nan"),
        ({"min_size": math.inf}, "min_size .* got inf"),
    ],
)
def test_settings_that_cannot_be_used_say_what_was_expected_and_got(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GOOD, **change)


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
    convention="inclusive",
    verify="header",
    min_size=7.5,
    drop_empty=True,
    seed=5,
    shard_size=30,
)


@pytest.mark.parametrize("settings", [GOOD, OTHER], ids=["defaults", "others"])
def test_settings_go_through_text(settings):
    again = PreprocessSettings.from_json(settings.to_json())
    assert again == settings
    assert again.to_json() == settings.to_json()


def test_the_text_holds_every_field():
    assert json.loads(OTHER.to_json()).keys() == {field.name for field in dataclasses.fields(PreprocessSettings)}
