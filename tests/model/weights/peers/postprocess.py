"""The peers' way from the network's output to detections, in NumPy and one candidate after another.

Every step is in float32, as in the peers. Boxes leave as the peer returns them: cut at the border of the image by
torchvision and mmdetection, not by the others.
"""

from typing import NamedTuple

import numpy as np
import peer_boxes
from layouts import Peer


class Detection(NamedTuple):
    """One object.

    Attributes:
        label: the class in the peer's numbers: from 1, mmdetection's and ChainerCV's from 0.
        score: probability, float32.
        box: ``(xmin, ymin, xmax, ymax)`` as fractions of the image, float32 ``[4]``.
    """

    label: int
    score: np.float32
    box: np.ndarray


class Rules(NamedTuple):
    """What the peers do differently after the network.

    Attributes:
        score: a detection needs a higher score, or this one with `score_reached`.
        candidates: best boxes of a class that take part in the suppression; None: all.
        kept_of_class: boxes of a class that the suppression keeps at most; None: all.
        kept: best detections of an image that remain; None: all.
        first_label: label of the first class that is not the background.
        clipped: boxes are cut at the border before the suppression.
        exp: lower and upper limit of what goes into the exponential function.
        score_reached: the score may equal the threshold.
        overlap_reached: a box is dropped if the overlap equals the threshold of the suppression.
        stage_candidates: best pairs of a box and a class of a stage that take part; None: all.
        drop_empty: boxes without width or height are dropped before the suppression.
    """

    score: float = 0.01
    candidates: int | None = None
    kept_of_class: int | None = None
    kept: int | None = 200
    first_label: int = 1
    clipped: bool = False
    exp: tuple[float, float] = (-np.inf, np.inf)
    score_reached: bool = False
    overlap_reached: bool = False
    stage_candidates: int | None = None
    drop_empty: bool = False


OVERLAP = np.float32(0.45)
_RATIO = float(np.abs(np.log(16 / 1000)))


def rules(peer: Peer) -> Rules:
    """The settings with which the peer's evaluation runs."""
    if peer.project == "mmdetection":
        stage = 1000 if peer.limit_candidates else None
        # Versions before 2.14 had neither the limit nor the check of sizes.
        return Rules(
            0.02,
            first_label=0,
            clipped=True,
            exp=(-_RATIO, _RATIO),
            stage_candidates=stage,
            drop_empty=peer.limit_candidates,
        )
    return {
        "caffe": Rules(candidates=400),
        "ssd_keras": Rules(kept_of_class=400),
        "ssd.pytorch": Rules(candidates=200, kept=None),
        "lufficc": Rules(kept=100),
        "torchvision": Rules(candidates=400, clipped=True, exp=(-np.inf, float(np.log(1000 / 16)))),
        "chainercv": Rules(kept=None, first_label=0, score_reached=True, overlap_reached=True),
    }[peer.project]


def postprocess(
    peer: Peer,
    logits: np.ndarray,
    offsets: np.ndarray,
    *,
    boxes: np.ndarray | None = None,
    stages: tuple[int, ...] = peer_boxes.STAGE_BOXES,
) -> list[Detection]:
    """The peer's detections of one image, highest score first.

    Args:
        peer: whose way.
        logits: ``[A, C]``, as `forward` gives them.
        offsets: ``[A, 4]``, as `forward` gives them.
        boxes: default boxes ``[A, 4]`` in center form; None: the peer's own.
        stages: number of boxes of each stage.
    """
    rule = rules(peer)
    boxes = peer_boxes.default_boxes(peer) if boxes is None else np.asarray(boxes, np.float32)
    scores = softmax(np.asarray(logits, np.float32))
    decoded = decode(peer, np.asarray(offsets, np.float32), boxes)

    over = scores >= np.float32(rule.score) if rule.score_reached else scores > np.float32(rule.score)
    over[:, peer.background] = False
    if rule.stage_candidates is not None:
        over &= best_of_stages(scores, over, stages, rule.stage_candidates)
    if rule.drop_empty:
        over &= (decoded[:, 2:] > decoded[:, :2]).all(axis=1, keepdims=True)

    detections = []
    classes = [index for index in range(scores.shape[1]) if index != peer.background]
    for label, index in enumerate(classes, rule.first_label):
        rows = np.flatnonzero(over[:, index])
        rows = rows[np.argsort(-scores[rows, index], kind="stable")][: rule.candidates]
        kept = suppress(decoded[rows], drop_equal=rule.overlap_reached, limit=rule.kept_of_class)
        detections += [Detection(label, scores[row, index], decoded[row]) for row in rows[kept]]
    detections.sort(key=lambda detection: -detection.score)
    return detections[: rule.kept]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float32."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def decode(peer: Peer, offsets: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Corners ``[A, 4]`` ``(xmin, ymin, xmax, ymax)`` from offsets and default boxes in center form, float32."""
    rule = rules(peer)
    if peer.project == "chainercv":
        offsets = offsets[:, [1, 0, 3, 2]]
    middle = boxes[:, :2] + offsets[:, :2] * np.float32(0.1) * boxes[:, 2:]
    exponent = (offsets[:, 2:] * np.float32(0.2)).clip(*(np.float32(limit) for limit in rule.exp))
    half = boxes[:, 2:] * np.exp(exponent) / 2
    corners = np.concatenate([middle - half, middle + half], axis=1)
    return corners.clip(0, 1) if rule.clipped else corners


def best_of_stages(scores: np.ndarray, over: np.ndarray, stages: tuple[int, ...], limit: int) -> np.ndarray:
    """Whether a pair of box and class is among the best `limit` of its stage, bool ``[A, C]``."""
    best = np.zeros_like(over)
    start = 0
    for count in stages:
        rows, classes = np.nonzero(over[start : start + count])
        order = np.argsort(-scores[start + rows, classes], kind="stable")[:limit]
        best[start + rows[order], classes[order]] = True
        start += count
    return best


def suppress(boxes: np.ndarray, *, drop_equal: bool = False, limit: int | None = None) -> list[int]:
    """Greedy suppression of corner boxes ``[N, 4]`` sorted by falling score: places of those that stay.

    A box is dropped if it overlaps one that stays by more than .45, or by exactly that with `drop_equal`.
    """
    kept: list[int] = []
    for place, box in enumerate(boxes):
        if limit is not None and len(kept) == limit:
            break
        overlaps = iou(box, boxes[kept])
        if not (overlaps >= OVERLAP if drop_equal else overlaps > OVERLAP).any():
            kept.append(place)
    return kept


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a corner box ``[4]`` and others ``[N, 4]``; two empty boxes have none."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)
