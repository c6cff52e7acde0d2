"""Reading through the workers of a `tf.data` service."""

import socket

import tensorflow as tf

from ssd300.datasets.errors import InputError

_PATIENCE = 10.0  # seconds for an answer
_OUTSTANDING_REQUESTS = 16  # batches on their way at once


def read_through(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """`batches`, made by the workers of the service at `address`, such as ``grpc://host:5000``.

    The blocks of the record order are dealt out to the workers.

    Raises:
        InputError: the address is malformed or unreachable; TensorFlow would hang silently.
    """
    protocol, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if not (protocol and host and port.isdigit()):
        raise InputError(f"the address of a tf.data service looks like grpc://host:5000, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no tf.data service answers at {address}: {error}") from None
    service = tf.data.experimental.service
    return batches.apply(
        service.distribute(service.ShardingPolicy.DYNAMIC, address, max_outstanding_requests=_OUTSTANDING_REQUESTS)
    )
