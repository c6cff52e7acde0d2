"""Expansion, crop, fitting to pixels and what is seen of the objects: by hand, and Caffe's loops on random batches."""

import math
import random
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ssd300.preprocessing.augmentation import LIGHT, PAPER, Augmentation
from ssd300.preprocessing.windows import draw_windows, look_through, number_of_draws, place

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


def slow_look_through(window, boxes):
    """MeetEmitConstraint CENTER and ProjectBBox; numbers and boxes of what is seen, and how close it was."""
    seen, margin = [], 1.0
    height, width = window[2] - window[0], window[3] - window[1]
    for i, (ymin, xmin, ymax, xmax) in enumerate(boxes):
        y, x = (ymin + ymax) / 2, (xmin + xmax) / 2
        distances = y - window[0], window[2] - y, x - window[1], window[3] - x
        margin = min([margin, *(abs(distance) for distance in distances)])
        if min(distances) < 0:
            continue
        box = [(ymin - window[0]) / height, (xmin - window[1]) / width]
        box += [(ymax - window[0]) / height, (xmax - window[1]) / width]
        box = [min(max(number, 0.0), 1.0) for number in box]
        if box[2] > box[0] and box[3] > box[1]:
            seen.append((i, box))
    return seen, margin


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


def random_batch(chance, pictures, *, step=None):
    """Up to six objects a picture, none in every fifth; in fractions, on a grid of `step` where given."""
    boxes, owners = [], []
    for owner in range(pictures):
        for _ in range(0 if owner % 5 == 3 else chance.randint(1, 6)):
            height, width = (min(1.0, 0.02 * math.exp(chance.uniform(0, 4))) for _ in range(2))
            top, left = chance.uniform(0, 1 - height), chance.uniform(0, 1 - width)
            box = [top, left, top + height, left + width]
            if step is not None:
                box = [round(number / step) * step for number in box]
            boxes.append(box)
            owners.append(owner)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(owners, np.int32)


VARIANTS = {
    "paper": PAPER,
    "no expansion": PAPER.changed(["expand=off"]),
    "always expanded": PAPER.changed(["expand-probability=1", "expand=2"]),
    "one try": PAPER.changed(["crop-tries=1"]),
    "one sampler, wide crops": PAPER.changed(["crop=.4", "crop-tries=7", "crop-aspect=1,6", "crop-scale=.1,1"]),
    "no crop": PAPER.changed(["crop=off"]),
    "an IoU of 0": PAPER.changed(["crop=0,1", "crop-tries=3"]),
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


# --- look_through


def seen(windows, boxes, owners):
    visible = look_through(
        np.asarray(windows, np.float32), np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(owners, np.int32)
    )
    assert (visible.numbers.dtype, visible.boxes.dtype) == (tf.int32, tf.float32)
    return visible.numbers.numpy(), visible.boxes.numpy()


@pytest.mark.parametrize(
    ("window", "box", "expected"),
    [
        # The window is half as high and a quarter as wide as the picture.
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.5625, 0.625, 0.625], [0.25, 0.25, 0.75, 0.5]),
        # Cut at all four borders.
        ([0.25, 0.5, 0.75, 0.75], [0.0, 0.25, 1.0, 1.0], [0, 0, 1, 1]),
        ([0.25, 0.5, 0.75, 0.75], [0.0, 0.5625, 0.625, 0.625], [0, 0.25, 0.75, 0.5]),
        # Centres on the borders: y = .25, y = .75, x = .5, x = .75.
        ([0.25, 0.5, 0.75, 0.75], [0.125, 0.5625, 0.375, 0.625], [0, 0.25, 0.25, 0.5]),
        ([0.25, 0.5, 0.75, 0.75], [0.625, 0.5625, 0.875, 0.625], [0.75, 0.25, 1, 0.5]),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.4375, 0.625, 0.5625], [0.25, 0, 0.75, 0.25]),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.6875, 0.625, 0.8125], [0.25, 0.75, 0.75, 1]),
        # Just beyond them.
        ([0.25, 0.5, 0.75, 0.75], [0.124, 0.5625, 0.375, 0.625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.625, 0.5625, 0.876, 0.625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.437, 0.625, 0.5625], None),
        ([0.25, 0.5, 0.75, 0.75], [0.375, 0.688, 0.625, 0.8125], None),
        # No area: neither before nor after.
        ([0.25, 0.5, 0.75, 0.75], [0.5, 0.5625, 0.5, 0.625], None),
        # A window over the picture's border, as after an expansion to twice the size.
        ([-0.5, -0.25, 1.5, 1.75], [0.0, 0.0, 1.0, 0.5], [0.25, 0.125, 0.75, 0.375]),
    ],
)
def test_look_through(window, box, expected):
    numbers, boxes = seen([window], [box], [0])
    assert numbers.tolist() == ([] if expected is None else [0])
    np.testing.assert_allclose(boxes, np.reshape(expected or [], (-1, 4)), rtol=0, atol=1e-6)


