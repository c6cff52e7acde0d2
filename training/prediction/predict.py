"""Predicting on images: annotated copies, and one JSON of detections in the COCO results format."""

import io
import json
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ssd300.datasets.errors import InputError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.sources.folder import PICTURE_SUFFIXES
from ssd300.model.detection import make_detector
from ssd300.preprocessing.augmentation.render import decode_resized
from ssd300.preprocessing.checking.picture import Picture, check_picture
from ssd300.preprocessing.support.drawing import class_color, draw_boxes
from ssd300.preprocessing.support.progress import bar
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import PredictSettings


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The images that paths, folders and globs name, without duplicates, in a stable order.

    Raises:
        InputError: a pattern names nothing.
    """
    found: dict[Path, None] = {}
    suffixes = {suffix.lower() for suffix in PICTURE_SUFFIXES}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            paths = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in suffixes)
        elif path.is_file():
            paths = [path]
        else:
            paths = [Path(name) for name in sorted(glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
        if not paths:
            raise InputError(f"{pattern} names no image: expected a file, a folder with images, or a glob")
        found.update(dict.fromkeys(paths))
    return list(found)


def predict(
    run: RunDirectory, pictures: Sequence[Path], output: Path, settings: PredictSettings = PredictSettings()
) -> dict[str, Any]:
    """Detects objects on `pictures` with the newest checkpoint of `run`.

    Writes into `output` an annotated JPEG of each image and ``detections.json``: a list of ``image_id`` (the number
    of the image in this call, from 1), ``file_name``, ``category_id`` (the label), ``category_name``, ``bbox``
    ``[x, y, width, height]`` in pixels of the upright image, and ``score``. An image that cannot be read is left
    out and named in the result.

    Returns:
        ``images`` and ``detections``, the numbers of both, and ``unreadable``, messages by path.
    """
    model, config, _ = run.load_model()
    detector = make_detector(model)
    output.mkdir(parents=True, exist_ok=True)
    detections: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    names = _output_names(pictures)
    readable = _readable(pictures, unreadable)
    progress = bar("predicting", len(pictures))
    while batch := list(islice(readable, settings.batch_size)):
        pixels = tf.stack([decode_resized(picture.jpeg) for _, picture in batch])
        boxes, scores, labels, _ = (array.numpy() for array in detector(pixels))
        for row, (number, picture) in enumerate(batch):
            chosen = (scores[row] >= settings.threshold) & (labels[row] > 0)
            found = boxes[row][chosen], scores[row][chosen], labels[row][chosen]
            classes = [config.classes.name(label) for label in found[2]]
            for box, score, label, name in zip(*found, classes, strict=True):
                detections.append(
                    {
                        "image_id": number + 1,
                        "file_name": str(pictures[number]),
                        "category_id": int(label),
                        "category_name": name,
                        "bbox": _pixels(box, picture),
                        "score": round(float(score), 5),
                    }
                )
            captions = [f"{name} {score:.2f}" for name, score in zip(classes, found[1], strict=True)]
            colors = [class_color(int(label)) for label in found[2]]
            with Image.open(io.BytesIO(picture.jpeg)) as image:
                annotated = draw_boxes(image, found[0], captions=captions, colors=colors)
            annotated.save(output / names[number], quality=92)
        progress.update(len(batch))
    progress.close()
    (output / "detections.json").write_text(json.dumps(detections, indent=1), encoding="utf-8")
    return {"images": len(pictures) - len(unreadable), "detections": len(detections), "unreadable": unreadable}


def _readable(pictures: Sequence[Path], unreadable: dict[str, str]) -> Iterator[tuple[int, Picture]]:
    """The images that can be read, with their numbers; the others' messages go into `unreadable`."""
    for number, path in enumerate(pictures):
        try:
            yield number, check_picture(path.read_bytes(), str(path))
        except RejectedError as error:
            unreadable[str(path)] = error.message
        except OSError as error:
            unreadable[str(path)] = str(error)


def _output_names(pictures: Sequence[Path]) -> list[str]:
    """A file name for each annotated image: its own, with a number where two folders have the same."""
    names: list[str] = []
    used: set[str] = set()
    for number, path in enumerate(pictures, start=1):
        name = f"{path.stem}.jpg"
        if name in used:
            name = f"{path.stem}-{number}.jpg"
        used.add(name)
        names.append(name)
    return names


def _pixels(box: np.ndarray, picture: Picture) -> list[float]:
    ymin, xmin, ymax, xmax = (float(value) for value in box)
    left, top = xmin * picture.width, ymin * picture.height
    sides = (xmax - xmin) * picture.width, (ymax - ymin) * picture.height
    return [round(value, 2) for value in (left, top, *sides)]
