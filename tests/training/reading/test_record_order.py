"""The order of records, on files of tiny strings that say which record they are."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings, strategies as st

from ssd300.datasets.encoded_dataset import SplitFiles
from ssd300.training.reading.record_order import epoch_and_number, ordered_records

UNEQUAL = (5, 1, 0, 7, 3)
# 19 files of at most 4 records, two of them empty: an epoch of 49 records has two blocks.
MANY = (4, 2, 3, 0, 4, 1, 3, 4, 2, 4, 0, 3, 1, 4, 2, 3, 4, 2, 3)
LENGTHS = {"unequal": UNEQUAL, "single": (1,), "one file": (6,), "mostly empty": (0, 0, 2, 0), "many": MANY}


def write_files(folder, lengths, *, variants=1, record_bytes=8.0):
    """Files of `lengths` records; record n of variant v is ``v:n``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for variant in range(variants):
        number, own = 0, []
        for shard, length in enumerate(lengths):
            own.append(str(folder / f"{variant}-{shard}"))
            with tf.io.TFRecordWriter(own[-1]) as writer:
                for _ in range(length):
                    writer.write(f"{variant}:{number}".encode())
                    number += 1
        paths.append(tuple(own))
    return SplitFiles(tuple(paths), tuple(lengths), record_bytes)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files by the name of their lengths, one variant each."""
    folder = tmp_path_factory.mktemp("records")
    return {name: write_files(folder / name, lengths) for name, lengths in LENGTHS.items()}


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Twelve files of two records in three variants."""
    return write_files(tmp_path_factory.mktemp("variants"), (2,) * 12, variants=3)


def read(files, count, *, seed=0, threads=None, **options):
    """`count` records as (content, place)."""
    records = ordered_records(files, seed=seed, **options).take(count)
    if threads is not None:
        changed = tf.data.Options()
        changed.threading.private_threadpool_size = threads
        records = records.with_options(changed)
    return [(content.decode(), int(place)) for content, place in records.as_numpy_iterator()]


def numbers(files, count, **options):
    return [int(content.split(":")[1]) for content, _ in read(files, count, **options)]


@pytest.mark.parametrize("name", LENGTHS)
def test_every_epoch_has_every_record_once_and_places_tell_which(files, name):
    total = files[name].records
    found = read(files[name], 3 * total)
    for epoch in range(3):
        own = found[epoch * total : (epoch + 1) * total]
        assert sorted(place for _, place in own) == list(range(epoch * total, (epoch + 1) * total))
        assert all(content == f"0:{place - epoch * total}" for content, place in own)


def test_epoch_and_number_take_a_place_apart(files):
    epochs, records = epoch_and_number(tf.constant([0, 15, 16, 40], tf.int64), files["unequal"])
    assert epochs.dtype == records.dtype == tf.int64
    assert epochs.numpy().tolist() == [0, 0, 1, 2]
    assert records.numpy().tolist() == [0, 15, 0, 8]


def test_epochs_differ_in_order(files):
    found = numbers(files["many"], 3 * 49)
    orders = [tuple(found[begin : begin + 49]) for begin in (0, 49, 98)]
    assert len({*orders, tuple(range(49))}) == 4


def test_the_seed_decides_the_order(files):
    assert read(files["many"], 100, seed=3) == read(files["many"], 100, seed=3)
    assert read(files["many"], 100, seed=3) != read(files["many"], 100, seed=4)


def test_neighbors_of_a_file_are_parted(files):
    # Of 49 records in their own order all 48 neighbors would follow each other; by chance one does.
    found = np.array(numbers(files["many"], 49))
    assert (np.diff(found) == 1).sum() < 12


def test_all_files_of_a_split_come_early_and_late(files):
    # Files are in another order each epoch: the first record is not always of the same one.
    firsts = {numbers(files["many"], 1, seed=seed)[0] for seed in range(6)}
    assert len(firsts) > 2


