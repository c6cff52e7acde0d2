"""From a parsed annotation to ground truth: labels, boxes as fractions, and the faults repaired on the way."""

from dataclasses import dataclass

import numpy as np

from ssd300.datasets.annotation import Annotation, Convention, VocObject, fractions
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import RejectedError
from ssd300.preprocessing.picture import Picture


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one picture.

    Attributes:
        boxes: corner boxes, float32 ``[G, 4]`` in [0, 1], of positive area.
        labels: classes from 1, int32 ``[G]``.
        difficult: bool ``[G]``.
        truncated: bool ``[G]``.
        repairs: names of the faults repaired, one entry a repair.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    truncated: np.ndarray
    repairs: tuple[str, ...]


def ground_truth(
    annotation: Annotation, picture: Picture, *, classes: ClassList, convention: Convention, path: str
) -> GroundTruth:
    """The ground truth of `picture`, in the order of its annotation.

    Args:
        annotation: as parsed.
        picture: its own size counts, whatever the annotation says of it.
        classes: the class list; names may differ from it in case and blanks.
        convention: how VOC pixel coordinates become fractions.
        path: the annotation's file, for the messages.

    Raises:
        RejectedError: an object's class is unknown, or its box is empty or outside the picture.
    """
    repairs = [] if annotation.size in (picture.stored_size, (picture.width, picture.height)) else ["wrong_size"]
    rows: dict[tuple[int, tuple[float, ...]], VocObject] = {}
    for voc_object in annotation.objects:
        try:
            label = classes.label(voc_object.name)
        except KeyError:
            raise RejectedError(
                "unknown_class", path, f"class {voc_object.name!r} is none of: {', '.join(classes.names)}"
            ) from None
        if not classes.is_exact(voc_object.name):
            repairs.append("class_spelling")
        box = _box(voc_object, picture, convention, path, repairs)
        if (label, box) in rows:
            repairs.append("duplicate_object")
        rows.setdefault((label, box), voc_object)
    return GroundTruth(
        boxes=np.array([box for _, box in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for label, _ in rows], np.int32),
        difficult=np.array([row.difficult for row in rows.values()], bool),
        truncated=np.array([row.truncated for row in rows.values()], bool),
        repairs=tuple(repairs),
    )


def _box(
    voc_object: VocObject, picture: Picture, convention: Convention, path: str, repairs: list[str]
) -> tuple[float, ...]:
    xmin, ymin, xmax, ymax = voc_object.xmin, voc_object.ymin, voc_object.xmax, voc_object.ymax
    if xmin > xmax or ymin > ymax:
        repairs.append("swapped_corners")
        xmin, xmax, ymin, ymax = min(xmin, xmax), max(xmin, xmax), min(ymin, ymax), max(ymin, ymax)
    said = f"object {voc_object.name!r}: box xmin={xmin:g} ymin={ymin:g} xmax={xmax:g} ymax={ymax:g}"
    size = f"the picture of {picture.width}x{picture.height}"
    box = fractions((xmin, ymin, xmax, ymax), width=picture.width, height=picture.height, convention=convention)
    # float32 is what the records hold: two corners that differ only beyond it make no area either.
    exact = np.array(box, np.float32)
    if exact[0] >= exact[2] or exact[1] >= exact[3]:
        raise RejectedError("no_area", path, f"{said} has no area")
    clipped = np.clip(exact, 0, 1)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise RejectedError("outside_picture", path, f"{said} lies outside {size}")
    if (clipped != exact).any():
        repairs.append("clipped_box")
    return tuple(clipped.tolist())
