"""Reading an encoded dataset with `tf.data`: batches for training, for the validation loss and for evaluation."""

from typing import Any, NamedTuple

import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.record import parse
from ssd300.model.spec import Spec
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.augmentation.render import decode_resized
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION, Augmentation
from ssd300.training.reading.data_service import read_through
from ssd300.training.reading.record_order import epoch_and_number, ordered_records, records_in_order
from ssd300.training.settings import check_copies


class BatchShare(NamedTuple):
    """The rows of each batch that a worker trains on: one of `workers` equal parts, in `pieces`, one a device."""

    number: int
    workers: int
    pieces: int


_RECORD_BATCHES = 4  # undecoded, read ahead: they bridge the gap between two blocks of files


def training_batches(
    dataset: EncodedDataset,
    split: str,
    *,
    spec: Spec,
    batch_size: int,
    augmentation: Augmentation = LIGHT_AUGMENTATION,
    copies: bool = False,
    seed: int = 0,
    first_step: int = 0,
    input_context: tf.distribute.InputContext | None = None,
    share: BatchShare | None = None,
    data_service: str | None = None,
    time_waiting: bool = False,
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`.

    Yields ``(pixels, targets)``: pixels uint8 ``[B, 300, 300, 3]``, targets a dictionary of ``labels`` int32
    ``[B, 8732]`` and ``offsets`` float32 ``[B, 8732, 4]``; with `time_waiting` also ``waiting``, the seconds, float32,
    that passed between the call for this batch and its arrival.

    Without expansion and crop the stored targets are used as they are, those of the mirror image for a mirrored image;
    with them the objects are encoded in the graph by the function that made the stored ones.

    Every random number depends on the seed, the epoch and the record alone: the same arguments give the same batches
    whatever the machine's parallelism, and `first_step` starts where an uninterrupted reader would be.

    Args:
        dataset: an encoded dataset.
        split: its split.
        spec: of the model; the dataset must have been encoded with it.
        batch_size: images per batch, always full; of all replicas together where there is an `input_context`.
        augmentation: the steps.
        copies: whether to read, per epoch one of each image's variants, itself and its augmented copies. These
            are expanded and cropped already, so the augmentation must have neither step.
        seed: of the order and of the augmentation.
        first_step: training steps to skip, each a batch of all replicas.
        input_context: of `tf.distribute`: this reader's share of the records, in batches of its own.
        share: this reader's share of every batch: all workers together then have the batches of one reader, of which
            each decodes its share alone; it cannot be combined with an `input_context`.
        data_service: address of a `tf.data` service, such as ``grpc://host:5000``, whose workers do the work. Each
            record is still read once per epoch; the order is kept if there is one worker.
        time_waiting: whether to measure; not for readers behind another prefetch, as those of a strategy.

    Raises:
        InputError: the dataset, split or arguments cannot be used together.
    """
    check_copies(augmentation, copies)
    pipelines, pipeline, batches_a_step = 1, 0, 1
    if input_context is not None:
        pipelines, pipeline = input_context.num_input_pipelines, input_context.input_pipeline_id
        batches_a_step = input_context.num_replicas_in_sync // pipelines
        batch_size = input_context.get_per_replica_batch_size(batch_size)
    files = dataset.files(split, copies=copies)
    records = ordered_records(
        files,
        seed=seed,
        first=first_step * batches_a_step * batch_size,
        pipelines=pipelines,
        pipeline=pipeline,
    )

    def augmented(serialized: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, dict]:
        pixels, targets = augment_batch(
            serialized, *epoch_and_number(places, files), spec=spec, augmentation=augmentation, seed=seed
        )
        return pixels, targets._asdict()

    batches = records.batch(batch_size, drop_remainder=True)
    if share is not None:
        rows = batch_size // share.workers
        own = slice(share.number * rows, (share.number + 1) * rows)
        batches = batches.map(lambda serialized, places: (serialized[own], places[own]))
        batches = batches.unbatch().batch(rows // share.pieces, drop_remainder=True)
    batches = batches.prefetch(_RECORD_BATCHES)
    batches = batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    if data_service is not None:
        batches = read_through(batches, data_service)
    batches = batches.prefetch(tf.data.AUTOTUNE)
    if time_waiting:
        batches = _timed(batches)
    return batches.with_options(_options(is_share=input_context is not None or share is not None))


def _timed(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches with the seconds that each was waited for: `zip` asks its parts one after another."""
    clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

    def take(asked: tf.Tensor, batch: tuple[tf.Tensor, dict], arrived: tf.Tensor) -> tuple[tf.Tensor, dict]:
        pixels, targets = batch
        return pixels, {**targets, "waiting": tf.cast(arrived - asked, tf.float32)}

    return tf.data.Dataset.zip(clock, batches, clock).map(take)


def _options(*, is_share: bool) -> tf.data.Options:
    options = tf.data.Options()
    # A prefetch of TensorFlow's own at the end would wait in the place of the step.
    options.experimental_optimization.inject_prefetch = False
    options.deterministic = True
    # Batches are made in parallel; threads within one would only wait for each other.
    options.threading.max_intra_op_parallelism = 1
    # Sharding by files would cut into the graph of `ordered_records`. Without a share of its own a worker of a
    # multi-worker strategy takes every n-th batch.
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF if is_share else policy.DATA
    return options


def validation_batches(dataset: EncodedDataset, split: str, *, spec: Spec, batch_size: int) -> tf.data.Dataset:
    """As `training_batches`, but one pass over a split in its order, without random changes.

    The last batch may be smaller.
    """

    def plain(serialized: tf.Tensor) -> tuple[tf.Tensor, dict]:
        numbers = tf.zeros([tf.shape(serialized)[0]], tf.int64)  # no random number is looked at
        pixels, targets = augment_batch(serialized, numbers, numbers, spec=spec, augmentation=NO_AUGMENTATION, seed=0)
        return pixels, targets._asdict()

    records = records_in_order(dataset.files(split))
    return records.batch(batch_size).map(plain, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def evaluation_batches(dataset: EncodedDataset, split: str, *, batch_size: int) -> tf.data.Dataset:
    """All images of a split once, in the dataset's order, as they are.

    Yields dictionaries of `ssd300.datasets.record.parse`'s entries without the targets, batched (ragged where the
    number of objects differs), and ``pixels`` uint8 ``[B, 300, 300, 3]``; the last batch may be smaller.
    """

    def example(serialized: tf.Tensor) -> dict[str, Any]:
        record = parse(serialized)
        kept = {name: record[name] for name in ("image", "filename", "id", "boxes", "labels", "difficult")}
        return {**kept, "pixels": decode_resized(record["image"])}

    records = records_in_order(dataset.files(split))
    return records.map(example, num_parallel_calls=tf.data.AUTOTUNE).ragged_batch(batch_size).prefetch(2)
