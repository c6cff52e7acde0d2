"""The devices that a training runs on."""

import json
import os
from functools import cache
from typing import Literal

import tensorflow as tf

from ssd300.datasets.errors import InputError


def make_strategy(devices: Literal["all", "one"], batch_size: int) -> tf.distribute.Strategy:
    """The strategy of the workers that ``TF_CONFIG`` names, or for the devices of this machine.

    For one device it is TensorFlow's default, for several one of mirrored variables. Without a GPU the devices are the
    logical CPU devices, of which there is one unless a program configures more.

    Raises:
        InputError: a batch cannot be shared equally.
    """
    if is_multi_worker():
        strategy = _of_workers()
    else:
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if devices == "one" or len(found) == 1:
            return tf.distribute.get_strategy()
        strategy = _mirrored(tuple(device.name for device in found))
    count = strategy.num_replicas_in_sync
    if batch_size % count:
        raise InputError(
            f"the batch size must be a multiple of the {count} devices that share a batch, got {batch_size}"
        )
    return strategy


# One of each for the whole process: the collective operations of a second one get mixed up with those of the first.
@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@cache
def _of_workers() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _cluster() -> tuple[int, int]:
    """The number of workers that ``TF_CONFIG`` names, and which of them this is."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        workers = len(config.get("cluster", {}).get("worker", []))
        others = set(config.get("cluster", {})) - {"worker"}
        number = int(config.get("task", {}).get("index", 0))
    except (ValueError, AttributeError, TypeError):
        raise InputError("TF_CONFIG is not the JSON object that TensorFlow expects") from None
    if workers > 1 and (others or not 0 <= number < workers):
        raise InputError(
            "TF_CONFIG must name a cluster of workers alone, the first of which is the chief, and this one's index, "
            f"got {', '.join(sorted({'worker', *others}))} and index {number} of {workers}"
        )
    return workers, number


def is_multi_worker() -> bool:
    """Whether ``TF_CONFIG`` names several workers."""
    return _cluster()[0] > 1


def is_chief() -> bool:
    """Whether this process writes the run: the only one, or the first worker."""
    workers, number = _cluster()
    return workers <= 1 or number == 0


def refuse_workers(what: str) -> None:
    """Raises InputError if ``TF_CONFIG`` names several workers: `what` is for one."""
    if is_multi_worker():
        raise InputError(f"{what} is for one process, but TF_CONFIG names several workers")


def join_workers() -> None:
    """Connects to the other workers, if there are any; before TensorFlow computes anything, which is when it may."""
    if is_multi_worker():
        _of_workers()
