"""Serialized records that several tests augment."""

import numpy as np
import pytest
import tensorflow as tf
from augmenting import make, random_boxes

from ssd300.datasets.encoded_dataset import EncodedDataset


@pytest.fixture(scope="module")
def shapes(shapes_dataset):
    """Eight serialized records of drawn shapes."""
    return list(
        tf.data.TFRecordDataset(EncodedDataset.open(shapes_dataset).files("train").variants[0])
        .take(8)
        .as_numpy_iterator()
    )


@pytest.fixture(scope="module")
def oddities(jpeg):
    """Serialized records: no object, an object of a pixel, many objects, a whole image, an image of one pixel."""
    picture, other = jpeg(300, 200), jpeg(123, 310, seed=1)
    pixel = [[150 / 200, 80 / 300, 151 / 200, 81 / 300]]
    return [
        make(picture, (200, 300)),
        make(picture, (200, 300), pixel, [3]),
        make(other, (310, 123), random_boxes(60)),
        make(other, (310, 123), [[0, 0, 1, 1]], [20]),
        make(jpeg(1, 1), (1, 1), [[0, 0, 1, 1]], [2]),
        make(picture, (200, 300), np.repeat(pixel, 9, axis=0)),
        make(other, (310, 123)),
    ]
