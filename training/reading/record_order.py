"""A deterministic, seekable record order: it depends only on the seed, and reading can start anywhere in it.

An epoch is a line of all records: the shards in a random order of that epoch. Readers on several machines take equal
pieces of the line. A piece is read in blocks of a few shards, whose files are read in turns and whose records are
shuffled in a buffer. So a record's place follows from the seed, memory is bounded by the buffer, and a resumed run
skips whole blocks unread.
"""

import math

import numpy as np
import tensorflow as tf

from ssd300.datasets.encoded_dataset import SplitFiles
from ssd300.datasets.errors import InputError
from ssd300.preprocessing.augmentation.random import stream

_BLOCK_SHARDS = 8  # about this many files are open at once
_BUFFER_RECORDS, _BUFFER_BYTES = 1024, 256_000_000  # that are shuffled together, whichever is less
_READ_BYTES = 1 << 20
# Streams of random numbers other than those of the records, whose numbers are not negative.
_SHARD_ORDER, _VARIANT, _BUFFER = -1, -2, -3


def ordered_records(
    files: SplitFiles, *, seed: int, first: int = 0, pipelines: int = 1, pipeline: int = 0
) -> tf.data.Dataset:
    """Endless records: ``(serialized, place)``, a string and an int64 that `epoch_and_number` takes apart.

    Every epoch has every record once; with several variants it has one of each image, and as many epochs as
    there are variants have all of them.

    Args:
        files: of the split.
        seed: of the order.
        first: records of this pipeline to skip, those of whole epochs included.
        pipelines: number of readers that share each epoch.
        pipeline: which of them this is, from 0.

    Raises:
        InputError: there are too few records for so many readers.
    """
    total = files.records
    low, high = (total * number // pipelines for number in (pipeline, pipeline + 1))
    own = high - low
    if total < pipelines:
        raise InputError(f"{total} records cannot be shared by {pipelines} readers")
    blocks = math.ceil(own / (_BLOCK_SHARDS * max(files.lengths)))
    epoch, position = divmod(first, own)
    # The last block that begins at or before the position.
    block = max(number for number in _around(position * blocks // own, blocks) if own * number // blocks <= position)
    first_block = epoch * blocks + block
    skipped = position - own * block // blocks
    buffer = int(max(min(_BUFFER_RECORDS, _BUFFER_BYTES / max(files.record_bytes, 1)), 1))

    paths = tf.constant(files.variants)  # [V, S]
    lengths = tf.constant(files.lengths, tf.int64)
    first_in_file = tf.constant(files.first, tf.int64)
    numbers = tf.cumsum(lengths, exclusive=True)  # of each shard's first record

    def records_of(number: tf.Tensor) -> tf.data.Dataset:
        epoch, block = number // blocks, number % blocks
        shards = tf.range(len(files.lengths))
        order = tf.random.experimental.stateless_shuffle(shards, stream(seed, epoch, _SHARD_ORDER))
        ends = tf.cumsum(tf.gather(lengths, order))
        starts = ends - tf.gather(lengths, order)
        begin, end = low + own * block // blocks, low + own * (block + 1) // blocks
        skip = tf.clip_by_value(starts, begin, end) - starts
        take = tf.clip_by_value(ends, begin, end) - starts - skip
        used = tf.where(take > 0)[:, 0]
        order, skip, take = (tf.gather(array, used) for array in (order, skip, take))
        chosen = tf.gather_nd(paths, tf.stack([tf.gather(variants_of(epoch), order), order], axis=1))
        places = epoch * total + tf.gather(numbers, order) + skip
        records = tf.data.Dataset.from_tensor_slices(
            (chosen, tf.gather(first_in_file, order) + skip, take, places)
        ).interleave(_piece, cycle_length=2 * _BLOCK_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        shuffled = _shuffle(records, buffer, stream(seed, number, _BUFFER))
        return shuffled.skip(tf.where(number == first_block, tf.constant(skipped, tf.int64), 0))

    def variants_of(epoch: tf.Tensor) -> tf.Tensor:
        """The variant of each shard: from a random one on, in turn."""
        count = len(files.variants)
        begin = tf.random.stateless_uniform(
            [len(files.lengths)], stream(seed, epoch // count, _VARIANT), 0, count, tf.int32, alg="philox"
        )
        return (begin + tf.cast(epoch % count, tf.int32)) % count

    return tf.data.Dataset.range(first_block, tf.int64.max).flat_map(records_of)


def records_in_order(files: SplitFiles) -> tf.data.Dataset:
    """The original images' serialized records once, in the order of the files."""
    pieces = tf.data.Dataset.from_tensor_slices(
        (list(files.variants[0]), np.array(files.first, np.int64), np.array(files.lengths, np.int64))
    )
    return pieces.flat_map(lambda path, first, length: tf.data.TFRecordDataset(path).skip(first).take(length))


def epoch_and_number(places: tf.Tensor, files: SplitFiles) -> tuple[tf.Tensor, tf.Tensor]:
    """The epochs of records and their numbers in the split, from 0; int64 as `places`."""
    return places // files.records, places % files.records


def _around(number: int, count: int) -> range:
    return range(max(number - 1, 0), min(number + 2, count))


def _piece(path: tf.Tensor, skip: tf.Tensor, take: tf.Tensor, place: tf.Tensor) -> tf.data.Dataset:
    """Some of a shard's records with their places, the first of which is given."""
    records = tf.data.TFRecordDataset(path, buffer_size=_READ_BYTES).skip(skip).take(take)
    return tf.data.Dataset.zip(records, tf.data.Dataset.counter(place))


def _shuffle(records: tf.data.Dataset, buffer: int, key: tf.Tensor) -> tf.data.Dataset:
    """`Dataset.shuffle` by a key of two integers only: that would mix TensorFlow's global seed in."""
    structure = records.element_spec
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=tf.constant(buffer, tf.int64),
        seed=key[0],
        seed2=key[1],
        reshuffle_each_iteration=False,
        output_types=[spec.dtype for spec in structure],
        output_shapes=[spec.shape for spec in structure],
    )
    return tf.data.experimental.from_variant(variant, structure)
