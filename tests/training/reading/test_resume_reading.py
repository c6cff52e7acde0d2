"""A resumed run reads what the uninterrupted run would have read, and comes to the same weights."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from ssd300.training.fit import resume, train
from ssd300.training.settings import TrainSettings
from ssd300.training.trainable import TrainableSSD300


@pytest.fixture(scope="module")
def dataset(encode_shapes):
    """Folder of an encoded dataset of 6 images, an epoch of three steps, in files of two."""
    return encode_shapes({"train": 6}, seed=2, shard_size=2)


@pytest.fixture
def trained_on(monkeypatch):
    """Digests of the batches that updates were made from, in their order: of pixels, labels and offsets."""
    digests, update = [], TrainableSSD300.train_step

    def remember(*arrays):
        digests.append([hashlib.sha256(array.numpy().tobytes()).hexdigest() for array in arrays])

    def train_step(self, data):
        pixels, targets = data
        tf.py_function(remember, [pixels, targets["labels"], targets["offsets"]], [])
        return update(self, data)

    monkeypatch.setattr(TrainableSSD300, "train_step", train_step)
    return digests


def settings_for(dataset, **changes):
    small = {"width": 0.02, "weights": "none", "batch_size": 2, "steps": 4, "schedule": "constant"}
    return TrainSettings(dataset, **{**small, **changes})


def test_a_resumed_run_is_the_uninterrupted_one(dataset, tmp_path, trained_on):
    whole = train(settings_for(dataset, seed=3), tmp_path / "whole")
    uninterrupted = list(trained_on)
    assert len(uninterrupted) == 4
    assert len({pixels for pixels, _, _ in uninterrupted}) == 4
    trained_on.clear()

    train(settings_for(dataset, seed=3, steps=2), tmp_path / "parts")
    assert trained_on == uninterrupted[:2]
    parts = resume(tmp_path / "parts", steps=4)
    assert trained_on == uninterrupted

    assert whole.newest_checkpoint()[0] == parts.newest_checkpoint()[0] == 4
    for one, other in zip(whole.load_model()[0].get_weights(), parts.load_model()[0].get_weights(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