def test_objects_are_numbered_over_the_batch():
    quarter, inside, outside = [0, 0, 0.5, 0.5], [0, 0, 0.25, 0.25], [0.75, 0.75, 1, 1]
    numbers, boxes = seen([quarter, WHOLE, quarter], [outside, inside, inside, outside, outside], [0, 0, 1, 1, 2])
    assert numbers.tolist() == [1, 2, 3]
    assert boxes.tolist() == [[0, 0, 0.5, 0.5], inside, outside]


def test_no_object_is_seen_where_there_is_none():
    numbers, boxes = seen([WHOLE, [2, 2, 3, 3]], [], [])
    assert (numbers.shape, boxes.shape) == ((0,), (0, 4))
    numbers, boxes = seen([[2, 2, 3, 3]], [[0, 0, 1, 1]], [0])
    assert (numbers.shape, boxes.shape) == ((0,), (0, 4))


def test_look_through_equals_caffes_loops():
    boxes, owners = random_batch(random.Random(1), 200, step=0.002)
    draws = np.random.default_rng(2).random([200, number_of_draws(PAPER)], np.float32)
    windows = draw_windows(boxes, owners, draws, PAPER).numpy()
    windows[:3] = WHOLE
    numbers, found = seen(windows, boxes, owners)
    assert (np.diff(numbers) > 0).all()
    left_out = kept = 0
    for i, window in enumerate(windows.astype(float).tolist()):
        own = np.flatnonzero(owners == i)
        expected, margin = slow_look_through(window, boxes[own].astype(float).tolist())
        if margin < 1e-6:
            left_out += 1
            continue
        got = np.isin(numbers, own)
        assert numbers[got].tolist() == [own[j] for j, _ in expected]
        np.testing.assert_allclose(found[got], np.array([box for _, box in expected]).reshape(-1, 4), rtol=0, atol=1e-5)
        kept += len(expected)
    assert left_out <= 2
    assert 0 < kept < len(boxes)


# Corners in pixels of a picture of 200 x 300, as they come from annotations.
pixel_boxes = st.tuples(st.integers(0, 199), st.integers(0, 299), st.integers(1, 200), st.integers(1, 300)).map(
    lambda c: [min(c[0], c[2] - 1) / 200, min(c[1], c[3] - 1) / 300, c[2] / 200, c[3] / 300]
)
sides = st.tuples(st.floats(-3, 1, width=32), st.floats(0.0625, 4, width=32))  # low, size
any_windows = st.tuples(sides, sides).map(
    lambda s: np.array([s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]], np.float32)
)
look = tf.function(
    look_through,
    input_signature=[
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
    ],
)


