"""Predicting on images: annotated copies, and one JSON of detections in the COCO results format."""

import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ssd300.datasets.errors import StorageError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import read_file, writable_folder, write_atomically
from ssd300.model.detection import make_detector
from ssd300.preprocessing.augmentation.render import decode_resized
from ssd300.preprocessing.checking.picture import Picture, check_picture
from ssd300.preprocessing.support.drawing import class_color, draw_boxes
from ssd300.preprocessing.support.outputs import check_replaceable, save_image
from ssd300.preprocessing.support.progress import bar
from ssd300.training.prediction.find_images import FoundImages
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import PredictSettings


def predict(
    run: RunDirectory, images: FoundImages | Sequence[Path], output: Path, settings: PredictSettings = PredictSettings()
) -> dict[str, Any]:
    """Detects objects on `images` with the newest checkpoint of `run`.

    Writes into `output` an annotated JPEG of each image, as `FoundImages` names them, and ``detections.json``: a list
    of ``image_id`` (the number of the image in this call, from 1), ``file_name``, ``category_id`` (the label),
    ``category_name``, ``bbox`` ``[x, y, width, height]`` in pixels of the upright image, and ``score``. An image that
    cannot be read is left out and named in the result.

    Returns:
        ``images`` and ``detections``, the numbers of both, and ``unreadable``, messages by path.

    Raises:
        InputError: the run cannot be used, or a file in `output` would be replaced that no earlier prediction made.
    """
    if not isinstance(images, FoundImages):
        images = FoundImages.of(images)
    run.read_config()  # what is no run is refused before anything is written
    listing = output / "detections.json"
    check_replaceable([listing, *(output / name for name in images.names)], inputs=images.paths)
    writable_folder(str(output))
    model, config, _ = run.load_model()
    detector = make_detector(model)
    detections: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    readable = _readable(images.paths, unreadable)
    progress = bar("predicting", len(images.paths))
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
                        "file_name": str(images.paths[number]),
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
            path = output / images.names[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(annotated, path)
        progress.update(len(batch))
    progress.close()
    write_atomically(str(listing), json.dumps(detections, indent=1))
    return {"images": len(images.paths) - len(unreadable), "detections": len(detections), "unreadable": unreadable}


def _readable(pictures: Sequence[Path], unreadable: dict[str, str]) -> Iterator[tuple[int, Picture]]:
    """The images that can be read, with their numbers; the others' messages go into `unreadable`."""
    for number, path in enumerate(pictures):
        try:
            data = read_file(str(path))
            if data is None:
                unreadable[str(path)] = "there is no such file"
            else:
                yield number, check_picture(data, str(path))
        except RejectedError as error:
            unreadable[str(path)] = error.message
        except StorageError as error:
            unreadable[str(path)] = error.reason


def _pixels(box: np.ndarray, picture: Picture) -> list[float]:
    ymin, xmin, ymax, xmax = (float(value) for value in box)
    left, top = xmin * picture.width, ymin * picture.height
    sides = (xmax - xmin) * picture.width, (ymax - ymin) * picture.height
    return [round(value, 2) for value in (left, top, *sides)]
