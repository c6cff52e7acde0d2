"""From a parsed annotation to ground truth: labels, boxes as fractions, and the faults repaired on the way."""

from dataclasses import dataclass

import numpy as np

from ssd300.datasets.annotation import Annotation, Convention, VocObject, fractions
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import DROPPED_EMPTY, RejectedError
from ssd300.preprocessing.checking.picture import Picture

# A box that reaches over the border by a larger share of the image's side was hardly drawn on this image.
_SLIGHTLY_OVER = 0.1 + 1e-6
# What float32 fractions may be off, in pixels of the largest images.
_PIXEL_ERROR = 0.01


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one image."""

    boxes: np.ndarray  # corner boxes, float32 ``[G, 4]`` in [0, 1], of positive area
    labels: np.ndarray  # classes from 1, int32 ``[G]``
    difficult: np.ndarray  # bool ``[G]``
    truncated: np.ndarray  # bool ``[G]``
    repairs: tuple[str, ...]  # names of the faults repaired, one entry per repair


def ground_truth(
    annotation: Annotation,
    picture: Picture,
    *,
    classes: ClassList,
    convention: Convention,
    path: str,
    min_size: float = 0.0,
    drop_empty: bool = False,
    strict: bool = False,
) -> GroundTruth:
    """The ground truth of `picture`, in the order of its annotation.

    Args:
        annotation: as parsed.
        picture: its own size is used, whatever the annotation says.
        classes: the class list; names may differ from it in case and whitespace.
        convention: how VOC pixel coordinates become fractions.
        path: the annotation's file, for the messages.
        min_size: objects whose width or height is less, in pixels of the image, are left out.
        drop_empty: whether an image without an object is rejected.
        strict: whether an image with a box of no area is rejected; else such a box is left out.

    Raises:
        RejectedError: an object's class is unknown, or its box is outside the image or not in pixels; or the image has
            no object and is not wanted.
    """
    repairs: list[str] = []
    if annotation.in_fractions:
        frame, orientation, convention = (1, 1), 1, "caffe"
    else:
        _refuse_fractions(annotation, picture, path)
        frame, orientation = _frame(annotation, picture, repairs)
    rows: dict[tuple[int, tuple[float, ...]], VocObject] = {}
    for voc_object in annotation.objects:
        try:
            label = classes.label(voc_object.name)
        except KeyError:
            raise RejectedError(
                "unknown_class", path, f"class {voc_object.name!r} is not one of: {', '.join(classes.names)}"
            ) from None
        if not classes.is_exact(voc_object.name):
            repairs.append("class_spelling")
        box = _box(voc_object, frame, orientation, convention, path, repairs)
        if box is None:
            if strict:
                raise RejectedError("no_area", path, f"{_said(voc_object)} has no area")
            repairs.append("stray_click")
            continue
        if min(picture.height * (box[2] - box[0]), picture.width * (box[3] - box[1])) < min_size - _PIXEL_ERROR:
            repairs.append("small_object")
            continue
        if (label, box) in rows:
            repairs.append("duplicate_object")
        rows.setdefault((label, box), voc_object)
    if not rows:
        if drop_empty:
            raise RejectedError(DROPPED_EMPTY, path, "no objects, and such images are left out")
        repairs.append("no_objects")
    return GroundTruth(
        boxes=np.array([box for _, box in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for label, _ in rows], np.int32),
        difficult=np.array([row.difficult for row in rows.values()], bool),
        truncated=np.array([row.truncated for row in rows.values()], bool),
        repairs=tuple(repairs),
    )


def _refuse_fractions(annotation: Annotation, picture: Picture, path: str) -> None:
    """Raises RejectedError if all boxes are between 0 and 1: on an image of several pixels none was drawn so small."""
    corners = [(one.xmin, one.ymin, one.xmax, one.ymax) for one in annotation.objects]
    if not corners or min(picture.width, picture.height) <= 2:
        return
    if all(0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1 for xmin, ymin, xmax, ymax in corners):
        raise RejectedError(
            "in_fractions",
            path,
            f"all corners are between 0 and 1, such as xmax={corners[0][2]:g}: fractions of the image; VOC has pixels, "
            f"here up to {picture.width} and {picture.height}",
        )


def _frame(annotation: Annotation, picture: Picture, repairs: list[str]) -> tuple[tuple[int, int], int]:
    """The size in pixels of the image that boxes were drawn on, and the EXIF orientation that it was still to get."""
    upright, lying = (picture.width, picture.height), picture.stored_size
    size, orientation = annotation.size, picture.orientation
    frame = upright
    # Annotated as it lies in the file, by a tool that ignores the EXIF orientation? <size> may tell.
    unclear = orientation != 1 and (orientation < 5 or picture.width == picture.height or size is None)
    if size in (upright, lying):
        frame = size
    elif size is None:
        repairs.append("missing_size")
    elif _was_resized(annotation, size, upright) or _was_resized(annotation, size, lying):
        frame = size
        repairs.append("resized_picture")
    else:
        repairs.append("swapped_size" if size[::-1] in (upright, lying) else "wrong_size")
    if unclear and annotation.objects:
        repairs.append("exif_unclear")
    lies = orientation >= 5 and not unclear and (frame[0] > frame[1]) == (lying[0] > lying[1])
    return (frame, orientation) if lies else (upright if frame == lying else frame, 1)


def _was_resized(annotation: Annotation, size: tuple[int, int], own: tuple[int, int]) -> bool:
    """Whether an image of this size was resized to its own size, up to rounding, and the boxes are of before."""
    width, height = size
    if max(abs(width - own[0]), abs(height - own[1])) <= 2:  # counted wrongly
        return False
    # The smaller one was rounded to whole pixels.
    in_proportion = abs(width * own[1] - height * own[0]) <= max(*size, *own)
    return in_proportion and all(
        max(one.xmin, one.xmax) <= width + 1 and max(one.ymin, one.ymax) <= height + 1 for one in annotation.objects
    )


def turn_upright(box: tuple[float, ...], orientation: int) -> tuple[float, ...]:
    """A box ``(ymin, xmin, ymax, xmax)`` of an image as it lies in its file, in the image turned upright.

    Args:
        box: fractions of the lying image.
        orientation: EXIF's, one of the four that swap width and height.
    """
    ymin, xmin, ymax, xmax = box
    if orientation == 5:  # mirrored along the main diagonal
        return xmin, ymin, xmax, ymax
    if orientation == 6:  # lies on its left side: a quarter clockwise turns it upright
        return xmin, 1 - ymax, xmax, 1 - ymin
    if orientation == 7:  # mirrored along the other diagonal
        return 1 - xmax, 1 - ymax, 1 - xmin, 1 - ymin
    if orientation == 8:  # a quarter counter-clockwise turns it upright
        return 1 - xmax, ymin, 1 - xmin, ymax
    raise ValueError(f"orientation must be 5, 6, 7 or 8, got {orientation}")


def _box(
    voc_object: VocObject,
    frame: tuple[int, int],
    orientation: int,
    convention: Convention,
    path: str,
    repairs: list[str],
) -> tuple[float, ...] | None:
    """The box of an object, cut at the image's border; None if it has no area."""
    xmin, ymin, xmax, ymax = voc_object.xmin, voc_object.ymin, voc_object.xmax, voc_object.ymax
    is_swapped = xmin > xmax or ymin > ymax
    if is_swapped:
        xmin, xmax, ymin, ymax = min(xmin, xmax), max(xmin, xmax), min(ymin, ymax), max(ymin, ymax)
    width, height = frame
    box: tuple[float, ...] = fractions((xmin, ymin, xmax, ymax), width=width, height=height, convention=convention)
    if orientation != 1:
        box = turn_upright(box, orientation)
    # float32 is what the records hold: two corners that differ only beyond it make no area either.
    exact = np.array(box, np.float32)
    if exact[0] >= exact[2] or exact[1] >= exact[3]:
        return None
    clipped = np.clip(exact, 0, 1)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        said = _said(voc_object)
        raise RejectedError("outside_picture", path, f"{said} lies outside the picture of {width}x{height}")
    if is_swapped:
        repairs.append("swapped_corners")
    over = float(np.abs(clipped - exact).max())
    if over > 0:
        repairs.append("clipped_box" if over <= _SLIGHTLY_OVER else "overreaching_box")
    return tuple(clipped.tolist())


def _said(one: VocObject) -> str:
    return f"object {one.name!r}: box xmin={one.xmin:g} ymin={one.ymin:g} xmax={one.xmax:g} ymax={one.ymax:g}"
