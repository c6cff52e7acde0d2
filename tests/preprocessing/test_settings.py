"""The settings of a job validate themselves."""

import dataclasses

import pytest

from ssd300.datasets.classes import VOC
from ssd300.datasets.sources import Source
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.settings import PreprocessSettings

GOOD = PreprocessSettings(sources=(Source("train", "VOC2007", "trainval"),), classes=VOC)


def test_the_defaults():
    assert (GOOD.preset, GOOD.convention, GOOD.verify, GOOD.seed) == ("paper", "caffe", "decode", 0)
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