@settings(max_examples=200, deadline=None)
@given(any_windows, st.lists(pixel_boxes, max_size=6))
def test_what_is_seen_is_inside(window, boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    numbers, found = (array.numpy() for array in look(window[None], boxes, np.zeros(len(boxes), np.int32)))
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert ((centres[numbers] >= window[:2]) & (centres[numbers] <= window[2:])).all()
    # What is clearly in it and clearly has an area there is kept.
    rest = np.setdiff1d(np.arange(len(boxes)), numbers)
    assert not ((centres[rest] >= window[:2]) & (centres[rest] <= window[2:])).all(axis=1).any()


@settings(max_examples=100, deadline=None)
@given(st.lists(pixel_boxes, max_size=6))
def test_through_the_whole_picture_boxes_stay_bit_for_bit(boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    owners = np.sort(np.arange(len(boxes), dtype=np.int32) % 2)
    numbers, found = look(np.array([WHOLE, WHOLE], np.float32), boxes, owners)
    assert numbers.numpy().tolist() == list(range(len(boxes)))
    np.testing.assert_array_equal(found, boxes)


# --- place


def placed(windows, sizes):
    placement = place(np.asarray(windows, np.float32), np.asarray(sizes, np.int32))
    assert (placement.source.dtype, placement.target.dtype) == (tf.int32, tf.int32)
    assert placement.windows.dtype == tf.float32
    return [array.numpy() for array in placement]


# Windows of a picture of 300 x 200: height 200, width 300. Window, source, target and window as it comes back.
PLACED = {
    "the whole picture": (WHOLE, (0, 0, 200, 300), (0, 0, 300, 300), WHOLE),
    # Rows 20 to 180, columns 60 to 240.
    "on pixels": ([0.1, 0.2, 0.9, 0.8], (20, 60, 160, 180), (0, 0, 300, 300), [0.1, 0.2, 0.9, 0.8]),
    # Rows 20.4 to 179.6 and columns 60.3 to 239.7.
    "near pixels": ([0.102, 0.201, 0.898, 0.799], (20, 60, 160, 180), (0, 0, 300, 300), [0.1, 0.2, 0.9, 0.8]),
    # Rows 20.6 to 179.4: 21 to 179.
    "the other way": ([0.103, 0.2, 0.897, 0.8], (21, 60, 158, 180), (0, 0, 300, 300), [0.105, 0.2, 0.895, 0.8]),
    # Twice the size. Rows: the picture lies from 75 to 225 of 300. Columns: from 37.4 to 187.4, so 37 to 187; an input
    # pixel is two of the picture's, so the window reaches 74 to the left and 300 + 2 * 113 to the right.
    "expanded": (
        [-0.5, -0.249, 1.5, 1.751],
        (0, 0, 200, 300),
        (75, 37, 150, 150),
        [-0.5, -74 / 300, 1.5, 526 / 300],
    ),
    # Rows -100 to 100: the upper half is empty. Columns 150 to 450: the right half is.
    "beyond two borders": ([-0.5, 0.5, 0.5, 1.5], (0, 150, 100, 150), (150, 0, 150, 150), [-0.5, 0.5, 0.5, 1.5]),
    # Rows 10.4 to 110.4 and columns -99.5 to 200.5: 10 to 110, and 0 to 200 for 99.5 to 300, which are 100 to 300:
    # one pixel each, so the window is from -100 to 200.
    "beyond one border": (
        [0.052, -99.5001 / 300, 0.552, 200.4999 / 300],
        (10, 0, 100, 200),
        (0, 100, 300, 200),
        [0.05, -1 / 3, 0.55, 2 / 3],
    ),
    # Of the input 15 columns show the picture, columns 285 to 300 of the window: it stays as drawn.
    "a sliver": ([0.1021, -0.95, 0.9, 0.05], (20, 0, 160, 15), (0, 285, 300, 15), [0.1021, -0.95, 0.9, 0.05]),
    # 16 columns are enough: rows 20.42 become 20.
    "no sliver": (
        [0.1021, -284 / 300, 0.9, 16 / 300],
        (20, 0, 160, 16),
        (0, 284, 300, 16),
        [0.1, -284 / 300, 0.9, 16 / 300],
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_place(name):
    window, source, target, fitted = PLACED[name]
    windows, sources, targets = placed([window], [[200, 300]])
    assert sources.tolist() == [list(source)]
    assert targets.tolist() == [list(target)]
    np.testing.assert_allclose(windows, [fitted], rtol=0, atol=2e-6)


@settings(max_examples=100, deadline=None)
@example(1, 1)
@example(1, 5000)
@example(5000, 1)
@example(65535, 65535)
@given(st.integers(1, 20000), st.integers(1, 20000))
def test_the_whole_picture_stays_the_whole_picture(height, width):
    windows, source, target = placed([WHOLE, [-0.0, -0.0, 1.0, 1.0]], [[height, width]] * 2)
    assert windows.tolist() == [WHOLE] * 2
    assert source.tolist() == [[0, 0, height, width]] * 2
    assert target.tolist() == [[0, 0, 300, 300]] * 2


BESIDE = [
    [1.0, 0.2, 1.5, 0.7],  # touches the picture's lower border
    [-0.5, 0.2, 0.0, 0.7],
    [0.2, 1.0, 0.7, 1.5],
    [0.2, -0.5, 0.7, 0.0],
    [1.1, 1.1, 2.0, 2.0],
    [-3.0, -3.0, -2.0, -2.0],
    [-0.5, 1.2, 1.5, 3.2],
]


@pytest.mark.parametrize("size", [(200, 300), (1, 1), (1, 5000)])
def test_windows_beside_the_picture_show_nothing_of_it(size):
    windows, source, target = placed(BESIDE, [size] * len(BESIDE))
    np.testing.assert_array_equal(windows, np.array(BESIDE, np.float32))
    assert (target[:, 2:] == 0).all()
    check_inside(source, target, np.array([size] * len(BESIDE)))


def check_inside(source, target, sizes):
    """The source is of the picture, the target of the input, as far as they can be read and written."""
    assert (source[:, :2] >= 0).all()
    assert (source[:, 2:] >= 1).all()
    assert (source[:, :2] + source[:, 2:] <= sizes).all()
    assert (target >= 0).all()
    assert (target[:, :2] + target[:, 2:] <= 300).all()


def test_pictures_of_a_batch_are_placed_by_themselves():
    windows = [window for window, *_ in PLACED.values()]
    together = placed(windows, [[200, 300]] * len(windows))
    for i, window in enumerate(windows):
        for one, of_all in zip(placed([window], [[200, 300]]), together, strict=True):
            np.testing.assert_array_equal(one[0], of_all[i])


# A canvas of up to four times the picture and a crop of it, as the paper draws them.
axes = st.tuples(*[st.floats(0, 1, width=32)] * 4)


def drawn_window(y, x):
    def span(ratio, offset, scale, shift):
        ratio, scale = 1 + 3 * ratio, 0.2 + 0.8 * scale
        low = -offset * (ratio - 1) + shift * (1 - scale) * ratio
        return low, low + scale * ratio

    (ymin, ymax), (xmin, xmax) = span(*y), span(*x)
    return np.array([ymin, xmin, ymax, xmax], np.float32)


drawn_windows = st.builds(drawn_window, axes, axes)
picture_sides = st.sampled_from([1, 2, 3, 5000]) | st.integers(1, 2000)
fit = tf.function(place, input_signature=[tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None, 2], tf.int32)])


@settings(max_examples=400, deadline=None)
@given(drawn_windows, picture_sides, picture_sides)
@example(drawn_window((0, 0, 0.37, 0.37), (0, 0, 0.81, 0.2)), 1, 1)
@example(drawn_window((1, 0.9, 0, 0.7), (0, 0, 0.5, 0.5)), 1, 5000)
def test_placements_fit(window, height, width):
    size = np.array([height, width])
    windows, source, target = (array.numpy() for array in fit(window[None], size[None].astype(np.int32)))
    check_inside(source, target, size[None])
    window, fitted = window.astype(float), windows[0].astype(float)
    visible = (window[:2] < 1) & (window[2:] > 0)
    assert (target[0, 2:] > 0).all() == visible.all()
    if not visible.all():
        assert (target[0, 2:] == 0).all()
        np.testing.assert_array_equal(fitted, window)
        return
    low, high = window[:2] * size, window[2:] * size
    first, last = source[0, :2], source[0, :2] + source[0, 2:]
    begin, end = target[0, :2], target[0, :2] + target[0, 2:]
    per_pixel = 300 / (high - low)  # pixels of the input for one of the picture
    for axis in range(2):
        # Less than a pixel of the picture or of the input becomes one, then edges move further.
        shown = min(high[axis], size[axis]) - max(low[axis], 0)
        slack = 0.5 + 1e-5 * size[axis] + 1e-3
        if shown >= 1:
            assert abs(first[axis] - max(low[axis], 0)) <= slack
            assert abs(last[axis] - min(high[axis], size[axis])) <= slack
        if shown * per_pixel[axis] >= 1:
            assert abs(begin[axis] - max(-low[axis], 0) * per_pixel[axis]) <= 0.501
            assert abs(end[axis] - min((size[axis] - low[axis]) * per_pixel[axis], 300)) <= 0.501
        # Where a border of the window is in the picture, it is the input's border, and the other way round.
        assert (begin[axis] == 0) or (low[axis] < 0 and first[axis] == 0)
        assert (end[axis] == 300) or (high[axis] > size[axis] and last[axis] == size[axis])
    if target[0, 2:].min() < 16:
        np.testing.assert_array_equal(fitted, window)
        return
    # Boxes meet the pixels: the source's edges, seen through the window that comes back, are the target's.
    edges = (np.stack([first, last]) / size - fitted[:2]) / (fitted[2:] - fitted[:2]) * 300
    np.testing.assert_allclose(edges, np.stack([begin, end]), rtol=0, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(drawn_windows, st.integers(100, 2000), st.integers(100, 2000))
def test_a_fitted_window_stays_where_it_is(window, height, width):
    sizes = np.array([[height, width]], np.int32)
    windows, source, target = (array.numpy() for array in fit(window[None], sizes))
    assume(target[0, 2:].min() >= 16)
    again = [array.numpy() for array in fit(windows, sizes)]
    np.testing.assert_allclose(again[0], windows, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(again[1], source)
    np.testing.assert_array_equal(again[2], target)
