"""The plan: every image once, the same for a seed, in shards of equal size."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import Plan, Shard, make_plan
from ssd300.preprocessing.settings import PreprocessSettings

CLASSES = ClassList(("ant", "bee"))


def image_set(folder, name: str, ids) -> FolderSource:
    path = folder / "ImageSets/Main"
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{name}.txt").write_text("".join(f"{line}\n" for line in ids))
    return FolderSource(name, str(folder), name)


def plan_of(*sources: FolderSource, **options) -> Plan:
    return make_plan(PreprocessSettings(sources=sources, classes=CLASSES, **options))


def names_in(plan: Plan, split: str) -> list[tuple[int, str]]:
    return [picture for shard in plan.of_split(split) for picture in shard.pictures]


IDS = [f"{number:06d}" for number in range(100)]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_order(tmp_path):
    source = image_set(tmp_path, "train", IDS)
    first, second, other = plan_of(source, seed=3), plan_of(source, seed=3), plan_of(source, seed=4)
    assert first == second
    assert names_in(first, "train") != names_in(other, "train")
    assert Counter(names_in(first, "train")) == Counter(names_in(other, "train"))


def test_the_order_is_shuffled(tmp_path):
    names = [name for _, name in names_in(plan_of(image_set(tmp_path, "train", IDS)), "train")]
    assert names != IDS
    assert sorted(names) == IDS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pictures=st.integers(1, 300), shard_size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_no_picture_is_lost_or_doubled_and_shards_are_balanced(tmp_path, pictures, shard_size, seed):
    ids = [f"p{number}" for number in range(pictures)]
    plan = plan_of(image_set(tmp_path, "train", ids), shard_size=shard_size, seed=seed)
    assert Counter(names_in(plan, "train")) == Counter((0, name) for name in ids)
    assert plan.pictures == pictures
    sizes = [len(shard.pictures) for shard in plan.shards]
    assert min(sizes) >= 1
    assert max(sizes) <= shard_size
    assert max(sizes) - min(sizes) <= 1
    assert [shard.index for shard in plan.shards] == list(range(len(sizes)))
    assert {shard.count for shard in plan.shards} == {len(sizes)}


def test_shards_are_named_as_tfds_expects_and_keys_differ(tmp_path):
    plan = plan_of(image_set(tmp_path, "train", IDS), image_set(tmp_path, "test", IDS[:3]), shard_size=40)
    assert [shard.name for shard in plan.of_split("test")] == ["ssd300-test.tfrecord-00000-of-00001"]
    count = len(list(plan.of_split("train")))
    assert next(plan.of_split("train")).name == f"ssd300-train.tfrecord-00000-of-{count:05d}"
    assert len({shard.name for shard in plan.shards}) == len({shard.key for shard in plan.shards}) == count + 1


def test_the_files_of_copies_are_named_as_splits_of_their_own(tmp_path):
    (shard,) = plan_of(image_set(tmp_path, "train", IDS[:3]), copies=2).shards
    assert [shard.copy_name(number) for number in (1, 2)] == [
        "ssd300-train_copy1.tfrecord-00000-of-00001",
        "ssd300-train_copy2.tfrecord-00000-of-00001",
    ]


def test_copies_change_neither_shards_nor_their_order(tmp_path):
    source = image_set(tmp_path, "train", IDS)
    assert plan_of(source, copies=3).shards == plan_of(source).shards


def test_several_sources_feed_one_split_and_are_mixed(tmp_path):
    first = replace(image_set(tmp_path / "VOC2007", "trainval", IDS), split="train")
    second = replace(image_set(tmp_path / "VOC2012", "trainval", IDS), split="train")
    plan = plan_of(first, second, image_set(tmp_path / "VOC2007", "test", ["x", "y"]))
    assert plan.splits == ("train", "test")
    assert Counter(names_in(plan, "train")) == Counter((number, name) for number in (0, 1) for name in IDS)
    assert Counter(names_in(plan, "test")) == Counter([(2, "x"), (2, "y")])
    assert {number for number, _ in next(plan.of_split("train")).pictures} == {0, 1}
    assert plan.findings == {"train": {}, "test": {}}


def test_an_id_listed_twice_for_a_split_is_encoded_once_and_counted(tmp_path):
    train = image_set(tmp_path, "train", ["a", "b", "a"])
    again = replace(image_set(tmp_path, "more", ["b", "c"]), split="train")
    plan = plan_of(train, again, image_set(tmp_path, "test", ["a"]))
    assert sorted(names_in(plan, "train")) == [(0, "a"), (0, "b"), (1, "c")]
    assert names_in(plan, "test") == [(2, "a")]
    assert plan.findings == {"train": {"listed_twice": 2, "in_two_splits": 1}, "test": {"in_two_splits": 1}}


def test_a_picture_in_two_splits_is_in_both_and_counted_for_each(tmp_path):
    train, test = image_set(tmp_path, "train", ["a", "b", "c"]), image_set(tmp_path, "test", ["b", "c", "d"])
    other_tree = image_set(tmp_path / "VOC2012", "validation", ["a", "d"])
    plan = plan_of(train, test, other_tree)
    assert sorted(names_in(plan, "test")) == [(1, "b"), (1, "c"), (1, "d")]
    assert plan.findings == {"train": {"in_two_splits": 2}, "test": {"in_two_splits": 2}, "validation": {}}


def test_shards_and_settings_of_a_plan_go_through_text(tmp_path):
    source = image_set(tmp_path, "train", [*IDS, "caf\u00e9", "a\u2028b", IDS[0]])
    plan = plan_of(source, preset="article", coordinates="inclusive", verify="header", seed=5, shard_size=30)
    shards = tuple(Shard.from_json(shard.to_json().encode()) for shard in plan.shards)
    again = Plan(plan.settings, shards, plan.findings)
    assert again == plan
    assert [shard.to_json() for shard in again.shards] == [shard.to_json() for shard in plan.shards]
    assert again.settings.classes.label("bee") == 2
    assert all("\n" not in shard.to_json() for shard in plan.shards)


class InOrder(FolderSource):
    """A source that must be read in its order, as TFDS datasets are."""

    sequential = True


def test_a_source_that_is_read_in_order_gives_shards_of_neighbors(tmp_path):
    shuffled = image_set(tmp_path / "VOC2007", "train", IDS[:40])
    in_order = InOrder("train", image_set(tmp_path / "VOC2012", "train", IDS).root, "train")
    shards = plan_of(in_order, shuffled, shard_size=30).shards
    assert all(len({number for number, _ in shard.pictures}) == 1 for shard in shards)
    ordered = [[name for _, name in shard.pictures] for shard in shards if shard.pictures[0][0] == 0]
    assert [name for names in ordered for name in names] == IDS
    assert len(ordered) > 1
    mixed = [name for shard in shards for number, name in shard.pictures if number == 1]
    assert mixed != IDS[:40]
    assert sorted(mixed) == IDS[:40]
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert {shard.count for shard in shards} == {len(shards)}


@pytest.mark.parametrize("spelling", ["absolute", "relative", "link", "file's parent"])
def test_one_tree_is_one_tree_however_it_is_spelled(tmp_path, monkeypatch, spelling):
    train, test = image_set(tmp_path / "VOC2007", "train", ["a", "b"]), image_set(tmp_path / "VOC2007", "test", ["b"])
    (tmp_path / "link").symlink_to(tmp_path / "VOC2007")
    monkeypatch.chdir(tmp_path)
    roots = {"absolute": test.root, "relative": "VOC2007", "link": "link", "file's parent": "link/../VOC2007/."}
    again = [replace(source, root=roots[spelling]) for source in (test, replace(train, split="train"))]
    plan = plan_of(train, *again)
    assert plan.findings == {"train": {"listed_twice": 2, "in_two_splits": 1}, "test": {"in_two_splits": 1}}
    assert len(names_in(plan, "train")) == 2


def test_a_small_split_has_one_shard_and_a_larger_one_some(tmp_path):
    assert len(plan_of(image_set(tmp_path, "train", IDS[:5])).shards) == 1
    assert len(plan_of(image_set(tmp_path, "train", IDS)).shards) > 1


def test_a_source_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        plan_of(FolderSource("train", str(tmp_path / "nowhere"), "train"))
