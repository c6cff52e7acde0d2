"""Boxes of images that lie on their side, annotated as they lie or as a viewer shows them."""

import io

import numpy as np
import pytest
from PIL import Image

from ssd300.datasets.annotation import Annotation, VocObject
from ssd300.datasets.classes import ClassList
from ssd300.preprocessing.checking.ground_truth import ground_truth, turn_upright
from ssd300.preprocessing.checking.picture import Picture, check_picture


def lying_picture(orientation):
    """A 120x80 file with a white patch at x 10 to 50, y 20 to 30."""
    pixels = np.zeros((80, 120, 3), np.uint8)
    pixels[20:30, 10:50] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, exif=exif)
    return check_picture(buffer.getvalue(), "lying.jpg")


def white_patch(picture):
    """The patch in the upright image, ymin, xmin, ymax, xmax in fractions."""
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        white = np.asarray(image.convert("L")) > 127
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    height, width = white.shape
    return rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width


def truth_of(picture, size, corners):
    annotation = Annotation(size, (VocObject("a", *corners),))
    return ground_truth(annotation, picture, classes=ClassList(("a",)), convention="caffe", path="a.xml")


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_box_annotated_as_the_file_lies_is_turned_with_the_picture(orientation):
    picture = lying_picture(orientation)
    assert (picture.width, picture.height) == (80, 120)
    truth = truth_of(picture, (120, 80), (10, 20, 50, 30))
    np.testing.assert_allclose(truth.boxes[0], white_patch(picture), atol=1e-6)
    assert truth.repairs == ()


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_on_a_square_or_upright_image_nothing_tells_and_boxes_are_taken_as_drawn_upright(orientation):
    square = Picture(b"", 100, 100, (100, 100), ("exif_rotated",), orientation)
    truth = truth_of(square, (100, 100), (10, 20, 50, 30))
    np.testing.assert_allclose(truth.boxes, [[0.2, 0.1, 0.3, 0.5]], rtol=1e-6)
    assert truth.repairs == ("exif_unclear",)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_box_annotated_upright_stays(orientation):
    picture = lying_picture(orientation)
    ymin, xmin, ymax, xmax = white_patch(picture)
    truth = truth_of(picture, (80, 120), (xmin * 80, ymin * 120, xmax * 80, ymax * 120))
    np.testing.assert_allclose(truth.boxes[0], (ymin, xmin, ymax, xmax), atol=1e-6)


def test_orientations_that_keep_the_sides_are_refused_by_name():
    with pytest.raises(ValueError, match="got 3"):
        turn_upright((0, 0, 1, 1), 3)
