"""Reading an encoded dataset with `tf.data`: shards interleaved, shuffled, decoded, flipped, distorted, batched."""

import json
from typing import Any

import tensorflow as tf

from ssd300.datasets.record import DATASET_NAME, parse
from ssd300.model.spec import IMAGE_SIZE, Spec
from ssd300.preprocessing.encoding import SparseTargets, to_dense
from ssd300.preprocessing.identity import read_identity
from ssd300.training.photometric import distort

_INTERLEAVED = 8  # shards open at once
_SHUFFLE_BUFFER = 1024  # undecoded records: some 50 MB of VOC's


def decode(jpeg: tf.Tensor) -> tf.Tensor:
    """A JPEG as the network's input, uint8 ``[300, 300, 3]`` RGB.

    The whole picture is stretched to the square, bilinear and without antialiasing, as Caffe's test phase does.
    """
    pixels = tf.image.resize(tf.io.decode_jpeg(jpeg, channels=3), (IMAGE_SIZE, IMAGE_SIZE))
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def split_sizes(dataset: str) -> dict[str, int]:
    """Number of records of each split.

    Raises:
        IncompleteDatasetError: the folder is no finished dataset.
    """
    read_identity(dataset)
    with tf.io.gfile.GFile(f"{dataset}/dataset_info.json", "rb") as file:
        splits = json.loads(file.read())["splits"]
    return {split["name"]: sum(int(length) for length in split["shardLengths"]) for split in splits}


def shard_paths(dataset: str, split: str) -> list[str]:
    """The files of a split in their order.

    Raises:
        ValueError: the dataset has no such split; the message names those it has.
    """
    splits = split_sizes(dataset)
    if split not in splits:
        raise ValueError(f"{dataset} has no split {split!r}, it has: {', '.join(splits)}")
    return sorted(tf.io.gfile.glob(f"{dataset}/{DATASET_NAME}-{split}.tfrecord-*-of-*"))


def training_batches(
    dataset: str, split: str, *, spec: Spec, batch_size: int, seed: int = 0, augment: bool = True
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`.

    Yields ``(pixels, targets)``: pixels uint8 ``[B, 300, 300, 3]``, targets a dictionary of ``labels`` int32
    ``[B, 8732]`` and ``offsets`` float32 ``[B, 8732, 4]``. The stored targets are used as they are: nothing is matched
    here. With `augment` half of the pictures are mirrored, with the targets that were stored for that, and all are
    distorted photometrically.

    Args:
        dataset: folder of an encoded dataset.
        split: its split.
        spec: of the model; the dataset must have been encoded with it.
        batch_size: pictures a batch, always full.
        seed: of the order and of the random operations.
        augment: whether to mirror and distort.
    """
    paths = shard_paths(dataset, split)
    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=seed)
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=_INTERLEAVED, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    records = records.shuffle(_SHUFFLE_BUFFER, seed=seed).repeat()

    def example(position: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        record = parse(serialized)
        pixels, targets = decode(record["image"]), record["targets"]
        if augment:
            # Stateless operations keyed by the position in the stream: the same seed gives the same batches whatever
            # the parallelism.
            seeds = tf.random.split(tf.stack([tf.constant(seed, tf.int64), position]), 2)
            mirrored = tf.random.stateless_uniform((), seeds[0]) < 0.5
            pixels = distort(pixels, seeds[1])
            pixels = tf.cond(mirrored, lambda: pixels[:, ::-1], lambda: pixels)
            targets = tf.nest.map_structure(
                lambda flipped, plain: tf.cond(mirrored, lambda: flipped, lambda: plain),
                record["flipped_targets"],
                record["targets"],
            )
        dense = to_dense(SparseTargets(*targets), spec)
        return pixels, dense._asdict()

    numbered = tf.data.Dataset.zip(tf.data.Dataset.counter(), records)
    batches = numbered.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def validation_batches(dataset: str, split: str, *, spec: Spec, batch_size: int) -> tf.data.Dataset:
    """The same as `training_batches` once through a split, in its order, with nothing changed at random."""

    def example(serialized: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        record = parse(serialized)
        return decode(record["image"]), to_dense(SparseTargets(*record["targets"]), spec)._asdict()

    records = tf.data.TFRecordDataset(shard_paths(dataset, split))
    return records.map(example, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def evaluation_batches(dataset: str, split: str, *, batch_size: int) -> tf.data.Dataset:
    """All pictures of a split once, in the dataset's order, as they are.

    Yields dictionaries of `ssd300.datasets.record.parse`'s entries without the targets, batched (ragged where the
    number of objects differs), and ``pixels`` uint8 ``[B, 300, 300, 3]``; the last batch may be smaller.
    """

    def example(serialized: tf.Tensor) -> dict[str, Any]:
        record = parse(serialized)
        kept = {name: record[name] for name in ("image", "filename", "id", "boxes", "labels", "difficult")}
        return {**kept, "pixels": decode(record["image"])}

    records = tf.data.TFRecordDataset(shard_paths(dataset, split))
    return records.map(example, num_parallel_calls=tf.data.AUTOTUNE).ragged_batch(batch_size).prefetch(2)
