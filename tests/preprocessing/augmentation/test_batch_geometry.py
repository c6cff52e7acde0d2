"""The chain from records to batches with expansion and crop: against an independent path, and the pixels."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from augmenting import (
    CHAIN,
    LIGHT,
    MEAN,
    NONE,
    SPECS,
    WITHOUT_COLORS,
    assert_same,
    encoded,
    flips_of,
    from_record,
    make,
    run,
    stored_jpeg,
)

from ssd300.datasets.record import parse_record
from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation import photometric, windows
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.render import render


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        (PAPER, {"expand": 1.0}),
        (ARTICLE, {"expand": 1.0}),
        (PAPER, {"expand": 4.0, "expand_probability": 0.0}),
        (PAPER, {"crop": (1.0,), "crop_scale": (1.0, 1.0), "crop_aspect": (1.0, 1.0)}),
    ],
    ids=["ratio 1", "ratio 1, article", "never expanded", "crops of the whole"],
)
def test_a_window_of_the_whole_picture_gives_the_stored_bits(shapes, oddities, spec, changes):
    records = []
    for serialized in [*shapes, *oddities]:
        record = parse_record(serialized)
        records.append(make(record.image, (record.height, record.width), record.boxes, record.labels, spec=spec))
    geometric = replace(NONE, flip_probability=0.5, **changes)
    assert geometric.has_geometry
    found = run(records, geometric, spec=spec)
    assert_same(found, run(records, replace(NONE, flip_probability=0.5), spec=spec))
    flips = flips_of(geometric, 0, np.zeros(len(records)), np.arange(len(records)))
    assert 0 < flips.sum() < len(records)
    for i, serialized in enumerate(records):
        assert_same((found[1][i], found[2][i]), from_record(serialized, is_flipped=flips[i]))


def independent(serialized, augmentation, *, epoch, number, seed=0, spec=PAPER):
    """One record by itself: its unrounded pixels, where they are mean color, its targets, and whether any is left."""
    record = parse_record(serialized)
    colors = photometric.NUMBER_OF_DRAWS
    count = 1 + colors + windows.number_of_draws(augmentation)
    draws = uniform(stream(seed, tf.constant([epoch]), tf.constant([number])), count)
    is_flipped = bool(draws[0, 0] < augmentation.flip_probability)
    owners = np.zeros(len(record.boxes), np.int32)
    drawn = windows.draw_windows(tf.constant(record.boxes), owners, draws[:, 1 + colors :], augmentation)
    placement = windows.place(drawn, [(record.height, record.width)])
    visible = windows.project_objects(placement.windows, tf.constant(record.boxes), owners)
    boxes = box_ops.flip(visible.boxes) if is_flipped else visible.boxes
    labels = np.array(record.labels, np.int32)[visible.indices.numpy()]

    distortion = photometric.draw_distortions(draws[:, 1 : 1 + colors], augmentation)
    pixels = render(record.image, placement.source[0], placement.target[0])
    pixels = photometric.distort(pixels, photometric.Distortion(*(column[0] for column in distortion))).numpy()
    top, left, height, width = placement.target[0].numpy()
    fill = np.ones((300, 300), bool)
    fill[top : top + height, left : left + width] = False
    pixels[fill] = MEAN
    if is_flipped:
        pixels, fill = pixels[:, ::-1], fill[:, ::-1]
    return pixels, fill, encoded(boxes, labels, spec), len(labels)


@SPECS
def test_the_whole_chain_equals_each_record_by_itself(shapes, oddities, spec):
    records = [*shapes[:6], *oddities]
    epochs, numbers = np.arange(len(records)) % 4, np.arange(len(records)) * 1000 + 17
    pixels, labels, offsets = run(records, CHAIN, epochs=epochs, records=numbers, spec=spec, seed=9)
    fills, objects = 0, 0
    for i, serialized in enumerate(records):
        expected, fill, targets, count = independent(
            serialized, CHAIN, epoch=epochs[i], number=numbers[i], seed=9, spec=spec
        )
        assert_same((labels[i], offsets[i]), targets)
        assert np.abs(pixels[i] - expected).max() <= 0.51  # rounded to bytes
        assert (pixels[i][fill] == MEAN).all()
        fills, objects = fills + fill.any(), objects + count
    assert fills > 2
    assert objects > len(records)


def test_without_objects_there_are_no_targets(oddities):
    # Also in a batch without a single object.
    for augmentation in (NONE, LIGHT, CHAIN):
        pixels, labels, offsets = run([oddities[0], oddities[6]], augmentation, epochs=[4, 5])
        assert pixels.shape == (2, 300, 300, 3)
        assert not labels.any()
        assert not offsets.any()


def test_the_mean_color_is_never_distorted(shapes):
    augmentation = replace(CHAIN, crop=None, expand_probability=1.0, photometric_probability=1.0)
    assert (augmentation.brightness, augmentation.hue) == (32.0, 36.0)
    pixels, *_ = run(shapes, augmentation, epochs=1)
    seen = 0
    for i, serialized in enumerate(shapes):
        _, fill, _, _ = independent(serialized, augmentation, epoch=1, number=i)
        assert (pixels[i][fill] == MEAN).all()
        assert (pixels[i][~fill] == MEAN).all(axis=-1).mean() < 0.01
        seen += fill.mean()
    # The image takes the mean of 1 / ratio², 1/4 for ratios from 1 to 4.
    assert 0.5 < seen / len(shapes) < 0.95


@pytest.mark.parametrize("size", [(200, 300), (1000, 1500)], ids=["small", "scaled by the decoder"])
def test_boxes_are_where_the_object_s_pixels_are(size):
    height, width = size
    # A bright rectangle on dark ground, not in the middle.
    ymin, xmin, ymax, xmax = (round(part * side) for part, side in zip((0.3, 0.55, 0.7, 0.8), 2 * size, strict=True))
    picture = np.full((height, width, 3), 10, np.uint8)
    picture[ymin:ymax, xmin:xmax] = 245
    box = [ymin / height, xmin / width, ymax / height, xmax / width]
    record = make(stored_jpeg(picture), size, [box], [5])
    epochs = np.arange(80)
    pixels, labels, offsets = run(80 * [record], WITHOUT_COLORS, epochs=epochs, records=80 * [3])
    seen, cut = 0, 0
    for i in range(80):
        matched = np.flatnonzero(labels[i])
        if not len(matched):
            continue
        assert set(labels[i, matched].tolist()) == {5}
        decoded = 300 * box_coder.decode(offsets[i, matched], default_boxes(PAPER)[matched], variances=PAPER.variances)
        np.testing.assert_allclose(decoded, np.repeat(decoded[:1], len(matched), axis=0), atol=0.05)
        # Half way between dark and bright, and above the mean color.
        rows, columns = np.nonzero(pixels[i].mean(axis=-1) > 127.5)
        bright = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(decoded[0], bright, atol=1.5, err_msg=f"epoch {i}")
        seen += 1
        cut += decoded.min() < 0.01 or decoded.max() > 299.99
    assert seen > 60
    assert cut > 3
