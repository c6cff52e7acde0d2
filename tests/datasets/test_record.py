"""The record: what is written is what this package's parser and TFDS's own features read."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets import record
from ssd300.datasets.record import Record

CLASS_NAMES = ("background", "ant", "bee", "cat")


def make_record(jpeg: bytes, objects: int, matches: int) -> Record:
    """A record of so many objects and matched default boxes, with different numbers in every field."""
    random = np.random.default_rng([objects, matches])
    low, high = random.uniform(0, 0.4, (objects, 2)), random.uniform(0.5, 1, (objects, 2))

    def targets():
        return (
            np.sort(random.choice(8732, matches, replace=False)).astype(np.int32),
            random.integers(1, len(CLASS_NAMES), matches).astype(np.int32),
            random.normal(0, 3, (matches, 4)).astype(np.float32),
        )

    return Record(
        image=jpeg,
        height=20 + objects,
        width=30 + matches,
        filename="caf\u00e9 12.jpg",
        picture_id="VOC2007/caf\u00e9 12",
        boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        labels=random.integers(1, len(CLASS_NAMES), objects).tolist(),
        difficult=[i % 2 == 0 for i in range(objects)],
        truncated=[i % 3 == 0 for i in range(objects)],
        targets=targets(),
        flipped_targets=targets(),
    )


SIZES = pytest.mark.parametrize(("objects", "matches"), [(0, 0), (1, 0), (1, 1), (1, 7), (42, 300)])


def assert_is(parsed: dict, expected: Record) -> None:
    assert parsed["image"].numpy() == expected.image
    assert parsed["filename"].numpy().decode() == expected.filename
    assert parsed["id"].numpy().decode() == expected.picture_id
    assert parsed["size"].numpy().tolist() == [expected.height, expected.width]
    assert parsed["shown"].numpy().tolist() == [0, 0, expected.height, expected.width]
    for name, dtype in (("boxes", tf.float32), ("labels", tf.int32), ("difficult", tf.bool), ("truncated", tf.bool)):
        wanted = getattr(expected, name)
        assert parsed[name].dtype == dtype
        assert parsed[name].shape == ((len(wanted), 4) if name == "boxes" else (len(wanted),))
        assert parsed[name].numpy().tolist() == np.asarray(wanted).tolist()
    for name in ("targets", "flipped_targets"):
        for got, wanted, dtype in zip(
            parsed[name], getattr(expected, name), (tf.int32, tf.int32, tf.float32), strict=True
        ):
            assert got.dtype == dtype
            np.testing.assert_array_equal(got.numpy(), wanted)


@SIZES
def test_parse_reads_what_serialize_wrote(jpeg, objects, matches):
    expected = make_record(jpeg(30, 20), objects, matches)
    assert_is(record.parse(tf.constant(expected.serialize())), expected)


def test_parse_works_inside_a_graph_on_records_of_different_lengths(jpeg):
    records = [make_record(jpeg(30, 20), objects, objects * 3) for objects in (2, 0, 5)]
    dataset = tf.data.Dataset.from_tensor_slices([one.serialize() for one in records]).map(record.parse)
    assert dataset.element_spec["boxes"].shape.as_list() == [None, 4]
    assert dataset.element_spec["targets"][2].shape.as_list() == [None, 4]
    for parsed, expected in zip(dataset, records, strict=True):
        assert_is(parsed, expected)


@SIZES
def test_tfds_own_features_read_the_same_bytes(jpeg, objects, matches):
    data = jpeg(30, 20)
    expected = make_record(data, objects, matches)
    features = record.tfds_features(CLASS_NAMES)
    read = features.deserialize_example(expected.serialize())
    np.testing.assert_array_equal(read["image"].numpy(), tf.io.decode_jpeg(data, channels=3).numpy())
    assert read["image"].shape == (20, 30, 3)
    assert read["image/filename"].numpy().decode() == expected.filename
    assert read["image/id"].numpy().decode() == expected.picture_id
    assert (int(read["image/height"]), int(read["image/width"])) == (expected.height, expected.width)
    np.testing.assert_array_equal(read["objects"]["bbox"].numpy().reshape(-1, 4), expected.boxes)
    assert read["objects"]["label"].numpy().tolist() == list(expected.labels)
    assert read["objects"]["is_difficult"].numpy().tolist() == list(expected.difficult)
    assert read["objects"]["is_truncated"].numpy().tolist() == list(expected.truncated)
    for name in ("targets", "flipped_targets"):
        indices, labels, offsets = getattr(expected, name)
        np.testing.assert_array_equal(read[name]["index"].numpy(), indices)
        np.testing.assert_array_equal(read[name]["label"].numpy(), labels)
        np.testing.assert_array_equal(read[name]["offsets"].numpy().reshape(-1, 4), offsets)


def test_parse_batch_joins_the_rows_of_all_records(jpeg):
    records = [make_record(jpeg(30, 20), objects, objects * 3) for objects in (2, 0, 5)]
    batch = record.parse_batch(
        tf.constant([one.serialize() for one in records]), record.OBJECTS, record.TARGETS, record.FLIPPED
    )
    assert batch["image"].numpy().tolist() == [one.image for one in records]
    assert batch["sizes"].numpy().tolist() == [[22, 36], [20, 30], [25, 45]]
    objects = batch[record.OBJECTS]
    assert objects.owners.numpy().tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert objects.labels.numpy().tolist() == [label for one in records for label in one.labels]
    np.testing.assert_array_equal(objects.values, np.concatenate([one.boxes for one in records]))
    for part, name in ((record.TARGETS, "targets"), (record.FLIPPED, "flipped_targets")):
        assert batch[part].owners.numpy().tolist() == [0] * 6 + [2] * 15
        for got, column in ((batch[part].indices, 0), (batch[part].labels, 1), (batch[part].values, 2)):
            np.testing.assert_array_equal(got, np.concatenate([getattr(one, name)[column] for one in records]))


def test_parse_batch_leaves_out_what_is_not_asked_for(jpeg):
    batch = record.parse_batch(tf.constant([make_record(jpeg(30, 20), 1, 2).serialize()]), record.OBJECTS)
    assert set(batch) == {"image", "sizes", "shown", record.OBJECTS}


def test_tfds_features_name_the_classes_with_the_background_first():
    features = record.tfds_features(CLASS_NAMES)
    assert features["objects"]["label"].names == list(CLASS_NAMES)
    assert features["targets"]["label"].str2int("cat") == 3


def test_serialize_gives_the_same_bytes_for_the_same_content(jpeg):
    first, second = (make_record(jpeg(30, 20), 3, 20).serialize() for _ in range(2))
    assert first == second


def test_a_record_is_small_compared_with_its_picture(jpeg):
    """Sparse targets: a few hundred bytes, where dense ones would take 8732 x 17."""
    data = jpeg(30, 20)
    assert len(make_record(data, 2, 10).serialize()) - len(data) < 1000


def test_a_record_of_another_schema_is_refused():
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"]))
    other = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/filename"):
        record.parse(tf.constant(other.SerializeToString()))


def test_the_stored_picture_is_the_files_own(jpeg):
    data = jpeg(31, 17)
    parsed = record.parse(tf.constant(make_record(data, 1, 1).serialize()))
    assert Image.open(io.BytesIO(parsed["image"].numpy())).size == (31, 17)
