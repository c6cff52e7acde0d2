"""Training batches from a `tf.data` service whose dispatcher and workers run in this process."""

import gc
import socket

import numpy as np
import pytest
import tensorflow as tf
from helpers import changed

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.model.spec import PAPER
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, PAPER_AUGMENTATION as CHAIN
from ssd300.training.reading.data_service import read_through
from ssd300.training.reading.reader import training_batches

# Every image of an epoch is another: none is left without a distortion.
ALWAYS = changed(LIGHT_AUGMENTATION, ["photometric_probability=1"])


@pytest.fixture(scope="module")
def dataset(encode_shapes):
    """An encoded dataset of 12 images in 12 files: an epoch of two blocks of two batches."""
    return EncodedDataset.open(encode_shapes({"train": 12}, seed=4, shard_size=1))


class Service:
    """A dispatcher and workers on free ports."""

    def __init__(self, workers):
        service = tf.data.experimental.service
        self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
        config = service.WorkerConfig(self._dispatcher.target.split("://")[1], heartbeat_interval_ms=200)
        self._workers = [service.WorkerServer(config) for _ in range(workers)]
        self.address = self._dispatcher.target

    def stop(self):
        for worker in self._workers:
            worker._stop()
        self._dispatcher._stop()


@pytest.fixture
def service():
    """``service(workers)``: address of a service that ends with the test."""
    started = []

    def start(workers):
        started.append(Service(workers))
        return started[-1].address

    yield start
    gc.collect()  # iterators, before what they read from
    for one in started:
        one.stop()


def take(dataset, count, **options):
    batches = training_batches(dataset, "train", spec=PAPER, batch_size=3, **options).take(count)
    return [(pixels.numpy(), {name: array.numpy() for name, array in targets.items()}) for pixels, targets in batches]


def assert_equal(batches, others):
    for (pixels, targets), (other_pixels, other_targets) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(pixels, other_pixels)
        for name in ("labels", "offsets"):
            np.testing.assert_array_equal(targets[name], other_targets[name])


@pytest.mark.parametrize("first_step", [0, 5])
def test_one_worker_gives_the_local_reader_s_batches_in_their_order(dataset, service, first_step):
    options = {"augmentation": CHAIN, "seed": 3, "first_step": first_step}
    assert_equal(
        take(dataset, 7, **options, data_service=service(1)),  # over the end of an epoch of four
        take(dataset, 7, **options),
    )


def test_two_workers_read_every_record_once_an_epoch(dataset, service):
    # What a reader makes of a record in an epoch tells which record and which epoch that is.
    known = {}
    for i, (pixels, _) in enumerate(take(dataset, 160, augmentation=ALWAYS)):
        known |= {picture.tobytes(): i // 2 for picture in pixels}  # the block
    assert len(known) == 480
    read = take(dataset, 40, augmentation=ALWAYS, data_service=service(2))
    found = [picture.tobytes() for pixels, _ in read for picture in pixels]
    assert len(set(found)) == 120
    blocks = np.bincount([known[picture] for picture in found])
    # A worker ends a block before it begins its next, so one of each may be under way.
    assert ((blocks > 0) & (blocks < 6)).sum() <= 2
    assert (blocks == 6).sum() >= 18


def test_two_readers_of_one_service_do_not_share_batches(dataset, service):
    # Another run at the same time, with the same settings, gets all records as well.
    address = service(1)
    options = {"augmentation": CHAIN, "seed": 3, "data_service": address}
    assert_equal(take(dataset, 3, **options), take(dataset, 3, **options))


@pytest.mark.parametrize("address", ["nonsense", "grpc://host", "localhost:5000", "grpc://localhost:port"])
def test_what_is_no_address_is_refused_with_an_example(address):
    with pytest.raises(ValueError, match="looks like grpc://host:5000"):
        read_through(tf.data.Dataset.range(3), address)


def test_an_address_where_no_one_answers_is_refused_by_name():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"grpc://localhost:{free.getsockname()[1]}"
    with pytest.raises(ValueError, match=f"answers at {address}"):
        read_through(tf.data.Dataset.range(3), address)
