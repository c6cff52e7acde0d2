"""Augmented copies: images expanded, cropped and resized once, in the Beam job, so that training only reads them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from ssd300.datasets.record import Record
from ssd300.model.spec import IMAGE_SIZE
from ssd300.preprocessing.augmentation import windows
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.render import on_mean, render, round_to_bytes
from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.preprocessing.checking.ground_truth import GroundTruth
from ssd300.preprocessing.checking.picture import Picture
from ssd300.preprocessing.encoding.targets import encode_and_mirror
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.checked_picture import CheckedPicture

JPEG_QUALITY = 90


def augmented_copies(pictures: Sequence[CheckedPicture], number: int, settings: PreprocessSettings) -> Iterator[Record]:
    """A copy of each image, 300x300, with the objects that it shows; the records come in the same order.

    What a copy shows depends only on the seed, its number and the image's name.

    Args:
        pictures: the images.
        number: of the copy, from 1.
        settings: the job's.
    """
    counts = np.array([len(one.truth.labels) for one in pictures])
    owners = np.repeat(np.arange(len(pictures), dtype=np.int32), counts)
    jpegs, shown, kept, boxes = (
        array.numpy()
        for array in _copier(settings.copy_augmentation)(
            np.array([one.picture.jpeg for one in pictures], object),
            np.array([[one.picture.height, one.picture.width] for one in pictures], np.int32),
            np.concatenate([one.truth.boxes for one in pictures]),
            owners,
            stream(settings.seed, number, [_number(one.name) for one in pictures]),
        )
    )
    labels, difficult, truncated = (
        np.concatenate([getattr(one.truth, name) for one in pictures])[kept]
        for name in ("labels", "difficult", "truncated")
    )
    ends = np.searchsorted(owners[kept], np.arange(len(pictures) + 1))
    targets, flipped = encode_and_mirror(boxes, np.diff(ends), settings.spec)
    for i, one in enumerate(pictures):
        own = slice(ends[i], ends[i + 1])
        copy = replace(
            one,
            picture=Picture(jpegs[i], IMAGE_SIZE, IMAGE_SIZE, stored_size=(IMAGE_SIZE, IMAGE_SIZE), repairs=()),
            truth=GroundTruth(boxes[own], labels[own], difficult[own], truncated[own], repairs=()),
        )
        rows = targets.rows[i], flipped.rows[i]
        yield copy.record(targets.of(rows[0], labels), flipped.of(rows[1], labels), shown[i].tolist())


def _number(name: str) -> int:
    """A number of 62 bits that only this name has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2


@lru_cache(maxsize=8)
def _copier(augmentation: Augmentation) -> Any:
    """Draws, crops and encodes.

    Gives JPEGs ``[B]``, what they show ``[B, 4]``, the objects that remain ``[K]`` and their boxes ``[K, 4]``.
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.string),
            tf.TensorSpec((None, 2), tf.int32),
            tf.TensorSpec((None, 4), tf.float32),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((None, 2), tf.int64),
        ],
        autograph=False,
    )
    def copy(
        jpegs: tf.Tensor, sizes: tf.Tensor, boxes: tf.Tensor, owners: tf.Tensor, keys: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        draws = uniform(keys, windows.number_of_draws(augmentation))
        placement = windows.place(windows.draw_windows(boxes, owners, draws, augmentation), sizes)

        def one(picture: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            jpeg, source, target = picture
            pixels = round_to_bytes(on_mean(render(jpeg, source, target), target))
            return tf.io.encode_jpeg(pixels, quality=JPEG_QUALITY)

        copies = tf.map_fn(one, (jpegs, placement.source, placement.target), fn_output_signature=tf.string)
        return copies, placement.target, *windows.project_objects(placement.windows, boxes, owners)

    return copy
