"""Expansion and crop: by hand, and Caffe's loops on random batches."""

import math
import random
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from helpers import changed

from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION as LIGHT
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION as PAPER
from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.preprocessing.augmentation.windows import draw_windows, number_of_draws

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
WHOLE = [0.0, 0.0, 1.0, 1.0]


def slow_iou(one, other):
    """Caffe's JaccardOverlap."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    if height <= 0 or width <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return height * width / (sum(areas) - height * width)


def slow_window(objects, draws, augmentation):
    """ExpandImage, GenerateBatchSamples and the choice, one picture, in doubles.

    Returns the window and how close the nearest decision was, so that a test may leave out what rounding decides.
    """
    numbers = iter(float(number) for number in draws)
    chance, ratio, y, x = (next(numbers) for _ in range(4))
    canvas, margin = WHOLE, 1.0
    if augmentation.expand is not None:
        margin = min(margin, abs(chance - augmentation.expand_probability))
        if chance < augmentation.expand_probability:
            ratio = 1 + ratio * (augmentation.expand - 1)
            top, left = y * (ratio - 1), x * (ratio - 1)
            canvas = [-top, -left, ratio - top, ratio - left]
    if augmentation.crop is None:
        return canvas, margin
    choice = next(numbers)

    def sample_box():
        """SampleBBox, as a box of the picture."""
        scale, aspect, y, x = (next(numbers) for _ in range(4))
        scale = augmentation.crop_scale[0] + scale * (augmentation.crop_scale[1] - augmentation.crop_scale[0])
        aspect = augmentation.crop_aspect[0] + aspect * (augmentation.crop_aspect[1] - augmentation.crop_aspect[0])
        aspect = min(max(aspect, scale**2), 1 / scale**2)
        width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
        top, left = y * (1 - height), x * (1 - width)
        rows, columns = canvas[2] - canvas[0], canvas[3] - canvas[1]
        return [
            canvas[0] + top * rows,
            canvas[1] + left * columns,
            canvas[0] + (top + height) * rows,
            canvas[1] + (left + width) * columns,
        ]

    candidates = [canvas]
    for least in augmentation.crop:
        found = None
        for _ in range(augmentation.crop_tries):
            box = sample_box()  # also after a hit: every try has numbers of its own
            if found is None:
                overlaps = [slow_iou(box, one) for one in objects]
                margin = min([margin, *(abs(overlap - least) for overlap in overlaps)])
                if any(overlap >= least for overlap in overlaps):
                    found = box
        if found is not None:
            candidates.append(found)
    last = sample_box()
    if len(objects):
        candidates.append(last)  # Caffe asks for an IoU of 1 at most, with any object: there must be one
    assert next(numbers, None) is None
    chosen = choice * len(candidates)
    if len(candidates) > 1:
        margin = min(margin, abs(chosen - round(chosen)) if 0 < round(chosen) < len(candidates) else 1.0)
    return candidates[int(chosen)], margin


@lru_cache
def traced(augmentation):
    """One trace, whatever the batch: as in the reader."""
    signature = [
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, number_of_draws(augmentation)], tf.float32),
    ]
    return tf.function(lambda *inputs: draw_windows(*inputs, augmentation), input_signature=signature)


def windows_of(boxes, owners, draws, augmentation):
    """`draw_windows`, eagerly and traced: both must agree to rounding."""
    inputs = (
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(owners, np.int32),
        np.asarray(draws, np.float32),
    )
    windows = draw_windows(*inputs, augmentation)
    assert windows.dtype == tf.float32
    np.testing.assert_allclose(windows, traced(augmentation)(*map(tf.constant, inputs)), rtol=0, atol=1e-6)
    return windows.numpy()


# --- draw_windows by hand

# A sampler that wants an IoU of .5 and has two tries, crops of the picture of scale .25 to .75, always square.
SMALL = Augmentation(expand=None, crop=(0.5,), crop_tries=2, crop_scale=(0.25, 0.75), crop_aspect=(1.0, 1.0))
NOT_EXPANDED = [0.99, 0.0, 0.0, 0.0]
# Of a crop: scale, aspect, y, x. Scale .5 everywhere, so that a crop is .5 x .5 and moves by y / 2 and x / 2.
LEFT, RIGHT, LOW = [0.5, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5], [0.5, 0.0, 0.5, 0.25]
AT_LEFT, AT_RIGHT, AT_LOW = [0, 0, 0.5, 0.5], [0, 0.25, 0.5, 0.75], [0.25, 0.125, 0.75, 0.625]
OBJECT = [0.0, 0.0, 0.5, 0.5]  # IoU with AT_LEFT 1, with AT_RIGHT .125 / .375 = 1/3


@pytest.mark.parametrize(
    ("augmentation", "count"),
    [
        # Expansion 4, the choice 1, and 4 for each of 5 * 50 tries and the crop that asks for nothing.
        (PAPER, 4 + 1 + 4 * 251),
        (SMALL, 4 + 1 + 4 * 3),
        (Augmentation(crop=None), 4),
        (LIGHT, 4),
    ],
)
def test_number_of_draws(augmentation, count):
    assert number_of_draws(augmentation) == count


@pytest.mark.parametrize(
    ("draws", "window"),
    [
        # 1 + .5 * 3 = 2.5 times as wide and high; half of the 1.5 more lie above and a quarter to the left.
        ([0.25, 0.5, 0.5, 0.25], [-0.75, -0.375, 1.75, 2.125]),
        ([0.0, 0.5, 0.0, 0.0], [0, 0, 2.5, 2.5]),
        ([0.49, 0.0, 0.5, 0.5], WHOLE),
        ([0.5, 0.5, 0.5, 0.25], WHOLE),
        ([0.99, 0.5, 0.5, 0.25], WHOLE),
        ([0.25, BELOW_ONE, BELOW_ONE, 0.5], [-3, -1.5, 1, 2.5]),
    ],
)
def test_expansion(draws, window):
    augmentation = Augmentation(crop=None)
    np.testing.assert_allclose(windows_of([], [], [draws], augmentation), [window], rtol=0, atol=1e-6)


def test_expansion_follows_its_settings():
    draws = [[0.75, 0.5, 1 / 4, 3 / 4]]
    # 1 + .5 * (3 - 1) = 2: a quarter and three quarters of 1.
    window = windows_of([], [], draws, Augmentation(crop=None, expand=3.0, expand_probability=0.8))
    np.testing.assert_allclose(window, [[-0.25, -0.75, 1.75, 1.25]], rtol=0, atol=1e-6)
    for change in ({"expand": None}, {"expand": 1.0}, {"expand_probability": 0.0}, {"expand_probability": 0.75}):
        assert windows_of([], [], draws, Augmentation(crop=None, **change)).tolist() == [WHOLE]


CROPS = {
    # Three stand to choose from: the whole picture, the first hit, the crop that asks for nothing.
    "the whole picture": (0.0, [LEFT, RIGHT, LOW], WHOLE),
    "up to a third": (0.333, [LEFT, RIGHT, LOW], WHOLE),
    "the sampler's first hit": (0.334, [LEFT, RIGHT, LOW], AT_LEFT),
    "its second try after a miss": (0.5, [RIGHT, LEFT, LOW], AT_LEFT),
    "the first of two hits": (0.5, [LEFT, [*LEFT[:3], 0.125], LOW], AT_LEFT),
    "the crop that asks for nothing": (0.667, [LEFT, RIGHT, LOW], AT_LOW),
    "the last number below one": (BELOW_ONE, [LEFT, RIGHT, LOW], AT_LOW),
    # No try reaches .5: only two are left.
    "no hit, the whole picture": (0.499, [RIGHT, RIGHT, LOW], WHOLE),
    "no hit, the crop that asks for nothing": (0.5, [RIGHT, RIGHT, LOW], AT_LOW),
}


@pytest.mark.parametrize("name", CROPS)
def test_crops(name):
    choice, tries, window = CROPS[name]
    draws = [*NOT_EXPANDED, choice, *tries[0], *tries[1], *tries[2]]
    np.testing.assert_allclose(windows_of([OBJECT], [0], [draws], SMALL), [window], rtol=0, atol=1e-6)
    np.testing.assert_allclose(slow_window([OBJECT], draws, SMALL)[0], window, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("objects", "window"),
    [
        # The crop is the upper left quarter. Exactly an IoU of a half is enough, less is not.
        ([[0, 0, 0.25, 0.5]], AT_LEFT),
        ([[0, 0, 0.249, 0.5]], AT_LOW),
        # Any object will do, not all of them.
        ([[0.7, 0.7, 0.9, 0.9], OBJECT], AT_LEFT),
        # Two objects of .25 are not one of .5.
        ([[0, 0, 0.125, 0.5], [0.25, 0, 0.375, 0.5]], AT_LOW),
        # Coverage is not overlap.
        ([[0, 0, 0.1, 0.1]], AT_LOW),
        ([WHOLE], AT_LOW),
    ],
)
def test_what_is_a_hit(objects, window):
    # Where the first sampler finds nothing, .5 of 2 is the crop that asks for nothing; else .5 of 3 is the hit.
    draws = [*NOT_EXPANDED, 0.5, *LEFT, *LEFT, *LOW]
    windows = windows_of(objects, [0] * len(objects), [draws], SMALL)
    np.testing.assert_allclose(windows, [window], rtol=0, atol=1e-6)


@pytest.mark.parametrize("choice", [0.0, 0.5, BELOW_ONE])
def test_without_objects_nothing_is_cropped(choice):
    crops = [choice, *LEFT, *LEFT, *LOW]
    assert windows_of([], [], [[*NOT_EXPANDED, *crops]] * 2, SMALL).tolist() == [WHOLE] * 2
    expanded = Augmentation(crop=(0.5,), crop_tries=2)
    windows = windows_of([], [], [[0.25, 0.5, 0.5, 0.25, *crops]], expanded)
    np.testing.assert_allclose(windows, [[-0.75, -0.375, 1.75, 2.125]], rtol=0, atol=1e-6)
    # Nor where the others of the batch have some, even with an IoU of 0 asked for.
    zero = Augmentation(expand=None, crop=(0.0,), crop_tries=2)
    assert windows_of([OBJECT], [1], [[*NOT_EXPANDED, *crops]] * 3, zero)[[0, 2]].tolist() == [WHOLE] * 2


def test_every_picture_has_its_own_objects():
    draws = [*NOT_EXPANDED, 0.5, *LEFT, *LEFT, *LOW]
    # The first and the last have an object at the left; the others one elsewhere, and none.
    boxes, owners = [OBJECT, [0.5, 0.5, 1, 1], OBJECT], [0, 1, 3]
    windows = windows_of(boxes, owners, [draws] * 4, SMALL)
    np.testing.assert_allclose(windows, [AT_LEFT, AT_LOW, WHOLE, AT_LEFT], rtol=0, atol=1e-6)
    # The objects' order is of no matter.
    shuffled = windows_of(boxes[::-1], owners[::-1], [draws] * 4, SMALL)
    np.testing.assert_array_equal(shuffled, windows)


@pytest.mark.parametrize(
    ("scale", "aspect", "size"),
    [
        # Height and width: scale / sqrt(aspect), scale * sqrt(aspect).
        (0.5, 1.0, (0.5, 0.5)),
        (0.5, 2.25, (1 / 3, 0.75)),
        (0.5, 4.0, (0.25, 1.0)),
        (0.5, 0.25, (1.0, 0.25)),
        # 4 would make it 1.5 wide; the aspect becomes 1 / .75^2, the area stays .5625.
        (0.75, 4.0, (0.5625, 1.0)),
        (0.75, 0.25, (1.0, 0.5625)),
        (1.0, 4.0, (1.0, 1.0)),
    ],
)
def test_the_size_of_crops(scale, aspect, size):
    augmentation = Augmentation(
        expand=None, crop=(0.9,), crop_tries=1, crop_scale=(scale, scale), crop_aspect=(aspect, aspect)
    )
    # One object that no crop meets; the crop that asks for nothing lies at a quarter and at half of what is free.
    draws = [*NOT_EXPANDED, 0.99, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.5]
    top, left = (1 - size[0]) / 4, (1 - size[1]) / 2
    expected = [top, left, top + size[0], left + size[1]]
    window = windows_of([[0.0, 0.0, 0.01, 0.01]], [0], [draws], augmentation)
    np.testing.assert_allclose(window, [expected], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("least", "choice", "window"),
    [
        (0.279, 0.33, [-0.75, -0.375, 1.75, 2.125]),
        (0.279, 0.34, [-0.75, -0.375, 0.5, 0.875]),
        (0.279, 0.67, [0.5, 0.875, 1.75, 2.125]),
        (0.281, 0.49, [-0.75, -0.375, 1.75, 2.125]),
        (0.281, 0.51, [0.5, 0.875, 1.75, 2.125]),
    ],
)
def test_crops_are_of_the_expanded_canvas(least, choice, window):
    # The canvas reaches from -.75, -.375 to 1.75, 2.125; the sampler tries its upper left quarter, 1.25 x 1.25, and
    # the crop that asks for nothing is its lower right one. IoU with the object: .5 * .875 / 1.5625 = .28.
    augmentation = Augmentation(crop=(least,), crop_tries=1, crop_scale=(0.5, 0.5), crop_aspect=(1.0, 1.0))
    draws = [0.25, 0.5, 0.5, 0.25, choice, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, BELOW_ONE, BELOW_ONE]
    windows = windows_of([[0.0, 0.0, 0.5, 0.875]], [0], [draws], augmentation)
    np.testing.assert_allclose(windows, [window], rtol=0, atol=1e-5)


def test_each_of_several_samplers_asks_for_its_own():
    # Both try the same crop of IoU 1/3 with the object: .3 has it, .5 has not; .1 has it again.
    several = Augmentation(
        expand=None, crop=(0.3, 0.5, 0.1), crop_tries=1, crop_scale=(0.5, 0.5), crop_aspect=(1.0, 1.0)
    )
    first, third = [0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.25, 0.5]
    tries = [*first, *first, *third, *LOW]
    # The third: .375 * .25 of .5 - .09375: .2308.
    expected = [WHOLE, AT_RIGHT, [0.125, 0.25, 0.625, 0.75], AT_LOW]
    for choice, window in zip([0.2, 0.3, 0.6, 0.9], expected, strict=True):
        windows = windows_of([OBJECT], [0], [[*NOT_EXPANDED, choice, *tries]], several)
        np.testing.assert_allclose(windows, [window], rtol=0, atol=1e-6)


def test_no_sampler_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one, or None"):
        Augmentation(expand=None, crop=())


def test_an_empty_batch():
    assert windows_of([], [], np.zeros([0, number_of_draws(PAPER)]), PAPER).shape == (0, 4)


# --- draw_windows against Caffe's loops


def random_batch(chance, pictures):
    """Up to six objects a picture, none in every fifth; in fractions."""
    boxes, owners = [], []
    for owner in range(pictures):
        for _ in range(0 if owner % 5 == 3 else chance.randint(1, 6)):
            height, width = (min(1.0, 0.02 * math.exp(chance.uniform(0, 4))) for _ in range(2))
            top, left = chance.uniform(0, 1 - height), chance.uniform(0, 1 - width)
            box = [top, left, top + height, left + width]
            boxes.append(box)
            owners.append(owner)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(owners, np.int32)


VARIANTS = {
    "paper": PAPER,
    "no expansion": changed(PAPER, ["expand=off"]),
    "always expanded": changed(PAPER, ["expand-probability=1", "expand=2"]),
    "one try": changed(PAPER, ["crop-tries=1"]),
    "one sampler, wide crops": changed(PAPER, ["crop=.4", "crop-tries=7", "crop-aspect=1,6", "crop-scale=.1,1"]),
    "no crop": changed(PAPER, ["crop=off"]),
    "an IoU of 0": changed(PAPER, ["crop=0,1", "crop-tries=3"]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_windows_equal_caffes_loops(name):
    augmentation = VARIANTS[name]
    boxes, owners = random_batch(random.Random(name), 60)
    draws = np.random.default_rng(5).random([60, number_of_draws(augmentation)], np.float32)
    windows = windows_of(boxes, owners, draws, augmentation)
    left_out, cropped = 0, 0
    for i, window in enumerate(windows):
        objects = boxes[owners == i].astype(float).tolist()
        expected, margin = slow_window(objects, draws[i], augmentation)
        if margin < 1e-6 and name != "an IoU of 0":
            left_out += 1  # the two roundings may decide differently
            continue
        np.testing.assert_allclose(window, expected, rtol=0, atol=1e-5, err_msg=f"picture {i}, margin {margin}")
        cropped += window.tolist() != WHOLE
    assert left_out <= 2
    assert cropped > 15


def test_the_batch_decides_nothing_to_the_last_bit():
    boxes, owners = random_batch(random.Random(3), 23)
    draws = np.random.default_rng(4).random([23, number_of_draws(PAPER)], np.float32)
    together = windows_of(boxes, owners, draws, PAPER)
    for i in range(23):
        own = boxes[owners == i]
        alone = windows_of(own, np.zeros(len(own)), draws[i : i + 1], PAPER)
        np.testing.assert_array_equal(alone[0], together[i])
        traced_alone = traced(PAPER)(own, np.zeros(len(own), np.int32), draws[i : i + 1])
        np.testing.assert_array_equal(traced_alone[0], traced(PAPER)(boxes, owners, draws)[i])
