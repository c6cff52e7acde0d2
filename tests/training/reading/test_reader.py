"""Batches for training, validation and evaluation, of encoded datasets of drawn shapes."""

import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf
from helpers import changed

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.record import parse
from ssd300.model import boxes as box_ops
from ssd300.model.spec import PAPER
from ssd300.preprocessing.augmentation.render import MEAN_COLOR, decode_resized
from ssd300.preprocessing.augmentation.settings import (
    LIGHT_AUGMENTATION as LIGHT,
    NO_AUGMENTATION as NONE,
    PAPER_AUGMENTATION as CHAIN,
)
from ssd300.preprocessing.encoding.targets import SparseTargets, encode_ground_truth, to_dense
from ssd300.training.reading import reader


@pytest.fixture(scope="module")
def shapes(shapes_dataset):
    """The encoded dataset of all tests."""
    return EncodedDataset.open(shapes_dataset)


@pytest.fixture(scope="module")
def copied(encode_shapes):
    """An encoded dataset of 24 images with two copies each, in files of five."""
    return EncodedDataset.open(encode_shapes({"train": 24}, seed=1, shard_size=5, copies=2))


def assert_equal(batches, others):
    for (pixels, targets), (other_pixels, other_targets) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(pixels, other_pixels)
        assert set(targets) == set(other_targets) == {"labels", "offsets"}
        for name in targets:
            np.testing.assert_array_equal(targets[name], other_targets[name])


def shown(batches):
    """The images of batches, as bytes."""
    return [picture.tobytes() for pixels, _ in batches for picture in pixels]


def share(count, number, *, replicas=None):
    return tf.distribute.InputContext(
        num_input_pipelines=count, input_pipeline_id=number, num_replicas_in_sync=replicas or count
    )


def records(dataset, split):
    for path in dataset.files(split).variants[0]:
        for serialized in tf.data.TFRecordDataset(path):
            yield parse(serialized)


def take(dataset, count, **options):
    batches = reader.training_batches(dataset, "train", spec=PAPER, batch_size=4, **options)
    return [
        (pixels.numpy(), {name: array.numpy() for name, array in targets.items()})
        for pixels, targets in batches.take(count)
    ]


def test_batches_have_the_model_s_shapes(shapes):
    pixels, targets = take(shapes, 1)[0]
    assert pixels.shape == (4, 300, 300, 3)
    assert pixels.dtype == np.uint8
    assert targets["labels"].shape == (4, 8732)
    assert targets["labels"].dtype == np.int32
    assert targets["offsets"].shape == (4, 8732, 4)
    assert (targets["labels"].max(axis=1) > 0).all()


