"""Augmented copies: what they show, their objects and targets, and that nothing but name, seed and number decides."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.datasets.record import parse_record
from ssd300.datasets.sources.folder import FolderSource
from ssd300.model import boxes as box_ops
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.augmentation import windows
from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION
from ssd300.preprocessing.checking.ground_truth import GroundTruth
from ssd300.preprocessing.checking.picture import check_picture
from ssd300.preprocessing.encoding.targets import encode_ground_truth
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.checked_picture import CheckedPicture
from ssd300.preprocessing.shards.copies import augmented_copies

MEAN = (123, 117, 104)
CLASSES = ClassList(("ant", "bee", "cat"))
SETTINGS = PreprocessSettings((FolderSource("train", "VOC2007", "train"),), CLASSES, seed=7, copies=1)
# ymin, xmin, ymax, xmax; label; difficult; truncated: no two objects are alike in all three.
OBJECTS = [
    ((0.05, 0.10, 0.40, 0.35), 1, False, True),
    ((0.50, 0.55, 0.95, 0.90), 3, True, False),
    ((0.00, 0.70, 0.20, 1.00), 2, True, True),
    ((0.60, 0.02, 0.70, 0.12), 1, False, False),
]


def jpeg_of(pixels) -> bytes:
    buffer = io.BytesIO()
    # From 98 on TensorFlow's fast decoding may overflow at black and white edges.
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def smooth(width=300, height=200) -> bytes:
    """A gradient that differs along both axes and between channels."""
    x, y = np.linspace(0, 255, width)[None], np.linspace(255, 0, height)[:, None]
    return jpeg_of(np.stack([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1))


def plain(width, height, color) -> bytes:
    return jpeg_of(np.full((height, width, 3), color))


def checked(data, objects=(), *, name="VOC2007/000001") -> CheckedPicture:
    boxes, labels, difficult, truncated = zip(*objects, strict=True) if objects else ((), (), (), ())
    truth = GroundTruth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        np.array(difficult, bool),
        np.array(truncated, bool),
        (),
    )
    return CheckedPicture(name, name.rpartition("/")[2] + ".jpg", check_picture(data, name), truth)


def copies_of(pictures, number=1, settings=SETTINGS):
    return list(augmented_copies(pictures, number, settings))


NO_GEOMETRY = dataclasses.replace(PAPER_AUGMENTATION, expand=None, crop=None)


def changed(**change) -> PreprocessSettings:
    return dataclasses.replace(SETTINGS, **change)


def pixels_of(record) -> np.ndarray:
    with Image.open(io.BytesIO(record.image)) as image:
        return np.asarray(image.convert("RGB"), int)


def placed(one: CheckedPicture, number=1, settings=SETTINGS):
    """Placement and visible objects of this image alone, from its own key."""
    key = int(hashlib.sha256(one.name.encode()).hexdigest()[:16], 16) // 4
    augmentation = settings.copy_augmentation
    draws = uniform(stream(settings.seed, number, [key]), windows.number_of_draws(augmentation))
    owners = np.zeros(len(one.truth.labels), np.int32)
    drawn = windows.draw_windows(one.truth.boxes, owners, draws, augmentation)
    placement = windows.place(drawn, [[one.picture.height, one.picture.width]])
    seen = windows.project_objects(placement.windows, one.truth.boxes, owners)
    return placement, seen.indices.numpy(), seen.boxes.numpy()


def drawn_by_pillow(one: CheckedPicture, placement) -> np.ndarray:
    """The visible part on the mean color."""
    canvas = Image.new("RGB", (300, 300), MEAN)
    top, left, height, width = placement.source.numpy()[0].tolist()
    place_top, place_left, place_height, place_width = placement.target.numpy()[0].tolist()
    if place_height:
        with Image.open(io.BytesIO(one.picture.jpeg)) as image:
            part = image.convert("RGB").crop((left, top, left + width, top + height))
        canvas.paste(part.resize((place_width, place_height), Image.Resampling.BILINEAR), (place_left, place_top))
    return np.asarray(canvas, int)


@pytest.fixture(scope="module")
def gradients() -> list[CheckedPicture]:
    """Forty images of several sizes, with 0 to 4 objects."""
    sizes = [(300, 200), (200, 300), (640, 427), (97, 31)]
    data = [smooth(*size) for size in sizes]
    return [checked(data[n % 4], OBJECTS[: n % 5], name=f"VOC2007/{n:06d}") for n in range(40)]


def test_a_copy_is_a_jpeg_of_300x300_with_the_names_of_its_picture(gradients):
    records = copies_of(gradients)
    for one, record in zip(gradients, records, strict=True):
        with Image.open(io.BytesIO(record.image)) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (300, 300), "RGB")
        assert (record.height, record.width) == (300, 300)
        assert (record.picture_id, record.filename) == (one.name, one.filename)


def test_a_copy_has_the_objects_that_its_window_shows_with_their_flags(gradients):
    lost = kept = 0
    for number in (1, 2):
        for one, record in zip(gradients, copies_of(gradients, number), strict=True):
            placement, numbers, boxes = placed(one, number)
            np.testing.assert_array_equal(record.boxes, boxes)
            assert record.labels == [OBJECTS[i][1] for i in numbers]
            assert record.difficult == [OBJECTS[i][2] for i in numbers]
            assert record.truncated == [OBJECTS[i][3] for i in numbers]
            assert record.shown == placement.target.numpy()[0].tolist()
            lost, kept = lost + len(one.truth.labels) - len(numbers), kept + len(numbers)
    assert min(lost, kept) > 20


def test_the_pixels_are_those_of_the_window(gradients):
    for one, record in zip(gradients, copies_of(gradients), strict=True):
        difference = np.abs(pixels_of(record) - drawn_by_pillow(one, placed(one)[0]))
        assert difference.mean() < 3, one.name
        assert np.quantile(difference, 0.98) < 25, one.name  # more along the image's border alone


@pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)
def test_targets_are_the_encoding_of_the_copys_boxes_and_of_their_mirror_image(gradients, spec):
    for record in copies_of(gradients[:20], settings=changed(preset=spec.name)):
        for name, boxes in (("targets", record.boxes), ("flipped_targets", box_ops.flip(record.boxes))):
            indices, labels, offsets = encode_ground_truth(boxes, record.labels, spec)
            found = getattr(record, name)
            np.testing.assert_array_equal(found[0], indices)
            np.testing.assert_array_equal(found[1], labels)
            np.testing.assert_allclose(found[2], offsets, atol=1e-5)


def test_a_copy_is_the_same_alone_in_a_batch_and_in_another_order(gradients):
    serialized = {record.picture_id: record.serialize() for record in copies_of(gradients)}
    assert len(set(serialized.values())) == len(gradients)
    backwards = {record.picture_id: record.serialize() for record in copies_of(gradients[::-1])}
    alone = {one.name: copies_of([one])[0].serialize() for one in gradients}
    assert backwards == serialized
    assert alone == serialized


def test_another_number_seed_or_name_gives_another_window():
    one = checked(smooth(), OBJECTS)
    renamed = dataclasses.replace(one, name="VOC2012/000001")
    others = [
        copies_of([one]),
        copies_of([one], 2),
        copies_of([one], 3),
        copies_of([one], settings=changed(seed=8)),
        copies_of([renamed]),
    ]
    assert len({record.image for (record,) in others}) == len(others)


def test_what_does_not_decide_leaves_the_window_alone():
    one = checked(smooth(), OBJECTS)
    (expected,) = copies_of([one])
    for change in ({"copies": 9}, {"shard_size": 3}, {"preset": "article"}, {"verify": "header"}):
        (record,) = copies_of([one], settings=changed(**change))
        assert (record.image, record.shown) == (expected.image, expected.shown)
        np.testing.assert_array_equal(record.boxes, expected.boxes)


def test_copies_go_through_bytes(gradients):
    for record in copies_of(gradients[:10]):
        again = parse_record(record.serialize())
        assert (again.height, again.width, again.shown) == (300, 300, record.shown)
        assert (again.labels, again.difficult, again.truncated) == (record.labels, record.difficult, record.truncated)
        np.testing.assert_array_equal(again.boxes, record.boxes)
        assert again.serialize() == record.serialize()


def test_without_expansion_and_crop_a_copy_is_the_whole_picture():
    one = checked(smooth(), OBJECTS)
    (record,) = copies_of([one], settings=changed(copy_augmentation=NO_GEOMETRY))
    np.testing.assert_array_equal(record.boxes, one.truth.boxes)
    assert record.shown == [0, 0, 300, 300]
    with Image.open(io.BytesIO(one.picture.jpeg)) as image:
        whole = np.asarray(image.resize((300, 300), Image.Resampling.BILINEAR), int)
    assert np.abs(pixels_of(record) - whole).mean() < 2


def test_pictures_without_objects_are_expanded_and_never_cropped():
    batch = [checked(smooth(), name=f"VOC2007/{n}") for n in range(12)]
    records = copies_of(batch)
    for one, record in zip(batch, records, strict=True):
        assert record.boxes.shape == (0, 4)
        assert (record.labels, len(record.targets[0]), len(record.flipped_targets[0])) == ([], 0, 0)
        assert placed(one)[0].source.numpy().tolist() == [[0, 0, 200, 300]]
    assert {record.shown == [0, 0, 300, 300] for record in records} == {True, False}
    (alone,) = copies_of(
        [batch[0]], settings=changed(copy_augmentation=dataclasses.replace(PAPER_AUGMENTATION, expand=None))
    )
    assert alone.shown == [0, 0, 300, 300]


def test_a_copy_may_lose_all_objects():
    corner = [((0.0, 0.0, 0.1, 0.1), 2, True, False)]
    batch = [checked(smooth(), corner, name=f"VOC2007/{n}") for n in range(40)]
    empty = [record for record in copies_of(batch) if not record.labels]
    assert 0 < len(empty) < 40
    for record in empty:
        assert record.boxes.shape == (0, 4)
        assert (record.difficult, record.truncated) == ([], [])
        assert all(len(part) == 0 for part in (*record.targets, *record.flipped_targets))
        assert parse_record(record.serialize()).labels == []
    lost = {record.picture_id for record in empty}
    together = copies_of([one for one in batch if one.name in lost])  # no object of the whole batch is left
    assert [record.serialize() for record in together] == [record.serialize() for record in empty]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)], ids=str)
def test_pictures_of_a_pixel_or_two(size):
    data = plain(*size, (200, 30, 40))
    batch = [checked(data, [((0, 0, 1, 1), 1, False, False)], name=f"VOC2007/{n}") for n in range(12)]
    for record in copies_of(batch):
        top, left, height, width = record.shown
        inside = pixels_of(record)[top : top + height, left : left + width]
        assert inside.shape == (height, width, 3)
        if min(height, width) > 16:
            assert np.abs(inside[8:-8, 8:-8] - (200, 30, 40)).max() < 8
        assert record.boxes.min(initial=0) >= 0
        assert record.boxes.max(initial=1) <= 1


@pytest.mark.parametrize("size", [(3000, 2000), (150, 4100)], ids=str)
def test_large_pictures(size):
    data = smooth(*size)
    batch = [checked(data, OBJECTS[: n % 3], name=f"VOC2007/{n}") for n in range(8)]
    for one, record in zip(batch, copies_of(batch), strict=True):
        placement, _, boxes = placed(one)
        np.testing.assert_array_equal(record.boxes, boxes)
        assert np.abs(pixels_of(record) - drawn_by_pillow(one, placement)).mean() < 3


def test_grey_pictures_stay_grey_and_become_rgb():
    gray = jpeg_of(np.linspace(0, 255, 300)[None] * np.ones((200, 1)))
    batch = [checked(gray, OBJECTS, name=f"VOC2007/{n}") for n in range(8)]
    for one, record in zip(batch, copies_of(batch), strict=True):
        pixels = pixels_of(record)
        assert np.abs(pixels - drawn_by_pillow(one, placed(one)[0])).mean() < 3
        top, left, height, width = record.shown
        inside = pixels[top : top + height, left : left + width][16:-16, 16:-16]
        assert np.ptp(inside, axis=-1).max(initial=0) <= 3


def test_around_the_picture_is_the_mean_color_within_the_jpegs_loss():
    batch = [checked(plain(300, 200, (250, 250, 5)), name=f"VOC2007/{n}") for n in range(16)]
    expanded = 0
    for record in copies_of(batch):
        top, left, height, width = record.shown
        outside = np.ones((300, 300), bool)
        # Blocks of 16 pixels, in which chroma is stored, mix both sides of the border.
        outside[max(top - 16, 0) : top + height + 16, max(left - 16, 0) : left + width + 16] = False
        expanded += outside.sum() > 1000
        assert np.abs(pixels_of(record)[outside] - MEAN).max(initial=0) <= 4
        inside = pixels_of(record)[top : top + height, left : left + width][16:-16, 16:-16]
        assert np.abs(inside - (250, 250, 5)).max(initial=0) <= 6
    assert expanded >= 4


def test_boxes_coincide_with_the_bright_area_that_they_name():
    pixels = np.zeros((200, 300, 3))
    pixels[40:150, 60:240] = 255
    data, box = jpeg_of(pixels), (40 / 200, 60 / 300, 150 / 200, 240 / 300)
    batch = [checked(data, [(box, 1, False, False)], name=f"VOC2007/{n}") for n in range(40)]
    compared = cut = 0
    for record in copies_of(batch):
        if not record.labels:
            continue
        bright = (pixels_of(record) > 128).all(axis=-1)  # the mean color is not
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        area = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        np.testing.assert_allclose(record.boxes[0] * 300, area, atol=2)
        compared, cut = compared + 1, cut + bool({0, 300} & set(area))
    assert compared > 30
    assert 5 < cut < compared
