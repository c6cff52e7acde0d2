"""How fast the reader is, stage by stage, to find out why a training run waits for its data."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.model.spec import spec_named
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.reader import training_batches
from ssd300.training.reading.record_order import epoch_and_number, ordered_records
from ssd300.training.settings import InspectSettings


def stage_rates(dataset: EncodedDataset, settings: InspectSettings) -> dict[str, float]:
    """Images per second by stage, each measured alone on this machine for `settings.seconds` after a warm-up."""
    spec = spec_named(dataset.identity.preset)
    files = dataset.files(settings.split, copies=settings.copies)
    batch_size, augmentation = settings.batch_size, settings.augmentation
    records = ordered_records(files, seed=0).batch(batch_size)
    plain = replace(augmentation, photometric_probability=0.0, flip_probability=0.0)

    def with_map(function: Callable[..., Any]) -> tf.data.Dataset:
        return records.map(function, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def part(index: int, steps: Augmentation) -> Callable[..., Any]:
        # What is not returned is not computed.
        def function(serialized: tf.Tensor, places: tf.Tensor) -> Any:
            epochs, numbers = epoch_and_number(places, files)
            return augment_batch(serialized, epochs, numbers, spec=spec, augmentation=steps, seed=0)[index]

        return function

    stages = {
        "records, in their order": records.prefetch(tf.data.AUTOTUNE),
        "objects and targets only": with_map(part(1, augmentation)),
        "images only, decoded and resized": with_map(part(0, plain)),
        "images only, with colors and mirroring": with_map(part(0, augmentation)),
        "everything, as in training": training_batches(
            dataset,
            settings.split,
            spec=spec,
            batch_size=batch_size,
            augmentation=augmentation,
            copies=settings.copies,
        ),
    }
    with naming_broken_records(dataset, settings.split, copies=settings.copies):
        return {name: _rate(batches, batch_size, settings.seconds) for name, batches in stages.items()}


def _rate(batches: tf.data.Dataset, batch_size: int, seconds: float) -> float:
    iterator = iter(batches)
    _count(iterator, seconds / 3)
    start = time.perf_counter()
    done = _count(iterator, seconds)
    return done * batch_size / (time.perf_counter() - start)


def _count(iterator: Any, seconds: float) -> int:
    next(iterator)  # at least one
    done, start = 1, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(iterator)
        done += 1
    return done


def rates_table(rates: dict[str, float]) -> str:
    """The rates as lines of text."""
    lines = [f"{'stage':<44}{'images/s':>12}{'ms per image':>14}"]
    lines += [f"{name:<44}{rate:>12,.0f}{1000 / rate:>14.3f}" for name, rate in rates.items()]
    return "\n".join(lines)
