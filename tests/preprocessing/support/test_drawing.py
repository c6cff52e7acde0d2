import numpy as np
import pytest
from PIL import Image

from ssd300.preprocessing.support.drawing import class_color, contact_sheet, draw_boxes


def test_a_box_is_drawn_where_it_is_and_the_picture_stays_as_it_was():
    image = Image.new("RGB", (300, 200), "black")
    drawn = np.asarray(draw_boxes(image, np.array([[0.5, 0.1, 0.9, 0.4]]), captions=[""], colors=[(255, 0, 0)]))
    red = (drawn == (255, 0, 0)).all(axis=-1)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    # y .5 to .9 of 200, x .1 to .4 of 300.
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (100, 180, 30, 120)
    assert not red[110:170, 40:110].any()
    assert np.asarray(image).max() == 0


def test_captions_stay_inside_the_picture():
    image = Image.new("RGB", (120, 80))
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 1.0, 1.0]])
    drawn = draw_boxes(image, boxes, captions=["a long caption", "b"], colors=[(255, 255, 0), (0, 255, 255)])
    assert drawn.size == (120, 80)
    yellow = (np.asarray(drawn) == (255, 255, 0)).all(axis=-1)
    assert yellow[:20, :60].sum() > 300  # the caption's ground, inside at the top


def test_no_boxes_and_one_pixel():
    assert draw_boxes(Image.new("L", (1, 1)), np.zeros((0, 4)), captions=[], colors=[]).size == (1, 1)
    draw_boxes(Image.new("RGB", (1, 1)), np.array([[0, 0, 1, 1]]), captions=["x"], colors=[(1, 2, 3)])


def test_classes_have_colors_of_their_own_that_are_not_ground_truth_s_green():
    colors = [class_color(label) for label in range(1, 21)]
    assert len(set(colors)) == 20
    assert not any(green > 1.5 * max(red, blue) for red, green, blue in colors)


def test_contact_sheet_keeps_proportions_and_order():
    red, blue = Image.new("RGB", (300, 200), (255, 0, 0)), Image.new("RGB", (100, 200), (0, 0, 255))
    sheet = np.asarray(contact_sheet([[red, blue], [blue]], cell=(60, 60)))
    is_red, is_blue = (sheet == (255, 0, 0)).all(axis=-1), (sheet == (0, 0, 255)).all(axis=-1)
    assert np.ptp(np.flatnonzero(is_red.any(axis=0))) + 1 == 60
    assert np.ptp(np.flatnonzero(is_red.any(axis=1))) + 1 == 40
    assert is_blue.sum() == 2 * 30 * 60
    assert np.flatnonzero(is_red.any(axis=0))[0] < np.flatnonzero(is_blue[:60].any(axis=0))[0]


def test_an_empty_contact_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([])
