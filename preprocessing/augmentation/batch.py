"""From serialized records to a batch of augmented images and targets: the chain between the files and the network."""

from functools import lru_cache
from typing import Any

import tensorflow as tf

from ssd300.datasets.record import FLIPPED, OBJECTS, TARGETS, Rows, parse_batch
from ssd300.model import boxes as box_ops
from ssd300.model.spec import IMAGE_SIZE, Spec
from ssd300.preprocessing.augmentation import photometric, windows
from ssd300.preprocessing.augmentation.photometric import Distortion
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.render import on_mean, render, round_to_bytes
from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.preprocessing.encoding.targets import DenseTargets, encode_batch

_PIXELS = tf.TensorSpec([IMAGE_SIZE, IMAGE_SIZE, 3], tf.uint8)


# Without AutoGraph, which would take seconds to find no Python control flow.
@tf.autograph.experimental.do_not_convert
def augment_batch(
    serialized: tf.Tensor, epochs: tf.Tensor, records: tf.Tensor, *, spec: Spec, augmentation: Augmentation, seed: int
) -> tuple[tf.Tensor, DenseTargets]:
    """Parses, crops, decodes, distorts, flips and encodes the records of a batch.

    An augmented image and its targets depend on `seed`, its epoch and its number, not on the batch that it is in. The
    photometric distortion comes after the resize instead of before it, where fewer pixels are left; the mean color
    around an expanded image is not distorted, as in Caffe.

    Args:
        serialized: records as `ssd300.datasets.record` writes them, strings ``[B]``.
        epochs: the epoch of each, int64 ``[B]``.
        records: its number in the split, int64 ``[B]``.
        spec: default boxes, matching and coder.
        augmentation: the steps.
        seed: of all of it.

    Returns:
        Pixels, uint8 ``[B, 300, 300, 3]``, and targets ``[B, 8732]`` and ``[B, 8732, 4]``.
    """
    count = tf.shape(serialized)[0]
    geometry = windows.number_of_draws(augmentation) if augmentation.has_geometry else 0
    draws = uniform(stream(seed, epochs, records), 1 + photometric.NUMBER_OF_DRAWS + geometry)
    flipped = draws[:, 0] < augmentation.flip_probability
    colors = photometric.draw_distortions(draws[:, 1 : 1 + photometric.NUMBER_OF_DRAWS], augmentation)
    if augmentation.has_geometry:
        batch = parse_batch(serialized, OBJECTS)
        drawn = windows.draw_windows(
            batch[OBJECTS].values, batch[OBJECTS].owners, draws[:, 1 + photometric.NUMBER_OF_DRAWS :], augmentation
        )
        placement = windows.place(drawn, batch["sizes"])
        shown = placement.target
        targets = _encode(batch[OBJECTS], placement.windows, flipped, count, spec)
    else:
        batch = parse_batch(serialized, TARGETS, FLIPPED)
        placement = windows.place(tf.tile([[0.0, 0.0, 1.0, 1.0]], [count, 1]), batch["sizes"])
        # The part of an augmented copy that is not filled with the mean color; copies have the size of the input.
        shown = batch["shown"] * IMAGE_SIZE // tf.tile(batch["sizes"], [1, 2])
        targets = _stored(batch[TARGETS], batch[FLIPPED], flipped, count, spec)

    def picture(one: tuple[Any, ...]) -> tf.Tensor:
        jpeg, source, target, shown, distortion, mirrored = one
        pixels = _finish(render(jpeg, source, target), shown, Distortion(*distortion), augmentation)
        # Not pixels[:, ::-1], whose kernel takes ten times as long.
        return tf.cond(mirrored, lambda: tf.reverse(pixels, [1]), lambda: pixels)

    pictures = batch["image"], placement.source, placement.target, shown, tuple(colors), flipped
    return tf.map_fn(picture, pictures, fn_output_signature=_PIXELS), targets


def _encode(objects: Rows, seen_through: tf.Tensor, flipped: tf.Tensor, count: tf.Tensor, spec: Spec) -> DenseTargets:
    visible = windows.project_objects(seen_through, objects.values, objects.owners)
    owners = tf.gather(objects.owners, visible.indices)
    boxes = tf.where(tf.gather(flipped, owners)[:, None], box_ops.flip(visible.boxes), visible.boxes)
    encoded = encode_batch(boxes, owners, spec)
    labels = tf.gather(objects.labels, tf.gather(visible.indices, encoded.objects))
    return _dense(Rows(encoded.pictures, labels, encoded.offsets, encoded.indices), count, spec)


def _stored(plain: Rows, mirrored: Rows, flipped: tf.Tensor, count: tf.Tensor, spec: Spec) -> DenseTargets:
    """The stored targets, of the mirror image where that is shown: nothing is matched."""
    kept = ~tf.gather(flipped, plain.owners), tf.gather(flipped, mirrored.owners)
    chosen = [
        tf.concat([tf.boolean_mask(rows, keep) for rows, keep in zip(both, kept, strict=True)], axis=0)
        for both in zip(plain, mirrored, strict=True)
    ]
    return _dense(Rows(*chosen), count, spec)


def _dense(rows: Rows, count: tf.Tensor, spec: Spec) -> DenseTargets:
    at = tf.stack([rows.owners, rows.indices], axis=1)
    return DenseTargets(
        tf.scatter_nd(at, rows.labels, [count, spec.boxes]), tf.scatter_nd(at, rows.values, [count, spec.boxes, 4])
    )


def _finish(pixels: tf.Tensor, shown: tf.Tensor, distortion: Distortion, augmentation: Augmentation) -> tf.Tensor:
    """Distorts, puts on the mean color and rounds; only as much of it as the distortion needs is computed."""
    tones = any(step is not None for step in (augmentation.brightness, augmentation.contrast))
    saturates, turns = augmentation.saturation is not None, augmentation.hue is not None
    if not augmentation.has_photometric:
        return _finisher(False, False, False)(pixels, shown, *distortion)
    has_saturation, has_hue = distortion.saturation != 1, distortion.hue != 0
    cases = [(tones, False, False), (tones, saturates, False), (tones, saturates, turns)]
    case = tf.where(has_hue, 2, tf.where(has_saturation, 1, 0))
    return tf.switch_case(case, [lambda c=c: _finisher(*c)(pixels, shown, *distortion) for c in cases])


@lru_cache(maxsize=8)
def _finisher(tones: bool, saturation: bool, hue: bool) -> Any:
    """A pass over the pixels, fused by XLA: it takes half the time of TensorFlow's operations one after the other."""

    @tf.function(jit_compile=True, autograph=False)
    def finish(pixels: tf.Tensor, shown: tf.Tensor, *distortion: tf.Tensor) -> tf.Tensor:
        if tones or saturation or hue:
            pixels = photometric.distort(pixels, Distortion(*distortion), saturation=saturation, hue=hue)
        return round_to_bytes(on_mean(pixels, shown))

    return finish
