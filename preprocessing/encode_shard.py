"""Encoding one shard: from the names of its pictures to one file of records and its report."""

import json
import uuid
from collections.abc import Callable
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
import tensorflow as tf

from ssd300.datasets.annotation import parse_annotation
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.record import Record
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import stage_offsets
from ssd300.model.spec import Spec
from ssd300.preprocessing.atomic_file import write_atomically
from ssd300.preprocessing.encoding import encode_ground_truth
from ssd300.preprocessing.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.picture import check_picture
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shard_report import Reject, ShardReport


def encode_shard(
    shard: Shard, settings: PreprocessSettings, *, output: str, reports: str, tick: Callable[[int], None] | None = None
) -> ShardReport:
    """Writes ``output/<shard>`` and ``reports/<shard>.json``; either is whole or absent, whenever the worker dies.

    Both are written under a name of this attempt's own and renamed, the report last: a shard with a report is done.
    The bytes depend on the shard, the settings and the files alone.

    Args:
        shard: the pictures.
        settings: the job's.
        output: folder of the dataset.
        reports: folder of the reports.
        tick: called with the number of pictures done since the last call.
    """
    report = ShardReport()
    attempt = f".tmp-{uuid.uuid4().hex}"
    path = f"{output}/{shard.name}"
    with tf.io.TFRecordWriter(path + attempt) as writer:
        for number, picture_id in shard.pictures:
            report.read += 1
            try:
                record = encode_picture(number, picture_id, settings, report)
            except RejectedError as error:
                name = _name(number, picture_id, settings)
                report.rejects.append(Reject(name, error.path, error.fault, error.message))
            else:
                serialized = record.serialize()
                writer.write(serialized)
                report.written += 1
                report.bytes += len(serialized)
            if tick is not None:
                tick(1)
    tf.io.gfile.rename(path + attempt, path, overwrite=True)
    write_atomically(f"{reports}/{shard.key}.json", json.dumps(report.to_json(), sort_keys=True))
    return report


def encode_picture(number: int, picture_id: str, settings: PreprocessSettings, report: ShardReport) -> Record:
    """Encodes the picture `picture_id` of the settings' source `number` and adds what was found to `report`.

    Raises:
        RejectedError: the picture cannot be used; nothing was added.
    """
    source = settings.sources[number]
    annotation_path = source.annotation_path(picture_id)
    xml = read_file(annotation_path)
    if xml is None:
        raise RejectedError("missing_annotation", annotation_path, "the image set names it, but it cannot be read")
    annotation = parse_annotation(xml, annotation_path)

    picture_paths = source.picture_paths(picture_id)
    for picture_path in picture_paths:
        data = read_file(picture_path)
        if data is not None:
            break
    else:
        raise RejectedError("missing_picture", picture_paths[0], "there is no such file that can be read")
    picture = check_picture(data, picture_path, verify=settings.verify)
    truth = ground_truth(
        annotation, picture, classes=settings.classes, convention=settings.convention, path=annotation_path
    )
    targets, flipped, unmatched = _encode(truth, settings.spec)

    report.repaired.update(picture.repairs + truth.repairs)
    report.objects.update(settings.classes.names[label - 1] for label in truth.labels)
    report.difficult += int(truth.difficult.sum())
    report.negatives += int(len(truth.labels) == 0)
    stages = np.searchsorted(stage_offsets(settings.spec), targets[0], side="right") - 1
    report.matches.update(settings.spec.feature_maps[stage].name for stage in stages)
    report.unmatched += unmatched
    return Record(
        image=picture.jpeg,
        filename=PurePosixPath(picture_path).name,
        picture_id=_name(number, picture_id, settings),
        boxes=truth.boxes,
        labels=truth.labels.tolist(),
        difficult=truth.difficult.tolist(),
        truncated=truth.truncated.tolist(),
        targets=targets,
        flipped_targets=flipped,
    )


def _name(number: int, picture_id: str, settings: PreprocessSettings) -> str:
    return f"{settings.tree_name(settings.sources[number])}/{picture_id}"


def read_file(path: str) -> bytes | None:
    """The content of a file, None where there is none that can be read."""
    try:
        if "://" not in path:  # Python's own files are several times faster than TensorFlow's
            with open(path, "rb") as file:  # noqa: PTH123 - a Path costs more than the open here
                return file.read()
        with tf.io.gfile.GFile(path, "rb") as file:
            return bytes(file.read())
    except (OSError, ValueError, tf.errors.OpError):
        return None


Targets = tuple[np.ndarray, np.ndarray, np.ndarray]


def _encode(truth: GroundTruth, spec: Spec) -> tuple[Targets, Targets, int]:
    """Targets of the picture and of its mirror image, and how many objects nothing matches."""
    # An object's own number is its label here, so that the matched objects can be counted; classes come after.
    numbers = np.arange(1, len(truth.labels) + 1, dtype=np.int32)
    labels = np.concatenate([[0], truth.labels]).astype(np.int32)
    encoded = []
    for indices, objects, offsets in _encoder(spec)(truth.boxes, numbers):
        encoded.append((indices.numpy(), objects.numpy(), offsets.numpy()))
    unmatched = len(numbers) - len(np.unique(encoded[0][1]))
    targets, flipped = ((indices, labels[objects], offsets) for indices, objects, offsets in encoded)
    return targets, flipped, unmatched


@lru_cache(maxsize=8)
def _encoder(spec: Spec) -> Callable:
    """`encode_ground_truth` for a picture and its mirror image, compiled once in a worker."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int32)])
    def encode(boxes: tf.Tensor, labels: tf.Tensor) -> tuple:
        return encode_ground_truth(boxes, labels, spec), encode_ground_truth(box_ops.flip(boxes), labels, spec)

    return encode
