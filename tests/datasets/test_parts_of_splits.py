"""Parts of splits, as TFDS names them: each record is in exactly one of two parts that meet."""

import pytest

from ssd300.datasets.encoded_dataset import EncodedDataset, whole_split
from ssd300.datasets.errors import InputError
from ssd300.training.reading.record_order import epoch_and_number, ordered_records, records_in_order


@pytest.fixture(scope="module")
def dataset(encode_shapes):
    return EncodedDataset.open(encode_shapes({"train": 17}, shard_size=5))


def serialized(files):
    return [record.numpy() for record in records_in_order(files)]


@pytest.mark.parametrize("percent", [12, 20, 50, 80, 88])
def test_two_parts_have_each_record_once(dataset, percent):
    whole = serialized(dataset.files("train"))
    parts = [serialized(dataset.files(part)) for part in (f"train[:{percent}%]", f"train[{percent}%:]")]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert len(set(whole)) == 17


def test_training_reads_each_record_of_its_part_once_per_epoch(dataset):
    files = dataset.files("train[20%:70%]")
    count = files.records
    wanted = sorted(serialized(files))
    rows = list(ordered_records(files, seed=1).take(2 * count))
    for epoch in range(2):
        assert sorted(record.numpy() for record, _ in rows[epoch * count : (epoch + 1) * count]) == wanted
    numbers = [int(epoch_and_number(place, files)[1]) for _, place in rows[:count]]
    assert sorted(numbers) == list(range(count))
    for number, (record, _) in zip(numbers, rows, strict=False):
        assert files.read(number)[0].numpy() == record.numpy()


@pytest.mark.parametrize(("split", "message"), [
    ("train[50%:50%]", "expected a part of a split"), ("train[:101%]", "expected a part"),
    ("train[80%:20%]", "expected a part"), ("test[:50%]", "no split 'test"), ("train[:1%]", "are none"),
])  # fmt: skip
def test_what_is_no_part_is_named(dataset, split, message):
    with pytest.raises(InputError, match=message):
        dataset.files(split)


def test_the_whole_split_of_a_part():
    assert {whole_split(name) for name in ("train[:80%]", "train[3%:5%]", "train")} == {"train"}
    assert whole_split("a[b") == "a[b"
