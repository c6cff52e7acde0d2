"""Ground truth from annotations: what is repaired, what is rejected, and that nothing else comes out."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ssd300.datasets.annotation import Annotation, VocObject, parse_annotation
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import FAULTS, RejectedError
from ssd300.preprocessing.checking.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.checking.picture import Picture

CLASSES = ClassList(("ant", "Traffic Light", "cat"))
PICTURE = Picture(b"", 300, 200, (300, 200), ())


def truth_of(
    *objects: VocObject, size=(300, 200), picture=PICTURE, convention="caffe", in_fractions=False, **options
) -> GroundTruth:
    annotation = Annotation(size, objects, in_fractions=in_fractions)
    return ground_truth(annotation, picture, classes=CLASSES, convention=convention, path="a.xml", **options)


def fault_of(*objects: VocObject, **options) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        truth_of(*objects, **options)
    assert caught.value.path == "a.xml"
    return caught.value


def test_objects_keep_their_order_labels_and_flags():
    truth = truth_of(
        VocObject("cat", 30, 20, 150, 100, difficult=True),
        VocObject("ant", 60, 50, 240, 150, truncated=True),
    )
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5], [0.25, 0.2, 0.75, 0.8]], rtol=1e-6)
    assert truth.boxes.dtype == np.float32
    assert truth.labels.tolist() == [3, 1]
    assert truth.labels.dtype == np.int32
    assert (truth.difficult.tolist(), truth.truncated.tolist()) == ([True, False], [False, True])
    assert truth.repairs == ()


def test_the_convention_is_obeyed():
    truth = truth_of(VocObject("cat", 31, 21, 150, 100), convention="inclusive")
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)


def test_no_objects_have_empty_arrays_of_the_right_shape():
    truth = truth_of()
    assert truth.boxes.shape == (0, 4)
    assert truth.labels.shape == truth.difficult.shape == truth.truncated.shape == (0,)
    assert truth.repairs == ("no_objects",)


def test_a_picture_without_an_object_is_rejected_if_it_is_not_wanted():
    assert fault_of(drop_empty=True).fault == "dropped_empty"
    assert len(truth_of(VocObject("cat", 30, 20, 150, 100), drop_empty=True).boxes) == 1


def test_small_objects_are_left_out_and_counted():
    """A side counts in pixels of the image: 9.5 of 300 and 9.5 of 200 are less than 10, 11 are not."""
    narrow, low = VocObject("cat", 30, 20, 39.5, 100), VocObject("cat", 30, 20, 150, 29.5)
    large = VocObject("ant", 30, 20, 41, 31)
    truth = truth_of(narrow, large, low, min_size=10)
    assert truth.labels.tolist() == [1]
    assert truth.repairs == ("small_object", "small_object")
    assert truth_of(narrow, large, low).repairs == ()


def test_what_is_left_of_a_cut_object_decides_whether_it_is_small():
    assert truth_of(VocObject("cat", -20, 20, 9, 100), min_size=10).repairs == (
        "clipped_box", "small_object", "no_objects",
    )  # fmt: skip


def test_an_object_of_exactly_the_least_size_stays():
    for x in range(1, 190):
        assert truth_of(VocObject("cat", x, x, x + 10, x + 10), min_size=10).repairs == (), x


def test_a_picture_whose_objects_are_all_small_has_none():
    small = VocObject("cat", 30, 20, 35, 100)
    assert truth_of(small, min_size=10).repairs == ("small_object", "no_objects")
    assert fault_of(small, min_size=10, drop_empty=True).fault == "dropped_empty"


@pytest.mark.parametrize("convention", ["caffe", "inclusive"])
@pytest.mark.parametrize("picture", [PICTURE, Picture(b"", 300, 200, (200, 300), ("exif_rotated",), 6)])
def test_fractions_are_taken_as_they_are(picture, convention):
    objects = VocObject("cat", 0.1, 0.2, 0.5, 0.6), VocObject("ant", -0.05, 0, 1, 1)
    truth = truth_of(*objects, size=None, picture=picture, convention=convention, in_fractions=True, min_size=79)
    np.testing.assert_allclose(truth.boxes, [[0.2, 0.1, 0.6, 0.5], [0, 0, 1, 1]], rtol=1e-6)
    assert truth.repairs == ("clipped_box",)
    assert truth_of(*objects, in_fractions=True, min_size=81).labels.tolist() == [1]  # 0.4 of 200 pixels are 80


@pytest.mark.parametrize(
    ("corners", "box", "fault"),
    [
        ((-29, 20, 150, 100), [0.1, 0, 0.5, 0.5], "clipped_box"),
        ((-30, 20, 150, 100), [0.1, 0, 0.5, 0.5], "clipped_box"),
        ((-31, 20, 150, 100), [0.1, 0, 0.5, 0.5], "overreaching_box"),
        ((30, -1, 150, 100), [0, 0.1, 0.5, 0.5], "clipped_box"),
        ((30, -19, 150, 100), [0, 0.1, 0.5, 0.5], "clipped_box"),
        ((30, -21, 150, 100), [0, 0.1, 0.5, 0.5], "overreaching_box"),
        ((30, 20, 301, 100), [0.1, 0.1, 0.5, 1], "clipped_box"),
        ((30, 20, 329, 100), [0.1, 0.1, 0.5, 1], "clipped_box"),
        ((30, 20, 331, 100), [0.1, 0.1, 0.5, 1], "overreaching_box"),
        ((30, 20, 150, 219), [0.1, 0.1, 1, 0.5], "clipped_box"),
        ((30, 20, 150, 220), [0.1, 0.1, 1, 0.5], "clipped_box"),
        ((30, 20, 150, 221), [0.1, 0.1, 1, 0.5], "overreaching_box"),
        ((30, 20, 150, 999), [0.1, 0.1, 1, 0.5], "overreaching_box"),
        ((-5, -5, 305, 205), [0, 0, 1, 1], "clipped_box"),
        ((-5, -5, 305, 225), [0, 0, 1, 1], "overreaching_box"),
    ],
)
def test_a_box_over_the_border_is_clipped_and_counted(corners, box, fault):
    truth = truth_of(VocObject("cat", *corners))
    np.testing.assert_allclose(truth.boxes, [box], rtol=1e-6)
    assert truth.repairs == (fault,)


@pytest.mark.parametrize("convention", ["caffe", "inclusive"])
def test_the_whole_picture_is_not_clipped(convention):
    assert truth_of(VocObject("cat", 1, 1, 300, 200), convention=convention).repairs == ()


def test_a_zero_based_minimum_is_clipped_under_the_inclusive_convention_alone():
    corner = VocObject("cat", 0, 0, 150, 100)
    assert truth_of(corner, convention="inclusive").repairs == ("clipped_box",)
    assert truth_of(corner, convention="caffe").repairs == ()


@pytest.mark.parametrize("corners", [(150, 20, 30, 100), (30, 100, 150, 20), (150, 100, 30, 20)])
def test_swapped_corners_are_swapped_back(corners):
    truth = truth_of(VocObject("cat", *corners))
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    assert truth.repairs == ("swapped_corners",)


@pytest.mark.parametrize("corners", [(30, 20, 30, 100), (30, 20, 150, 20), (30, 20, 30, 20), (30, 20, 30 + 1e-7, 100)])
def test_a_box_without_area_is_left_out_or_rejected(corners):
    truth = truth_of(VocObject("cat", *corners), VocObject("ant", 1, 1, 9, 9))
    assert (truth.labels.tolist(), truth.repairs) == ([1], ("stray_click",))
    assert fault_of(VocObject("cat", *corners), VocObject("ant", 1, 1, 9, 9), strict=True).fault == "no_area"


def test_boxes_that_are_fractions_are_rejected_and_single_pixels_are_not():
    fractions = VocObject("cat", 0.1, 0.2, 0.5, 1), VocObject("ant", 0, 0, 1, 1)
    assert fault_of(*fractions).fault == "in_fractions"
    assert "xmax=0.5" in fault_of(*fractions).message
    assert truth_of(*fractions, VocObject("ant", 1, 1, 9, 9)).repairs == ()
    assert truth_of(VocObject("cat", 1, 1, 1, 1), convention="inclusive").repairs == ()


@pytest.mark.parametrize(
    ("size", "box", "repairs"),
    [
        ((600, 400), (60, 40, 300, 200), ("resized_picture",)),
        ((150, 100), (15, 10, 75, 50), ("resized_picture",)),
        ((100, 67), (10, 6.7, 50, 33.5), ("resized_picture",)),  # 66.7 rounded
        ((600, 400), (60, 40, 700, 200), ("wrong_size", "overreaching_box")),  # a box that does not fit
        ((150, 100), (30, 20, 160, 100), ("wrong_size",)),
        ((600, 450), (30, 20, 150, 100), ("wrong_size",)),
        ((301, 201), (30, 20, 150, 100), ("wrong_size",)),
    ],
)
def test_an_image_resized_after_its_annotation_has_its_boxes_scaled(size, box, repairs):
    truth = truth_of(VocObject("cat", *box), size=size)
    assert truth.repairs == repairs
    if repairs == ("resized_picture",):
        np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)


def test_one_pixel_has_an_area_under_the_inclusive_convention():
    truth = truth_of(VocObject("cat", 30, 20, 30, 20), convention="inclusive")
    np.testing.assert_allclose(truth.boxes, [[19 / 200, 29 / 300, 20 / 200, 30 / 300]], rtol=1e-6)


@pytest.mark.parametrize("corners", [(301, 20, 400, 100), (30, 201, 150, 300), (-50, 20, -1, 100), (-9, 20, 0, 100)])
def test_a_box_outside_is_rejected_with_its_numbers_and_the_pictures_size(corners):
    error = fault_of(VocObject("cat", *corners))
    assert error.fault == "outside_picture"
    assert "300x200" in error.message
    assert f"xmin={corners[0]}" in error.message


def test_an_unknown_class_is_rejected_with_the_known_ones():
    error = fault_of(VocObject("ant", 1, 1, 9, 9), VocObject("dog", 1, 1, 9, 9))
    assert error.fault == "unknown_class"
    assert "'dog'" in error.message
    assert "ant, Traffic Light, cat" in error.message


def test_another_spelling_is_repaired_and_counted_once_per_object():
    truth = truth_of(
        VocObject("CAT", 1, 1, 9, 9), VocObject("traffic light", 2, 2, 9, 9), VocObject("Traffic Light", 3, 3, 9, 9)
    )
    assert truth.labels.tolist() == [3, 2, 2]
    assert truth.repairs == ("class_spelling", "class_spelling")


def test_a_duplicate_is_kept_once_with_the_first_ones_flags():
    box = (30, 20, 150, 100)
    truth = truth_of(
        VocObject("cat", *box, difficult=True), VocObject("cat", *box), VocObject("ant", *box), VocObject("cat", *box)
    )
    assert truth.labels.tolist() == [3, 1]
    assert truth.boxes.shape == (2, 4)
    assert truth.difficult.tolist() == [True, False]
    assert truth.repairs == ("duplicate_object", "duplicate_object")


@pytest.mark.parametrize(
    ("size", "fault"), [(None, "missing_size"), ((200, 300), "swapped_size"), ((301, 200), "wrong_size")]
)
def test_a_wrong_size_yields_to_the_pictures_own(size, fault):
    truth = truth_of(VocObject("cat", 30, 20, 150, 100), size=size)
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    assert truth.repairs == (fault,)


@pytest.mark.parametrize("size", [(200, 300), (300, 200)])
def test_both_sizes_of_a_turned_picture_are_right(size):
    turned = Picture(b"", 300, 200, (200, 300), ("exif_rotated",))
    truth = truth_of(VocObject("cat", 30, 20, 150, 100), size=size, picture=turned)
    np.testing.assert_allclose(truth.boxes, [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    assert truth.repairs == ()


good_numbers = st.floats(-50, 350).map(str) | st.integers(-50, 350).map(str)
odd_numbers = st.sampled_from(["nan", "inf", "1e999", "-1e6", "", " 7 ", "x", "0", "300", "200", "1e-40", "5e-324"])
numbers = st.one_of([good_numbers] * 9 + [odd_numbers])
names = st.sampled_from(["ant", "CAT", "traffic light"] * 6 + ["dog", " ", "<part/>"])


def either(xml: bytes, size: tuple[int, int], convention) -> GroundTruth | str:
    """The ground truth of an annotation, or the fault that rejects it."""
    try:
        annotation = parse_annotation(xml, "a.xml")
        picture = Picture(b"", *size, size, ())
        return ground_truth(annotation, picture, classes=CLASSES, convention=convention, path="a.xml")
    except RejectedError as error:
        return error.fault


@given(
    objects=st.lists(st.tuples(names, *[numbers] * 4), max_size=4),
    convention=st.sampled_from(["caffe", "inclusive"]),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
)
def test_any_annotation_gives_boxes_of_positive_area_inside_or_a_known_fault(objects, convention, size):
    text = "<annotation>"
    for name, *corners in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        box = "".join(f"<{tag}>{number}</{tag}>" for tag, number in tags)
        text += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
    truth = either(f"{text}</annotation>".encode(), size, convention)
    if isinstance(truth, str):
        assert FAULTS[truth].action == "rejected"
        return
    assert {len(truth.labels), len(truth.difficult), len(truth.truncated)} == {len(truth.boxes)}
    dropped = sum(truth.repairs.count(fault) for fault in ("duplicate_object", "stray_click"))
    assert len(truth.boxes) + dropped == len(objects)
    assert ((truth.labels >= 1) & (truth.labels <= 3)).all()
    assert ((truth.boxes >= 0) & (truth.boxes <= 1)).all()
    assert (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
    assert {name for name in truth.repairs if FAULTS[name].action != "repaired"} == (
        set() if len(truth.boxes) else {"no_objects"}
    )
