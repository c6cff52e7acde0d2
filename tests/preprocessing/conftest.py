"""Fixtures shared by the tests of preprocessing."""

from pathlib import Path

import pytest
from small_job import GOOD, settings_of

from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.runners.shard_list import places_in, read_shard
from ssd300.preprocessing.settings import PreprocessSettings


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """Keys of the shards that were given to Beam, in the order of the calls."""
    keys: list[str] = []
    run = beam_pipeline.run_pipeline

    def spy(shards, *args, **kwargs):
        keys.extend(read_shard(place).key for place in places_in(shards))
        run(shards, *args, **kwargs)

    monkeypatch.setattr(beam_pipeline, "run_pipeline", spy)
    return keys


@pytest.fixture
def tree(voc_tree) -> Path:
    return voc_tree(GOOD)


@pytest.fixture
def settings(tree) -> PreprocessSettings:
    return settings_of(FolderSource("train", str(tree), "train"))


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "dataset")
