"""Lists of shards: what is read at a place is the shard that was written, and places are small."""

import json

import pytest

from ssd300.datasets.errors import StorageError
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.runners.shard_list import places_in, read_shard, write_shard_list

SHARDS = [
    Shard("train", 0, 3, ((0, "000012"), (1, "2008_000008"))),
    Shard("train", 1, 3, ((0, "caf\u00e9"), (0, "\u732b/\U0001f408"), (2, 'a "quoted"\u2028line\\'))),
    Shard("train", 2, 3, ()),
    Shard("test", 0, 1, tuple((3, f"train/{number:08d}") for number in range(1000))),
]


def written(folder, shards) -> str:
    path = f"{folder}/shards.jsonl"
    write_shard_list(path, shards)
    return path


@pytest.mark.parametrize("shards", [SHARDS, SHARDS[::-1], SHARDS[1:2], []], ids=["all", "backwards", "one", "none"])
def test_what_is_read_at_the_places_is_what_was_written(tmp_path, shards):
    assert [read_shard(place) for place in places_in(written(tmp_path, shards))] == shards


def test_places_can_be_read_in_any_order(tmp_path):
    places = places_in(written(tmp_path, SHARDS))
    for number in (2, 0, 3, 1, 1):
        assert read_shard(places[number]) == SHARDS[number]


def test_ids_that_are_not_ascii_are_counted_in_bytes(tmp_path):
    path = written(tmp_path, SHARDS)
    lines = (tmp_path / "shards.jsonl").read_bytes().split(b"\n")
    assert [length for _, _, length, _ in places_in(path)] == [len(line) + 1 for line in lines[:-1]]
    assert "\u732b".encode() in lines[1]


def test_a_place_is_small_however_large_its_shard(tmp_path):
    path = written(tmp_path, SHARDS)
    assert all(len(json.dumps(place)) < len(path) + 40 for place in places_in(path))


def test_a_list_can_be_written_again_with_other_shards(tmp_path):
    written(tmp_path, SHARDS)
    assert [read_shard(place) for place in places_in(written(tmp_path, SHARDS[:1]))] == SHARDS[:1]


def test_shards_may_come_from_a_generator(tmp_path):
    assert len(places_in(written(tmp_path, iter(SHARDS)))) == len(SHARDS)


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda _: b"", lambda data: data.replace(b"1", b"7", 1)])
@pytest.mark.parametrize("part", ["", ".index"])
def test_a_damaged_list_gives_no_shard_but_a_fault_that_names_it(tmp_path, damage, part):
    path = written(tmp_path, SHARDS[3:])
    damaged = tmp_path / f"shards.jsonl{part}"
    damaged.write_bytes(damage(damaged.read_bytes()))
    with pytest.raises(StorageError, match=r"shards\.jsonl.* is damaged"):
        [read_shard(place) for place in places_in(path)]