@pytest.fixture(scope="module")
def uninterrupted(files):
    """The first 160 records by name and number of readers."""
    return {
        (name, pipelines, pipeline): read(files[name], 160, pipelines=pipelines, pipeline=pipeline)
        for name, pipelines in (("unequal", 1), ("unequal", 3), ("many", 1), ("many", 2))
        for pipeline in range(pipelines)
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_entering_anywhere_is_dropping_what_comes_before(files, uninterrupted, data):
    name, pipelines, pipeline = data.draw(st.sampled_from(sorted(uninterrupted)))
    first = data.draw(st.integers(0, 150))
    found = read(files[name], 10, first=first, pipelines=pipelines, pipeline=pipeline)
    assert found == uninterrupted[name, pipelines, pipeline][first : first + 10]


@pytest.mark.parametrize("first", [23, 24, 25, 26, 48, 49, 50, 73, 74, 98])
def test_the_borders_of_blocks_and_epochs_can_be_entered(files, uninterrupted, first):
    # 49 records are two blocks, of 24 and 25.
    assert read(files["many"], 60, first=first) == uninterrupted["many", 1, 0][first : first + 60]


def test_a_far_epoch_is_entered_without_reading_what_comes_before(files):
    total, epoch = files["many"].records, 10**6
    found = read(files["many"], total, first=total * epoch)
    assert sorted(place - total * epoch for _, place in found) == list(range(total))


@pytest.mark.parametrize(("name", "pipelines"), [("unequal", 1), ("unequal", 3), ("unequal", 16), ("many", 5)])
def test_readers_share_each_epoch_in_disjoint_pieces_of_nearly_equal_size(files, name, pipelines):
    total = files[name].records
    pieces = []
    for pipeline in range(pipelines):
        own = total * (pipeline + 1) // pipelines - total * pipeline // pipelines
        places = [place for _, place in read(files[name], 2 * own, pipelines=pipelines, pipeline=pipeline)]
        for epoch in range(2):
            assert {place // total for place in places[epoch * own : (epoch + 1) * own]} == {epoch}
        pieces.append(places)
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) - min(sizes) <= 2  # one an epoch
    assert sorted(place for piece in pieces for place in piece) == list(range(2 * total))


def test_a_reader_s_share_is_another_each_epoch(files):
    found = numbers(files["many"], 48, pipelines=2, pipeline=0)
    assert set(found[:24]) != set(found[24:])


def test_more_readers_than_records_are_refused(files):
    for pipeline in (0, 8, 16):  # by each of them, or all but one would wait for it
        with pytest.raises(ValueError, match="16 records cannot be shared by 17 readers"):
            ordered_records(files["unequal"], seed=0, pipelines=17, pipeline=pipeline)


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0 records"):
        ordered_records(write_files(tmp_path, (0, 0)), seed=0)


def test_an_epoch_has_one_variant_of_each_picture_and_three_epochs_have_all(variants):
    found = read(variants, 6 * 24)
    for cycle in range(2):
        shown = []
        for epoch in range(3 * cycle, 3 * cycle + 3):
            own = found[24 * epoch : 24 * epoch + 24]
            contents = [content.split(":") for content, _ in own]
            assert sorted(int(number) for _, number in contents) == list(range(24))
            assert [place - 24 * epoch for _, place in own] == [int(number) for _, number in contents]
            shown += [content for content, _ in own]
        assert len(set(shown)) == 72


def test_files_begin_with_different_variants_and_their_records_agree(variants):
    chosen = {}
    for content, _ in read(variants, 24):
        variant, number = content.split(":")
        chosen.setdefault(int(number) // 2, set()).add(variant)
    assert all(len(choice) == 1 for choice in chosen.values())
    assert len(set.union(*chosen.values())) == 3


def test_the_seed_decides_the_variants(variants):
    one, same, other = ({content for content, _ in read(variants, 24, seed=seed)} for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_variants_can_be_entered_anywhere_too(variants):
    assert read(variants, 30, first=61) == read(variants, 91)[61:]


def test_two_readers_choose_the_same_variants_of_a_file(variants):
    whole = {content for content, _ in read(variants, 24)}
    shared = {content for pipeline in range(2) for content, _ in read(variants, 12, pipelines=2, pipeline=pipeline)}
    assert whole == shared


def test_the_global_seed_changes_nothing(files):
    try:
        tf.random.set_seed(1)
        first = read(files["many"], 60)
        tf.random.set_seed(2)
        assert read(files["many"], 60) == first
    finally:
        tf.random.set_seed(0)


def test_parallelism_changes_nothing(files, variants):
    for some in (files["many"], variants):
        assert read(some, 120, threads=1) == read(some, 120, threads=8) == read(some, 120)


def test_a_dataset_can_be_read_twice(files):
    records = ordered_records(files["many"], seed=0).take(60)
    assert list(records.as_numpy_iterator()) == list(records.as_numpy_iterator())


def test_a_buffer_of_one_record_still_reads_all(tmp_path):
    # Records said to be large: nothing but the order of the files and their turns mixes them.
    large = write_files(tmp_path, UNEQUAL, record_bytes=1e12)
    assert sorted(numbers(large, 16)) == list(range(16))
