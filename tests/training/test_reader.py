import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.record import parse
from ssd300.model import boxes as box_ops
from ssd300.model.spec import PAPER
from ssd300.preprocessing.encoding import encode_ground_truth, to_dense
from ssd300.preprocessing.identity import IncompleteDatasetError
from ssd300.training import reader


def records(dataset, split):
    for path in reader.shard_paths(dataset, split):
        for serialized in tf.data.TFRecordDataset(path):
            yield parse(serialized)


def take(dataset, count, **options):
    batches = reader.training_batches(dataset, "train", spec=PAPER, batch_size=4, **options)
    return [
        (pixels.numpy(), {name: array.numpy() for name, array in targets.items()})
        for pixels, targets in batches.take(count)
    ]


def test_decode_stretches_the_whole_picture():
    gradient = np.zeros((200, 300, 3), np.uint8)
    gradient[:, :150] = 200
    jpeg = tf.io.encode_jpeg(gradient, quality=100)
    pixels = reader.decode(jpeg).numpy()
    assert pixels.shape == (300, 300, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels[150, 100, 0]) - 200) <= 2
    assert pixels[150, 200, 0] <= 2


def test_grey_pictures_become_three_equal_channels():
    jpeg = tf.io.encode_jpeg(np.full((20, 30, 1), 90, np.uint8), quality=100)
    assert np.ptp(reader.decode(jpeg).numpy(), axis=-1).max() == 0


def test_split_sizes_and_unknown_split(shapes_dataset):
    assert set(reader.split_sizes(shapes_dataset)) == {"train", "test"}
    with pytest.raises(ValueError, match=r"no split 'val', it has: .*test"):
        reader.shard_paths(shapes_dataset, "val")


def test_a_folder_without_the_marker_is_refused(tmp_path):
    with pytest.raises(IncompleteDatasetError, match="COMPLETED"):
        reader.split_sizes(str(tmp_path))


def test_batches_have_the_model_s_shapes(shapes_dataset):
    pixels, targets = take(shapes_dataset, 1)[0]
    assert pixels.shape == (4, 300, 300, 3)
    assert pixels.dtype == np.uint8
    assert targets["labels"].shape == (4, 8732)
    assert targets["labels"].dtype == np.int32
    assert targets["offsets"].shape == (4, 8732, 4)
    assert (targets["labels"].max(axis=1) > 0).all()


def test_without_augmentation_an_epoch_is_the_split_with_its_stored_targets(shapes_dataset):
    size = reader.split_sizes(shapes_dataset)["train"]
    assert size % 4 == 0
    expected = {}
    for record in records(shapes_dataset, "train"):
        encoded = to_dense(encode_ground_truth(record["boxes"], record["labels"], PAPER))
        expected[reader.decode(record["image"]).numpy().tobytes()] = encoded
    seen = set()
    for pixels, targets in take(shapes_dataset, size // 4, augment=False):
        for i in range(4):
            key = pixels[i].tobytes()
            seen.add(key)
            np.testing.assert_array_equal(targets["labels"][i], expected[key].labels)
            np.testing.assert_array_equal(targets["offsets"][i], expected[key].offsets)
    assert seen == set(expected)


def test_stored_mirrored_targets_are_those_of_the_mirrored_picture(shapes_dataset):
    for record in records(shapes_dataset, "test"):
        encoded = encode_ground_truth(box_ops.flip(record["boxes"]), record["labels"], PAPER)
        for stored, fresh in zip(record["flipped_targets"], encoded, strict=True):
            np.testing.assert_array_equal(stored, fresh)


def test_augmentation_mirrors_pixels_and_targets_together(shapes_dataset, monkeypatch):
    monkeypatch.setattr(reader, "distort", lambda pixels, seed: pixels)
    both = {}
    for record in records(shapes_dataset, "train"):
        pixels = reader.decode(record["image"]).numpy()
        for image, targets in ((pixels, record["targets"]), (pixels[:, ::-1], record["flipped_targets"])):
            both[image.tobytes()] = set(targets[0].numpy().tolist()), image is pixels
    ways = []
    for pixels, targets in take(shapes_dataset, 12):
        for i in range(4):
            indices, plain = both[pixels[i].tobytes()]
            assert set(np.flatnonzero(targets["labels"][i]).tolist()) == indices
            ways.append(plain)
    assert 0.2 < np.mean(ways) < 0.8


def test_the_same_seed_gives_the_same_batches(shapes_dataset):
    first, again, other = (take(shapes_dataset, 3, seed=seed) for seed in (5, 5, 6))
    assert all((a[0] == b[0]).all() for a, b in zip(first, again, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


def test_evaluation_reads_each_picture_once_in_order(shapes_dataset):
    names = [record["id"].numpy() for record in records(shapes_dataset, "test")]
    batches = list(reader.evaluation_batches(shapes_dataset, "test", batch_size=5))
    assert [name for batch in batches for name in batch["id"].numpy()] == names
    assert batches[0]["pixels"].shape[1:] == (300, 300, 3)
    counts = [len(row) for batch in batches for row in batch["labels"].numpy()]
    assert counts == [len(record["labels"]) for record in records(shapes_dataset, "test")]


def test_validation_batches_hold_the_stored_targets(shapes_dataset):
    batches = list(reader.validation_batches(shapes_dataset, "test", spec=PAPER, batch_size=5))
    labels = np.concatenate([targets["labels"].numpy() for _, targets in batches])
    stored = [len(record["targets"][0]) for record in records(shapes_dataset, "test")]
    assert (labels > 0).sum(axis=1).tolist() == stored
