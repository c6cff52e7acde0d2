"""Random numbers that depend only on a key, so that neither order nor parallelism can change them."""

from typing import Any

import tensorflow as tf


def stream(seed: int, part: Any, number: Any) -> tf.Tensor:
    """Keys, int64 ``[..., 2]``, of parts of what a seed decides.

    Args:
        seed: an integer, of which the lower 31 bits count.
        part: an epoch, or whatever else is numbered from 0; integers ``[...]``, below 2**32.
        number: a record of it, or another stream of numbers than the records'; integers ``[...]``.
    """
    part, number = tf.cast(part, tf.int64), tf.cast(number, tf.int64)
    return tf.stack([(seed % 2**31) * 2**32 + part + tf.zeros_like(number), number + tf.zeros_like(part)], axis=-1)


def uniform(keys: tf.Tensor, count: int) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32 ``[B, count]``, for keys ``[B, 2]``."""
    drawn = tf.map_fn(
        lambda key: tf.random.stateless_uniform([count], key, alg="philox"), keys, fn_output_signature=tf.float32
    )
    return tf.reshape(drawn, [-1, count])  # also of no key at all
