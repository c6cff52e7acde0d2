"""The chain from records to batches without expansion and crop, and its random numbers."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from augmenting import (
    CHAIN,
    LIGHT,
    MEAN,
    MIRROR,
    NONE,
    SPECS,
    assert_same,
    encoded,
    flips_of,
    from_record,
    make,
    random_boxes,
    run,
    stored_jpeg,
    traced,
)

from ssd300.datasets.record import parse_record
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.augmentation.render import decode_resized


@pytest.mark.parametrize("augmentation", [NONE, LIGHT, CHAIN], ids=["none", "light", "paper"])
def test_shapes_and_types(oddities, augmentation):
    pixels, targets = augment_batch(
        tf.constant(oddities[:3]),
        tf.constant([0, 1, 2], tf.int64),
        tf.constant([5, 6, 7], tf.int64),
        spec=PAPER,
        augmentation=augmentation,
        seed=0,
    )
    assert (pixels.dtype, tuple(pixels.shape)) == (tf.uint8, (3, 300, 300, 3))
    assert (targets.labels.dtype, tuple(targets.labels.shape)) == (tf.int32, (3, 8732))
    assert (targets.offsets.dtype, tuple(targets.offsets.shape)) == (tf.float32, (3, 8732, 4))
    signature = traced(PAPER, augmentation, 0).get_concrete_function().structured_outputs
    assert signature[0].shape.as_list() == [None, 300, 300, 3]
    assert signature[1].labels.shape.as_list() == [None, 8732]
    assert signature[1].offsets.shape.as_list() == [None, 8732, 4]


def test_none_is_the_plain_picture_with_its_stored_targets(shapes, oddities):
    records = [*shapes, *oddities]
    pixels, labels, offsets = run(records, NONE)
    for i, serialized in enumerate(records):
        record = parse_record(serialized)
        np.testing.assert_array_equal(pixels[i], decode_resized(record.image))
        assert_same((labels[i], offsets[i]), from_record(serialized, is_flipped=False))
        assert_same((labels[i], offsets[i]), encoded(record.boxes, record.labels))


def test_the_mirror_image_has_mirrored_pixels_and_targets(shapes, oddities):
    records = [*shapes, *oddities]
    pixels, labels, offsets = run(records, MIRROR)
    np.testing.assert_array_equal(pixels[:, :, ::-1], run(records, NONE)[0])
    for i, serialized in enumerate(records):
        record = parse_record(serialized)
        assert_same((labels[i], offsets[i]), from_record(serialized, is_flipped=True))
        assert_same((labels[i], offsets[i]), encoded(box_ops.flip(record.boxes), record.labels))


def test_the_mirror_image_of_the_mirror_image_is_the_picture():
    # 1/8 and the like: flipping them does not round.
    boxes = np.array([[0.125, 0.25, 0.5, 0.375], [0.25, 0.5, 1.0, 1.0]], np.float32)
    y, x = np.mgrid[:300, :300]
    square = stored_jpeg(np.stack([20 + x * 0.7, 200 - y * 0.3, 50 + x * 0.2 + y * 0.3], axis=-1).astype(np.uint8))
    once = run([make(square, (300, 300), boxes)], MIRROR)
    # The mirrored image becomes one of its own, which a second JPEG changes a little.
    twice = run([make(stored_jpeg(once[0][0]), (300, 300), box_ops.flip(boxes))], MIRROR)
    plain = run([make(square, (300, 300), boxes)], NONE)
    assert_same(twice[1:], plain[1:])
    assert np.abs(twice[0].astype(int) - plain[0]).max() <= 8
    assert np.abs(once[0].astype(int) - plain[0]).max() > 100


def test_light_uses_the_stored_targets(shapes):
    # Targets that no encoder gives: they come from the record, whatever its objects.
    record = parse_record(shapes[0])
    index, label = np.array([7, 4000, 8731]), np.array([3, 1, 2])
    made_up = (index, label, np.array([[1, 2, 3, 4], [0.1, -0.2, 0.3, -0.4], [9, 8, 7, 6]], np.float32))
    mirrored = (index[:1] + 1, label[:1], -made_up[2][:1])
    serialized = replace(record, targets=made_up, flipped_targets=mirrored).serialize()
    pixels, labels, offsets = run(24 * [serialized], LIGHT)
    ways = [from_record(serialized, is_flipped=is_flipped) for is_flipped in (False, True)]
    seen = set()
    for i in range(24):
        is_flipped = int(labels[i, 8])  # 3 in the mirrored targets alone
        assert is_flipped in (0, 3)
        seen.add(is_flipped)
        assert_same((labels[i], offsets[i]), ways[is_flipped // 3])
    assert seen == {0, 3}
    assert len({picture.tobytes() for picture in pixels}) > 12


@SPECS
def test_light_targets_bit_by_bit(oddities, shapes, spec):
    records = []
    for serialized in [*oddities, *shapes]:
        record = parse_record(serialized)
        records.append(make(record.image, (record.height, record.width), record.boxes, record.labels, spec=spec))
    _, labels, offsets = run(records, LIGHT, spec=spec, epochs=3)
    flips = flips_of(LIGHT, 0, np.full(len(records), 3), np.arange(len(records)))
    assert 0 < flips.sum() < len(records)
    for i, serialized in enumerate(records):
        assert_same((labels[i], offsets[i]), from_record(serialized, is_flipped=flips[i]))


def test_a_copy_keeps_its_mean_color(jpeg):
    # An augmented copy shows an image in rows 30 to 149 and columns 60 to 259; the rest is mean color.
    records = 12 * [make(jpeg(300, 300), (300, 300), [[0.2, 0.3, 0.4, 0.5]], shown=(30, 60, 120, 200))]
    pixels, labels, _ = run(records, replace(LIGHT, photometric_probability=1.0))
    outside = np.ones((300, 300), bool)
    outside[30:150, 60:260] = False
    flips = flips_of(LIGHT, 0, np.zeros(12), np.arange(12))
    assert 0 < flips.sum() < 12
    for picture, is_flipped in zip(pixels, flips, strict=True):
        upright = picture[:, ::-1] if is_flipped else picture
        assert (upright[outside] == MEAN).all()
        assert (upright[~outside] == MEAN).all(axis=-1).mean() < 0.01
    assert (labels > 0).any(axis=1).all()


def mirrored_places(spec):
    """For each default box the one in the opposite column of its grid."""
    places, first = [], 0
    for stage in spec.feature_maps:
        grid = np.arange(first, first + stage.boxes).reshape(stage.cells, stage.cells, len(stage.shapes))
        places.append(grid[:, ::-1].ravel())
        first += stage.boxes
    return np.concatenate(places)


def test_the_article_s_mirror_image_is_a_permutation(jpeg):
    places = mirrored_places(ARTICLE)
    mirrored = default_boxes(ARTICLE) * (-1, 1, 1, 1) + (1, 0, 0, 0)
    np.testing.assert_allclose(default_boxes(ARTICLE)[places], mirrored, atol=1e-6)
    records = [make(jpeg(), (200, 300), random_boxes(8, seed), spec=ARTICLE) for seed in range(6)]
    _, labels, offsets = run(records, NONE, spec=ARTICLE)
    _, mirrored_labels, mirrored_offsets = run(records, MIRROR, spec=ARTICLE)
    assert (labels > 0).sum() > 50
    np.testing.assert_array_equal(mirrored_labels, labels[:, places])
    np.testing.assert_allclose(mirrored_offsets, offsets[:, places] * (-1, 1, 1, 1), atol=1e-6)


def test_the_paper_s_mirror_image_is_no_permutation():
    # 38 steps of 8 pixels: centers at 4, 12, ..., 300, whose mirror images lie at 296, 288, ..., 0.
    centers = 300 * default_boxes(PAPER)[: 38 * 38 * 4, 0]
    assert (centers.min(), centers.max()) == pytest.approx((4, 300))


@pytest.mark.parametrize("augmentation", [LIGHT, CHAIN], ids=["light", "paper"])
def test_a_record_does_not_depend_on_its_batch(shapes, oddities, augmentation):
    records = [*oddities[:6], *shapes[:4]]
    epochs, numbers = np.arange(10) // 3, np.arange(10) * 7
    together = run(records, augmentation, epochs=epochs, records=numbers)
    order = np.random.default_rng(0).permutation(10)
    shuffled = run([records[i] for i in order], augmentation, epochs=epochs[order], records=numbers[order])
    assert_same(shuffled, [array[order] for array in together])
    for i in (1, 2, 7):
        alone = run([records[i]], augmentation, epochs=epochs[i], records=[numbers[i]])
        assert_same(alone, [array[i : i + 1] for array in together])


def test_seed_epoch_and_record_decide(shapes):
    same = 3 * [shapes[1]]
    first = run(same, CHAIN, epochs=[0, 0, 1], records=[4, 5, 4])
    assert_same(run(same, CHAIN, epochs=[0, 0, 1], records=[4, 5, 4]), first)
    other = run(same, CHAIN, epochs=[0, 0, 1], records=[4, 5, 4], seed=1)
    pictures = [*first[0], *other[0]]
    assert len({picture.tobytes() for picture in pictures}) == 6


@pytest.mark.parametrize("augmentation", [LIGHT, CHAIN], ids=["light", "paper"])
def test_a_parallel_dataset_gives_the_eager_bits(shapes, oddities, augmentation):
    records, numbers = [*shapes[:4], *oddities[:4]], np.arange(8)

    def augment(serialized, epochs, numbers):
        return augment_batch(serialized, epochs, numbers, spec=PAPER, augmentation=augmentation, seed=2)

    slices = tf.data.Dataset.from_tensor_slices((records, numbers // 5, numbers)).batch(2)
    mapped = list(slices.map(augment, num_parallel_calls=4))
    assert len(mapped) == 4
    for (pixels, targets), arguments in zip(mapped, slices, strict=True):
        eager_pixels, eager_targets = augment(*arguments)
        np.testing.assert_array_equal(pixels, eager_pixels)
        assert_same(targets, eager_targets)


def test_half_of_the_pictures_are_mirrored(jpeg):
    # An image of one pixel, which costs little; its targets tell.
    record = make(jpeg(1, 1), (1, 1), [[0.1, 0.6, 0.4, 0.9]])
    epochs, numbers = np.divmod(np.arange(400), 20)
    _, labels, _ = run(400 * [record], replace(NONE, flip_probability=0.5), epochs=epochs, records=numbers)
    plain, mirrored = (from_record(record, is_flipped=is_flipped)[0] for is_flipped in (False, True))
    flips = (labels == mirrored).all(axis=1)
    assert (flips != (labels == plain).all(axis=1)).all()
    # 400 fair draws have a deviation of 10; each epoch and each record has its own.
    assert 150 < flips.sum() < 250
    table = flips.reshape(20, 20)
    assert 0 < table.sum(axis=0).min() <= table.sum(axis=0).max() < 20
    assert 0 < table.sum(axis=1).min() <= table.sum(axis=1).max() < 20
