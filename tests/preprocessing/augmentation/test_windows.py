"""Expansion and crop by hand."""

import numpy as np
import pytest
from drawing_windows import WHOLE, slow_window, windows_of

from ssd300.preprocessing.augmentation.settings import (
    LIGHT_AUGMENTATION as LIGHT,
    PAPER_AUGMENTATION as PAPER,
    Augmentation,
)
from ssd300.preprocessing.augmentation.windows import number_of_draws

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


# A sampler that wants an IoU of .5 and has two tries, crops of the image of scale .25 to .75, always square.
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
    # There are three to choose from: the whole image, the first hit, the crop that asks for nothing.
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
