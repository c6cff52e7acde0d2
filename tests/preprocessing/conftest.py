"""Fixtures shared by the tests of preprocessing."""

import pytest

from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.runners.shard_list import places_in, read_shard


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
