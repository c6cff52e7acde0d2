"""Average precision as the Pascal-VOC challenges define it, by both definitions, over a whole dataset."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssd300.model import boxes as box_ops

Definition = Literal["voc2007", "voc2010"]
DEFINITIONS: tuple[Definition, ...] = ("voc2007", "voc2010")


def average_precision(recall: np.ndarray, precision: np.ndarray, *, definition: Definition) -> float:
    """The area that summarizes a precision-recall curve.

    Args:
        recall: rising, in [0, 1], one entry per detection in the order of falling scores ``[D]``.
        precision: at the same detections ``[D]``.
        definition: ``voc2007`` is the mean of the interpolated precision at the recalls 0, .1, ..., 1 (VOC devkit
            2007, section 3.4.1); ``voc2010`` is the area under the interpolated curve (from 2010 on).
    """
    if definition == "voc2007":
        # Tenths computed as in the devkit, 0:0.1:1; a float error of the recall must not lose a point.
        points = [precision[recall >= tenth / 10 - 1e-12] for tenth in range(11)]
        return float(np.mean([part.max() if part.size else 0.0 for part in points]))
    if definition != "voc2010":
        raise ValueError(f"definition must be 'voc2007' or 'voc2010', got {definition!r}")
    recall = np.concatenate([[0.0], recall, [1.0]])
    interpolated = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    return float(np.sum(np.diff(recall) * interpolated[1:]))


@dataclass(frozen=True)
class ClassResult:
    """The result of one class.

    Attributes:
        positives: objects that are not difficult.
        detections: detections that count: those on difficult objects do not.
        recall: at each counting detection, by falling score ``[D]``.
        precision: the same ``[D]``.
        scores: the same ``[D]``.
        voc2007: 11-point average precision; NaN where the class has no object.
        voc2010: average precision from 2010 on; NaN where the class has no object.
    """

    positives: int
    detections: int
    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray
    voc2007: float
    voc2010: float


class DetectionEvaluator:
    """Collects detections and ground truth image by image, then computes the curves of every class.

    A detection of a class is correct if the object of its class and image that it overlaps most has an IoU of at
    least `iou_threshold` with it and no detection of a higher score took that object (devkit, VOCevaldet). A detection
    whose object is difficult counts neither as correct nor as false; difficult objects need not be found.

    Args:
        num_classes: with the background.
        iou_threshold: minimum IoU of a correct detection.
    """

    def __init__(self, num_classes: int, *, iou_threshold: float = 0.5) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes counts the background too and must be at least 2, got {num_classes}")
        self._num_classes, self._iou_threshold = num_classes, iou_threshold
        self._positives = np.zeros(num_classes, np.int64)
        self._objects = 0
        # One row per detection: label, score, number of the object it hits (-1: none), whether that is difficult.
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        *,
        true_boxes: np.ndarray,
        true_labels: np.ndarray,
        difficult: np.ndarray,
    ) -> None:
        """Adds an image: D detections (boxes ``[D, 4]``) and G objects (boxes ``[G, 4]``); either may be none."""
        labels, true_labels = np.asarray(labels, np.int64), np.asarray(true_labels, np.int64)
        difficult = np.asarray(difficult, bool)
        for name, given in (("labels", labels), ("true_labels", true_labels)):
            if given.size and not (given.min() >= 1 and given.max() < self._num_classes):
                raise ValueError(f"{name} must be in [1, {self._num_classes - 1}], got {sorted(set(given.tolist()))}")
        hit, is_difficult = np.full(len(labels), -1), np.zeros(len(labels), bool)
        if len(labels) and len(true_labels):
            # In float64, so that a threshold met exactly in pixels is met.
            overlaps = box_ops.iou(np.asarray(boxes, np.float64), np.asarray(true_boxes, np.float64))  # [D, G]
            overlaps = np.where(labels[:, None] == true_labels[None], overlaps, -1.0)
            best = overlaps.argmax(axis=1)
            reached = overlaps.max(axis=1) >= self._iou_threshold - 1e-6  # the boxes came as float32
            hit = np.where(reached, best + self._objects, -1)
            is_difficult = reached & difficult[best]
        self._objects += len(true_labels)
        self._positives += np.bincount(true_labels[~difficult], minlength=self._num_classes)
        self._rows.append((labels, np.asarray(scores, np.float64), hit, is_difficult))

    def results(self) -> dict[int, ClassResult]:
        """The result of every class, by label from 1."""
        empty = (np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))
        columns = zip(*(self._rows or [empty]), strict=True)
        labels, scores, hit, difficult = (np.concatenate(column) for column in columns)
        order = np.argsort(-scores, kind="stable")
        return {
            label: self._class_result(label, *(column[order][chosen] for column in (scores, hit, difficult)))
            for label in range(1, self._num_classes)
            for chosen in [labels[order] == label]
        }

    def _class_result(self, label: int, scores: np.ndarray, hit: np.ndarray, difficult: np.ndarray) -> ClassResult:
        scores, hit = scores[~difficult], hit[~difficult]
        correct = np.zeros(len(hit), bool)
        found, first = np.unique(hit, return_index=True)  # the first hit of each object has the highest score
        correct[first[found >= 0]] = True
        true, false = np.cumsum(correct), np.cumsum(~correct)
        positives = int(self._positives[label])
        recall = true / max(positives, 1)
        precision = true / np.maximum(true + false, 1)
        if positives:
            areas = {name: average_precision(recall, precision, definition=name) for name in DEFINITIONS}
        else:
            areas = dict.fromkeys(DEFINITIONS, float("nan"))
        return ClassResult(positives, len(hit), recall, precision, scores, **areas)


def mean_average_precision(results: dict[int, ClassResult], *, definition: Definition) -> float:
    """The mean over the classes that have objects; NaN if none has."""
    areas = [getattr(result, definition) for result in results.values() if result.positives]
    return float(np.mean(areas)) if areas else float("nan")
