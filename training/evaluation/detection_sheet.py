"""A contact sheet of detections next to ground truth, to judge a model by eye."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.preprocessing.support.drawing import DIFFICULT, GROUND_TRUTH, class_color, contact_sheet, draw_boxes
from ssd300.preprocessing.support.outputs import save_image
from ssd300.training.evaluation.evaluate import EvaluatedPicture

_PAIRS_A_ROW = 3


def write_detection_sheet(
    pictures: Sequence[EvaluatedPicture], classes: ClassList, path: Path, *, threshold: float = 0.5
) -> None:
    """Writes a JPEG: each image twice, with its ground truth and with its detections of at least `threshold`."""
    pairs = [
        [_with_ground_truth(picture, classes), _with_detections(picture, classes, threshold)] for picture in pictures
    ]
    rows = [
        [image for pair in pairs[start : start + _PAIRS_A_ROW] for image in pair]
        for start in range(0, len(pairs), _PAIRS_A_ROW)
    ]
    titles = ["ground truth", f"detections, score over {threshold:g}"] * min(len(pairs), _PAIRS_A_ROW)
    save_image(contact_sheet(rows, titles=titles, cell=(250, 220)), path, quality=88)


def _with_ground_truth(picture: EvaluatedPicture, classes: ClassList) -> Image.Image:
    names = [classes.name(label) for label in picture.true_labels]
    captions = [f"{name} (difficult)" if d else name for name, d in zip(names, picture.difficult, strict=True)]
    colors = [DIFFICULT if d else GROUND_TRUTH for d in picture.difficult]
    return draw_boxes(Image.open(io.BytesIO(picture.jpeg)), picture.true_boxes, captions=captions, colors=colors)


def _with_detections(picture: EvaluatedPicture, classes: ClassList, threshold: float) -> Image.Image:
    chosen = picture.scores >= threshold
    labels, scores = picture.labels[chosen], picture.scores[chosen]
    captions = [f"{classes.name(label)} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    colors = [class_color(int(label)) for label in labels]
    return draw_boxes(Image.open(io.BytesIO(picture.jpeg)), picture.boxes[chosen], captions=captions, colors=colors)
