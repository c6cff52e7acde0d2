"""Random numbers by key: the same wherever and with whatever they are drawn, and like chance otherwise."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from ssd300.preprocessing.augmentation.random import stream, uniform

# One trace for each count, whatever the batch: as in the reader.
drawn = tf.function(uniform, reduce_retracing=True)


def numbers(seed, part, records, count=4):
    return drawn(stream(seed, part, records), count).numpy()


def test_these_numbers_never_change():
    # What was drawn for a key in one version: other numbers would change every training and copy ever made.
    assert stream(1, [0, 2], 5).numpy().tolist() == [[2**32, 5], [2**32 + 2, 5]]
    expected = [
        [0.011093974113464355, 0.9545031785964966, 0.9421420097351074],
        [0.9280474185943604, 0.14218711853027344, 0.5606845617294312],
    ]
    assert numbers(1, [0, 2], 5, 3).tolist() == expected


def test_shape_and_range():
    drawn = numbers(7, 3, np.arange(50), 1009)
    assert drawn.shape == (50, 1009)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_no_records_no_numbers():
    assert numbers(7, 3, np.arange(0)).shape == (0, 4)


def test_the_batch_does_not_matter():
    together = numbers(3, 8, [5, 6, 7, 6])
    np.testing.assert_array_equal(together[1], together[3])
    np.testing.assert_array_equal(numbers(3, 8, [7, 5]), together[[2, 0]])
    for i, record in enumerate([5, 6, 7]):
        np.testing.assert_array_equal(numbers(3, 8, [record])[0], together[i])


def test_a_pipeline_draws_the_same():
    data = tf.data.Dataset.range(12).batch(5).map(lambda records: uniform(stream(3, 1, records), 4), 2)
    np.testing.assert_array_equal(np.concatenate(list(data.as_numpy_iterator())), numbers(3, 1, np.arange(12)))
    np.testing.assert_array_equal(uniform(stream(3, 1, tf.range(12)), 4), numbers(3, 1, np.arange(12)))


@pytest.mark.parametrize(
    ("part", "number", "shape"),
    [
        (0, 0, (2,)),
        ([0, 1, 2], 0, (3, 2)),
        (0, [0, 1, 2], (3, 2)),
        ([4, 5], [6, 7], (2, 2)),
        ([[0], [1]], 0, (2, 1, 2)),
    ],
)
def test_parts_and_numbers_broadcast(part, number, shape):
    keys = stream(9, part, number)
    assert keys.dtype == tf.int64
    assert keys.shape == shape
    np.testing.assert_array_equal(keys[..., 0] - 9 * 2**32, np.broadcast_to(part, shape[:-1]))
    np.testing.assert_array_equal(keys[..., 1], np.broadcast_to(number, shape[:-1]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_the_type_of_the_integers_does_not_matter(dtype):
    np.testing.assert_array_equal(stream(9, dtype(4), np.arange(3, dtype=dtype)), stream(9, 4, [0, 1, 2]))


def test_seeds_parts_and_numbers_all_count():
    seeds, parts = [0, 1, 2, 2**31 - 1], [0, 1, 2, 2**32 - 1]
    records = [0, 1, 2, 2**31, 2**32, 2**62 - 1]
    first = np.concatenate([numbers(seed, part, records, 2) for seed in seeds for part in parts])
    assert len({tuple(row) for row in first.tolist()}) == len(seeds) * len(parts) * len(records)
    # The order of the three counts too.
    assert len({tuple(numbers(*key).ravel()) for key in [(1, 2, [3]), (2, 1, [3]), (3, 2, [1]), (1, 3, [2])]}) == 4


keys = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**62 - 1))


@settings(max_examples=60, deadline=None)
@given(keys, keys)
def test_no_two_keys_are_the_same(one, other):
    equal = np.array_equal(stream(*one), stream(*other))
    assert equal == (one == other)


@pytest.mark.parametrize("seed", [2**31 - 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 10**30])
def test_large_seeds_do_not_overflow(seed):
    keys = stream(seed, [0, 2**32 - 1], 2**62 - 1).numpy()
    # Only the lower 31 bits of a seed count.
    assert keys.tolist() == [[seed % 2**31 * 2**32 + part, 2**62 - 1] for part in (0, 2**32 - 1)]
    assert (keys >= 0).all()
    assert not np.array_equal(numbers(seed, 0, [0]), numbers(seed + 1, 0, [0]))


def test_the_numbers_are_like_chance():
    # 4,000 records, 6 numbers each; neighbors in all directions.
    first, next_epoch, next_seed = (numbers(*key, np.arange(4000), 6) for key in [(1, 0), (1, 1), (2, 0)])
    # Of a uniform number the mean is 1/2 and the variance 1/12: five standard errors of 4,000.
    assert np.abs(first.mean(axis=0) - 1 / 2).max() < 5 * np.sqrt(1 / 12 / 4000)
    # The variance of its square's mean is 1/5 - 1/9.
    assert np.abs((first**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt((1 / 5 - 1 / 9) / 4000)
    pairs = [(first[:, 0], first[:, 1]), (first[:-1, 0], first[1:, 0])]
    pairs += [(first[:, 0], next_epoch[:, 0]), (first[:, 0], next_seed[:, 0]), (first[1:, 0], next_epoch[:-1, 0])]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(3999)
