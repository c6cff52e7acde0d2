"""A record that cannot be read is named."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from helpers import exit_code

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.record import parse_record
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.reader import evaluation_batches


def copy(dataset: str, folder: Path) -> tuple[EncodedDataset, Path]:
    shutil.copytree(dataset, folder)
    (shard, *_) = sorted(folder.glob("ssd300-test.tfrecord-*"))
    return EncodedDataset.open(str(folder)), shard


def read(dataset: EncodedDataset) -> None:
    with naming_broken_records(dataset, "train", "test"):
        for _ in evaluation_batches(dataset, "test", batch_size=4):
            pass


def rewrite(shard: Path, number: int, change) -> str:
    """Writes a shard anew with one record changed; its image's name."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(shard))]
    name = parse_record(records[number]).picture_id
    records[number] = change(records[number])
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            writer.write(record)
    return name


def test_a_whole_dataset_is_read(shapes_dataset: str, tmp_path: Path) -> None:
    read(copy(shapes_dataset, tmp_path / "copy")[0])


def test_a_record_whose_image_cannot_be_decoded_is_named(shapes_dataset: str, tmp_path: Path) -> None:
    dataset, shard = copy(shapes_dataset, tmp_path / "copy")

    def damaged(record: bytes) -> bytes:
        jpeg = parse_record(record).image
        return record.replace(jpeg, jpeg[:300] + bytes(len(jpeg) - 300))

    name = rewrite(shard, 2, damaged)
    with pytest.raises(InputError, match=rf"{shard}: record 2 \({name}\) cannot be read: .*") as raised:
        read(dataset)
    assert "function_node" not in str(raised.value)


def test_a_record_that_cannot_be_parsed_is_named(shapes_dataset: str, tmp_path: Path) -> None:
    dataset, shard = copy(shapes_dataset, tmp_path / "copy")
    rewrite(shard, 1, lambda record: b"\xff" * len(record))
    with pytest.raises(InputError, match=rf"{shard}: record 1 cannot be read"):
        read(dataset)


def test_a_flipped_byte_is_named(shapes_dataset: str, tmp_path: Path) -> None:
    dataset, shard = copy(shapes_dataset, tmp_path / "copy")
    data = bytearray(shard.read_bytes())
    data[500] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=rf"{shard}: record 0 cannot be read: corrupted record"):
        read(dataset)


def test_a_file_that_is_gone_is_named(shapes_dataset: str, tmp_path: Path) -> None:
    dataset, shard = copy(shapes_dataset, tmp_path / "copy")
    shard.unlink()
    with pytest.raises(InputError, match=rf"{shard} is missing"):
        read(dataset)


def test_another_error_stays_what_it_is(shapes_dataset: str, tmp_path: Path) -> None:
    dataset, _ = copy(shapes_dataset, tmp_path / "copy")

    def fail() -> None:
        with naming_broken_records(dataset, "test"):
            raise tf.errors.InvalidArgumentError(None, None, "of ours")

    with pytest.raises(tf.errors.InvalidArgumentError, match="of ours"):
        fail()


def test_training_names_the_record(shapes_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, _ = copy(shapes_dataset, tmp_path / "copy")
    for shard in (tmp_path / "copy").glob("ssd300-train.tfrecord-*"):
        rewrite(shard, 0, lambda record: record.replace(jpeg := parse_record(record).image, bytes(len(jpeg))))
    arguments = ["--width", ".02", "--weights", "none", "--batch-size", "24", "--steps", "1", "--augmentation", "none"]
    assert exit_code(["train", dataset.folder, "--output", str(tmp_path / "run"), *arguments]) == 2
    assert "record 0 (" in capsys.readouterr().err
