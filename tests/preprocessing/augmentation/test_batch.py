"""The chain from records to batches: against the stored targets, an independent path, and the pixels themselves."""

import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.record import Record, parse_record
from ssd300.model import box_coder
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation import photometric, windows
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.render import decode_resized, render
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION, PAPER_AUGMENTATION
from ssd300.preprocessing.encoding.targets import encode_ground_truth, to_dense

NONE, LIGHT, CHAIN = NO_AUGMENTATION, LIGHT_AUGMENTATION, PAPER_AUGMENTATION
MEAN = (123, 117, 104)
MIRROR = replace(NONE, flip_probability=1.0)
WITHOUT_COLORS = replace(CHAIN, photometric_probability=0.0)
SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)


@lru_cache
def traced(spec, augmentation, seed):
    signature = [tf.TensorSpec([None], tf.string), *2 * [tf.TensorSpec([None], tf.int64)]]

    def augment(serialized, epochs, records):
        return augment_batch(serialized, epochs, records, spec=spec, augmentation=augmentation, seed=seed)

    return tf.function(augment, input_signature=signature, autograph=False)


def run(serialized, augmentation, *, epochs=0, records=None, spec=PAPER, seed=0):
    """Pixels, labels and offsets of records, as arrays; the numbers of the records are their places by default."""
    count = len(serialized)
    epochs = np.broadcast_to(np.asarray(epochs, np.int64), count)
    records = np.arange(count) if records is None else np.asarray(records, np.int64)
    pixels, targets = traced(spec, augmentation, seed)(np.array(serialized, object), epochs, records)
    return pixels.numpy(), targets.labels.numpy(), targets.offsets.numpy()


def make(image, size, boxes=(), labels=None, *, spec=PAPER, shown=None):
    """A serialized record of a JPEG of this (height, width), with the targets that the Beam job would store."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = list(range(1, len(boxes) + 1)) if labels is None else labels
    both = [
        tuple(tensor.numpy() for tensor in encode_ground_truth(seen, labels, spec))
        for seen in (boxes, box_ops.flip(boxes))
    ]
    flags = [False] * len(boxes)
    return Record(image, *size, "a.jpg", "a", boxes, labels, flags, flags, *both, shown=shown).serialize()


def stored_jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def random_boxes(count, seed=0):
    random = np.random.default_rng(seed)
    sides = np.exp(random.uniform(np.log(0.02), np.log(0.8), (count, 2)))
    corners = random.uniform(0, 1, (count, 2)) * (1 - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


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
    """Serialized records: no object, an object of a pixel, many objects, a whole picture, a picture of one pixel."""
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


def assert_same(found, expected):
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def dense(sparse, spec=PAPER):
    return tuple(tensor.numpy() for tensor in to_dense(sparse, spec))


def encoded(boxes, labels, spec=PAPER):
    return dense(encode_ground_truth(boxes, labels, spec), spec)


def from_record(serialized, *, is_flipped):
    """The targets that a record stores."""
    record = parse_record(serialized)
    indices, labels, offsets = record.flipped_targets if is_flipped else record.targets
    all_labels, all_offsets = np.zeros(8732, np.int32), np.zeros((8732, 4), np.float32)
    all_labels[indices], all_offsets[indices] = labels, offsets
    return all_labels, all_offsets


# ---- without expansion and crop -------------------------------------------------------------------------------------


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
    # The mirrored picture becomes one of its own, which a second JPEG changes a little.
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
    # An augmented copy shows a picture in rows 30 to 149 and columns 60 to 259; the rest is mean colour.
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


# ---- the mirror image and the default boxes -------------------------------------------------------------------------


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
    # 38 steps of 8 pixels: centres at 4, 12, ..., 300, whose mirror images lie at 296, 288, ..., 0.
    centres = 300 * default_boxes(PAPER)[: 38 * 38 * 4, 0]
    assert (centres.min(), centres.max()) == pytest.approx((4, 300))


# ---- expansion and crop ---------------------------------------------------------------------------------------------


def flips_of(augmentation, seed, epochs, records):
    """Which pictures are mirrored: the first random number of each decides."""
    return uniform(stream(seed, epochs, records), 1)[:, 0].numpy() < augmentation.flip_probability


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
    """One record by itself: its unrounded pixels, where they are mean colour, its targets, and whether any is left."""
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
    # The picture takes the mean of 1 / ratio², 1/4 for ratios from 1 to 4.
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
        # Half way between dark and bright, and above the mean colour.
        rows, columns = np.nonzero(pixels[i].mean(axis=-1) > 127.5)
        bright = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(decoded[0], bright, atol=1.5, err_msg=f"epoch {i}")
        seen += 1
        cut += decoded.min() < 0.01 or decoded.max() > 299.99
    assert seen > 60
    assert cut > 3


# ---- random numbers -------------------------------------------------------------------------------------------------


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
    # A picture of one pixel, which costs little; its targets tell.
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
