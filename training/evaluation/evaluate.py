"""Evaluating a run on a split of an encoded dataset: VOC average precision by both definitions."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import writable_folder, write_atomically
from ssd300.model.detection import Detector, make_detector
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.support.outputs import check_replaceable
from ssd300.preprocessing.support.progress import bar
from ssd300.preprocessing.support.terminal import padded
from ssd300.training.evaluation.average_precision import (
    DEFINITIONS,
    ClassResult,
    DetectionEvaluator,
    mean_average_precision,
)
from ssd300.training.evaluation.plots import plot_precision_recall
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.reader import evaluation_batches
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import EvaluateSettings

METRICS, CURVES = "metrics.json", "precision_recall.png"


@dataclass(frozen=True)
class EvaluatedPicture:
    """An image with its ground truth and its detections, NumPy arrays, boxes in fractions of the image."""

    jpeg: bytes
    name: str
    true_boxes: np.ndarray
    true_labels: np.ndarray
    difficult: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def detections_on(
    model: SSD300, dataset: EncodedDataset, settings: EvaluateSettings, detector: Detector | None = None
) -> Iterator[EvaluatedPicture]:
    """All images of a split, in the dataset's order, with the model's detections.

    A `detector` that `make_detector` made of the model before saves its tracing.
    """
    detector = detector or make_detector(model)
    for batch in evaluation_batches(dataset, settings.split, batch_size=settings.batch_size):
        found = detector(batch["pixels"])
        boxes, scores, labels, counts = (array.numpy() for array in found)
        for i, count in enumerate(counts):
            yield EvaluatedPicture(
                jpeg=batch["image"][i].numpy(),
                name=batch["id"][i].numpy().decode(),
                true_boxes=batch["boxes"][i].numpy().reshape(-1, 4),
                true_labels=batch["labels"][i].numpy(),
                difficult=batch["difficult"][i].numpy(),
                boxes=boxes[i, :count],
                scores=scores[i, :count],
                labels=labels[i, :count],
            )


def evaluate(
    run: RunDirectory, dataset: EncodedDataset, output: Path, settings: EvaluateSettings = EvaluateSettings()
) -> dict[str, Any]:
    """Evaluates the newest checkpoint of `run`; writes ``metrics.json`` and ``precision_recall.png`` into `output`.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: the run, the dataset or the split cannot be used together, or `output` cannot be written or holds
            files of these names that no evaluation made.
    """
    identity, config = dataset.identity, run.read_config()
    records = dataset.files(settings.split).records  # an unknown split is refused before anything is written
    if identity.classes != config.classes:
        raise InputError(
            f"the run's classes are {', '.join(config.classes.names)}; "
            f"the dataset's are {', '.join(identity.classes.names)}"
        )
    check_replaceable([output / METRICS, output / CURVES])
    writable_folder(str(output))
    model, config, step = run.load_model()
    start = time.perf_counter()
    with naming_broken_records(dataset, settings.split), closing(bar("evaluating", records)) as progress:
        results = class_results(model, dataset, settings, tick=progress.update)
    seconds = time.perf_counter() - start
    means = {name: mean_average_precision(results, definition=name) for name in DEFINITIONS}
    metrics = {
        "split": settings.split,
        "pictures": records,
        "step": step,
        "dataset": identity.fingerprint,
        "iou_threshold": 0.5,
        "mAP": means,
        "classes": {name: _class_metrics(results[label]) for label, name in enumerate(config.classes.names, start=1)},
        "seconds": round(seconds, 2),
    }
    write_atomically(str(output / METRICS), json.dumps(_without_nan(metrics), indent=2))
    curves = {name: results[label] for label, name in enumerate(config.classes.names, start=1)}
    plot_precision_recall(curves, means, output / CURVES)
    return metrics


def class_results(
    model: SSD300,
    dataset: EncodedDataset,
    settings: EvaluateSettings,
    *,
    detector: Detector | None = None,
    tick: Callable[[], Any] = lambda: None,
) -> dict[int, ClassResult]:
    """Each class's average precision of a model on a split; `tick` is called after each image."""
    evaluator = DetectionEvaluator(model.num_classes)
    for picture in detections_on(model, dataset, settings, detector):
        tick()
        evaluator.add(
            picture.boxes,
            picture.scores,
            picture.labels,
            true_boxes=picture.true_boxes,
            true_labels=picture.true_labels,
            difficult=picture.difficult,
        )
    return evaluator.results()


def _class_metrics(result: ClassResult) -> dict[str, Any]:
    return {
        "voc2007": result.voc2007,
        "voc2010": result.voc2010,
        "objects": result.positives,
        "detections": result.detections,
        "highest_recall": float(result.recall[-1]) if result.detections else 0.0,
    }


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: a class without objects has an average precision of null."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def metrics_table(metrics: dict[str, Any]) -> str:
    """The metrics as text, one line per class."""
    width = max(15, *map(len, metrics["classes"])) + 1
    lines = [f"{'class':<{width}}{'AP 2007':>9}{'AP 2010':>9}{'objects':>9}{'detections':>12}"]
    for name, row in metrics["classes"].items():
        lines.append(
            f"{padded(name, width)}{row['voc2007']:>9.3f}{row['voc2010']:>9.3f}"
            f"{row['objects']:>9,}{row['detections']:>12,}"
        )
    mean = metrics["mAP"]
    lines.append(f"{'mean':<{width}}{mean['voc2007']:>9.3f}{mean['voc2010']:>9.3f}")
    return "\n".join(lines)