def test_without_augmentation_an_epoch_is_the_split_with_its_stored_targets(shapes):
    size = shapes.splits["train"]
    assert size % 4 == 0
    expected = {}
    for record in records(shapes, "train"):
        encoded = to_dense(encode_ground_truth(record["boxes"], record["labels"], PAPER))
        expected[decode_resized(record["image"]).numpy().tobytes()] = encoded
    seen = set()
    for pixels, targets in take(shapes, size // 4, augmentation=NONE):
        for i in range(4):
            key = pixels[i].tobytes()
            seen.add(key)
            np.testing.assert_array_equal(targets["labels"][i], expected[key].labels)
            np.testing.assert_array_equal(targets["offsets"][i], expected[key].offsets)
    assert seen == set(expected)


def test_stored_mirrored_targets_are_those_of_the_mirrored_picture(shapes):
    for record in records(shapes, "test"):
        encoded = encode_ground_truth(box_ops.flip(record["boxes"]), record["labels"], PAPER)
        for stored, fresh in zip(record["flipped_targets"], encoded, strict=True):
            np.testing.assert_array_equal(stored, fresh)


def test_mirrored_pixels_come_with_the_targets_stored_for_them(shapes):
    both = {}
    for record in records(shapes, "train"):
        pixels = decode_resized(record["image"]).numpy()
        for image, targets in ((pixels, record["targets"]), (pixels[:, ::-1], record["flipped_targets"])):
            both[image.tobytes()] = set(targets[0].numpy().tolist()), image is pixels
    ways = []
    for pixels, targets in take(shapes, 12, augmentation=changed(NONE, ["flip_probability=.5"])):
        for i in range(4):
            indices, plain = both[pixels[i].tobytes()]
            assert set(np.flatnonzero(targets["labels"][i]).tolist()) == indices
            ways.append(plain)
    assert 0.2 < np.mean(ways) < 0.8


@pytest.mark.parametrize("step", [13])  # 24 images are six batches
def test_entering_at_a_step_gives_what_an_uninterrupted_reader_gives_from_there(shapes, step):
    whole = take(shapes, step + 2, augmentation=CHAIN, seed=3)[step:]
    entered = take(shapes, 2, augmentation=CHAIN, seed=3, first_step=step)
    assert_equal(whole, entered)


def test_copies_are_not_expanded_or_cropped_again(shapes):
    with pytest.raises(ValueError, match="expanded and cropped already"):
        take(shapes, 1, augmentation=CHAIN, copies=True)


def test_the_same_seed_gives_the_same_batches(shapes):
    first, again, other = (take(shapes, 3, seed=seed) for seed in (5, 5, 6))
    assert all((a[0] == b[0]).all() for a, b in zip(first, again, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


def test_evaluation_reads_each_picture_once_in_order(shapes):
    names = [record["id"].numpy() for record in records(shapes, "test")]
    batches = list(reader.evaluation_batches(shapes, "test", batch_size=5))
    assert [name for batch in batches for name in batch["id"].numpy()] == names
    assert batches[0]["pixels"].shape[1:] == (300, 300, 3)
    counts = [len(row) for batch in batches for row in batch["labels"].numpy()]
    assert counts == [len(record["labels"]) for record in records(shapes, "test")]


def test_validation_batches_hold_the_stored_targets(shapes):
    batches = list(reader.validation_batches(shapes, "test", spec=PAPER, batch_size=5))
    labels = np.concatenate([targets["labels"].numpy() for _, targets in batches])
    stored = [len(record["targets"][0]) for record in records(shapes, "test")]
    assert (labels > 0).sum(axis=1).tolist() == stored


@pytest.mark.parametrize(
    ("augmentation", "copies"),
    [(CHAIN, False), (LIGHT, False), (NONE, False), (LIGHT, True)],
)
def test_all_ways_of_augmenting_give_the_same_shapes(copied, augmentation, copies):
    batches = reader.training_batches(
        copied, "train", spec=PAPER, batch_size=5, augmentation=augmentation, copies=copies
    )
    pixels, targets = batches.element_spec
    assert (pixels.shape[1:], pixels.dtype) == ((300, 300, 3), tf.uint8)
    assert {name: (spec.shape[1:], spec.dtype) for name, spec in targets.items()} == {
        "labels": ((8732,), tf.int32),
        "offsets": ((8732, 4), tf.float32),
    }
    for pixels, targets in batches.take(6):  # beyond an epoch of 24 images: batches are always full
        assert pixels.shape[0] == targets["labels"].shape[0] == targets["offsets"].shape[0] == 5
        assert np.isfinite(targets["offsets"].numpy()).all()


def test_three_epochs_of_copies_show_all_variants_with_their_stored_targets(copied):
    expected = {}
    for paths in copied.files("train", copies=True).variants:
        for serialized in tf.data.TFRecordDataset(list(paths)):
            record = parse(serialized)
            picture = decode_resized(record["image"]).numpy()
            if "train_copy" in paths[0]:  # its mean color went through JPEG; the reader paints it anew
                top, left, height, width = record["shown"].numpy()
                part = np.s_[top : top + height, left : left + width]
                painted = np.full_like(picture, MEAN_COLOR)
                painted[part] = picture[part]
                picture = painted
            expected[picture.tobytes()] = to_dense(SparseTargets(*record["targets"]))
    assert len(expected) == 72
    for pixels, targets in take(copied, 18, augmentation=NONE, copies=True):
        for i, picture in enumerate(pixels):
            stored = expected.pop(picture.tobytes())  # each variant once
            np.testing.assert_array_equal(targets["labels"][i], stored.labels)
            np.testing.assert_array_equal(targets["offsets"][i], stored.offsets)
    assert not expected


@pytest.mark.parametrize("copies", [False, True])
def test_two_readers_share_the_records_of_each_epoch(copied, copies):
    options = {"augmentation": NONE, "copies": copies}
    whole = shown(take(copied, 12, **options))  # two epochs, and a batch is 4 images
    shares = [take(copied, 12, **options, input_context=share(2, number)) for number in range(2)]
    assert all(pixels.shape[0] == 2 for batches in shares for pixels, _ in batches)
    first, second = (shown(batches) for batches in shares)
    for epoch in range(2):
        own, other = (set(pictures[12 * epoch : 12 * epoch + 12]) for pictures in (first, second))
        assert len(own) == len(other) == 12
        assert not own & other
        assert own | other == set(whole[24 * epoch : 24 * epoch + 24])


def test_what_is_drawn_for_a_record_is_the_same_for_any_number_of_readers(copied):
    whole = shown(take(copied, 6, augmentation=LIGHT))
    shared = chain(*(shown(take(copied, 6, augmentation=LIGHT, input_context=share(2, number))) for number in range(2)))
    assert sorted(whole) == sorted(shared)


def test_a_share_can_be_entered_at_a_step(copied):
    options = {"augmentation": LIGHT, "input_context": share(2, 1)}
    assert_equal(take(copied, 9, **options)[7:], take(copied, 2, first_step=7, **options))


def test_copies_can_be_entered_at_a_step(copied):
    options = {"augmentation": LIGHT, "copies": True, "seed": 2}
    assert_equal(take(copied, 9, **options)[7:], take(copied, 2, first_step=7, **options))


def test_the_global_seed_and_the_number_of_threads_change_nothing(copied):
    def read(seed, threads):
        tf.random.set_seed(seed)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        batches = reader.training_batches(copied, "train", spec=PAPER, batch_size=4, augmentation=CHAIN)
        return [
            (pixels.numpy(), {name: array.numpy() for name, array in targets.items()})
            for pixels, targets in batches.with_options(options).take(4)
        ]

    try:
        assert_equal(read(1, 1), read(2, 8))
    finally:
        tf.random.set_seed(0)


def test_a_batch_that_replicas_cannot_share_is_refused(copied):
    with pytest.raises(ValueError, match="divisible"):
        take(copied, 1, input_context=share(3, 0))


def test_more_readers_than_pictures_are_refused(copied):
    with pytest.raises(ValueError, match="24 records cannot be shared by 48 readers"):
        reader.training_batches(copied, "train", spec=PAPER, batch_size=48, input_context=share(48, 0))


_TWO_REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.model.spec import PAPER
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.training.reading.reader import training_batches

dataset = EncodedDataset.open(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
def make(context):
    return training_batches(
        dataset, "train", spec=PAPER, batch_size=8, augmentation=NO_AUGMENTATION, input_context=context
    )
batches = iter(strategy.distribute_datasets_from_function(make))
seen = []
for _ in range(3):  # an epoch of 24 pictures
    pixels, targets = next(batches)
    local = strategy.experimental_local_results(pixels)
    assert [part.shape[0] for part in local] == [4, 4], local
    matches = strategy.run(lambda labels: tf.reduce_sum(tf.cast(labels > 0, tf.int32)), (targets["labels"],))
    assert all(int(count) > 0 for count in strategy.experimental_local_results(matches))
    seen += [picture.tobytes() for part in local for picture in part.numpy()]
print("pictures", len(seen), "different", len(set(seen)))
"""


def test_a_mirrored_strategy_reads_an_epoch_on_two_devices(shapes):
    done = subprocess.run(
        [sys.executable, "-c", _TWO_REPLICAS, shapes.folder], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "pictures 24 different 24" in done.stdout
