"""Encoding one shard: from the names of its pictures to one file of records and its report."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import tensorflow as tf

from ssd300.datasets.faults import RejectedError
from ssd300.datasets.raw_picture import RawPicture
from ssd300.datasets.record import Record
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import stage_offsets
from ssd300.model.spec import Spec
from ssd300.preprocessing.atomic_file import write_atomically
from ssd300.preprocessing.encoding import encode_batch
from ssd300.preprocessing.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.object_statistics import best_overlaps, histograms
from ssd300.preprocessing.picture import Picture, check_picture
from ssd300.preprocessing.plan import Picture as PlannedPicture
from ssd300.preprocessing.plan import Shard
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shard_report import PoorlyReached, Reject, ShardReport

# Pictures are encoded together, as many as this or as fill so many bytes: the encoding is cheap in batches, and a
# worker holds no more than one of them.
_BATCH_PICTURES, _BATCH_BYTES = 64, 32_000_000


@dataclass(frozen=True)
class CheckedPicture:
    """A picture that will be a record.

    Attributes:
        name: its name in the dataset, such as ``VOC2007/000012``.
        filename: of its file, without folders.
        picture: its JPEG and size.
        truth: its objects.
    """

    name: str
    filename: str
    picture: Picture
    truth: GroundTruth


def encode_shard(
    shard: Shard,
    settings: PreprocessSettings,
    *,
    output: str | None,
    reports: str,
    tick: Callable[[int], None] | None = None,
) -> ShardReport:
    """Writes ``output/<shard>`` and ``reports/<shard>.json``; either is whole or absent, whenever the worker dies.

    Both are written under a name of this attempt's own and renamed, the report last: a shard with a report is done.
    The bytes depend on the shard, the settings and the files alone.

    Args:
        shard: the pictures.
        settings: the job's.
        output: folder of the dataset; None to check the pictures and write no record.
        reports: folder of the reports.
        tick: called with the number of pictures done since the last call.
    """
    report = ShardReport()
    path = f"{output}/{shard.name}"
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    with nullcontext() if output is None else tf.io.TFRecordWriter(temporary) as writer:
        for batch in _batches(checked_pictures(shard.pictures, settings, report, tick)):
            for record in encode_pictures(batch, settings, report):
                serialized = record.serialize()
                report.written += 1
                report.bytes += len(serialized)
                if writer is not None:
                    writer.write(serialized)
    if output is not None:
        tf.io.gfile.rename(temporary, path, overwrite=True)
    write_atomically(f"{reports}/{shard.key}.json", json.dumps(report.to_json(), sort_keys=True))
    return report


def checked_pictures(
    pictures: Sequence[PlannedPicture],
    settings: PreprocessSettings,
    report: ShardReport,
    tick: Callable[[int], None] | None = None,
) -> Iterator[CheckedPicture]:
    """Reads and checks pictures one after the other; what is kept out goes into `report`."""
    for number, group in groupby(pictures, key=lambda picture: picture[0]):
        source = settings.sources[number]
        ids = [picture_id for _, picture_id in group]
        for picture_id, raw in zip(ids, source.read(ids), strict=True):
            name = f"{settings.tree_name(source)}/{picture_id}"
            report.read += 1
            try:
                if isinstance(raw, RejectedError):
                    raise raw
                checked = check(raw, name, settings)
            except RejectedError as error:
                report.rejects.append(Reject(name, error.path, error.fault, error.message))
            else:
                yield checked
            if tick is not None:
                tick(1)


def check(raw: RawPicture, name: str, settings: PreprocessSettings) -> CheckedPicture:
    """Checks and repairs one picture and its objects.

    Raises:
        RejectedError: it cannot be used.
    """
    picture = check_picture(raw.data, raw.path, verify=settings.verify)
    truth = ground_truth(
        raw.annotation,
        picture,
        classes=settings.classes,
        convention=settings.convention,
        path=raw.annotation_path,
        min_size=settings.min_size,
        drop_empty=settings.drop_empty,
    )
    return CheckedPicture(name, PurePosixPath(raw.path).name, picture, truth)


def _batches(pictures: Iterator[CheckedPicture]) -> Iterator[list[CheckedPicture]]:
    batch, size = [], 0
    for picture in pictures:
        batch.append(picture)
        size += len(picture.picture.jpeg)
        if len(batch) == _BATCH_PICTURES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def encode_pictures(
    pictures: Sequence[CheckedPicture], settings: PreprocessSettings, report: ShardReport
) -> Iterator[Record]:
    """Encodes pictures and adds what was found to `report`; the records come in the same order."""
    counts = np.array([len(one.truth.labels) for one in pictures])
    boxes = np.concatenate([one.truth.boxes for one in pictures])
    labels = np.concatenate([one.truth.labels for one in pictures])
    targets, flipped = encode_and_mirror(boxes, counts, settings.spec)
    _count_objects(pictures, boxes, labels, counts, targets, settings, report)
    for one, plain_rows, flipped_rows in zip(pictures, targets.rows, flipped.rows, strict=True):
        yield Record(
            image=one.picture.jpeg,
            filename=one.filename,
            picture_id=one.name,
            boxes=one.truth.boxes,
            labels=one.truth.labels.tolist(),
            difficult=one.truth.difficult.tolist(),
            truncated=one.truth.truncated.tolist(),
            targets=targets.of(plain_rows, labels),
            flipped_targets=flipped.of(flipped_rows, labels),
        )


def _count_objects(
    pictures: Sequence[CheckedPicture],
    boxes: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    targets: "Targets",
    settings: PreprocessSettings,
    report: ShardReport,
) -> None:
    spec, names = settings.spec, settings.classes.names
    for one in pictures:
        report.findings.update(one.picture.repairs + one.truth.repairs)
        report.difficult += int(one.truth.difficult.sum())
    report.negatives += int((counts == 0).sum())
    report.objects.update(Counter(names[label - 1] for label in labels.tolist()))
    stages = np.searchsorted(stage_offsets(spec), targets.indices, side="right") - 1
    report.matches.update(Counter(spec.feature_maps[stage].name for stage in stages.tolist()))
    report.unmatched += len(boxes) - len(np.unique(targets.objects))
    overlaps = best_overlaps(boxes, targets.highest, spec)
    for name, counted in histograms(boxes, counts, overlaps).items():
        report.add_counts(name, counted)
    below = np.flatnonzero(overlaps < spec.match_iou)
    report.unreached += len(below)
    owners = np.repeat(np.arange(len(pictures)), counts)
    report.add_worst(
        PoorlyReached(round(float(overlaps[i]), 4), pictures[owners[i]].name, names[labels[i] - 1]) for i in below
    )


@dataclass(frozen=True)
class Targets:
    """The matched default boxes of several pictures as arrays; the fields are those of `BatchTargets`.

    Attributes:
        rows: the rows of each picture.
        objects: int32 ``[M]``.
        indices: int32 ``[M]``.
        offsets: float32 ``[M, 4]``.
        highest: float32 ``[N]``.
    """

    rows: Sequence[slice]
    objects: np.ndarray
    indices: np.ndarray
    offsets: np.ndarray
    highest: np.ndarray

    def of(self, rows: slice, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices, labels and offsets of the picture with these rows."""
        return self.indices[rows], labels[self.objects[rows]], self.offsets[rows]


def encode_and_mirror(boxes: np.ndarray, counts: np.ndarray, spec: Spec) -> tuple[Targets, Targets]:
    """Targets of pictures, and of their mirror images.

    Args:
        boxes: of all objects, picture after picture, float32 ``[N, 4]``.
        counts: number of objects of each picture ``[B]``.
        spec: default boxes, matching and coder.
    """
    count = len(counts)
    owners = np.repeat(np.arange(count, dtype=np.int32), counts)
    encoded = (array.numpy() for array in _encoder(spec)(boxes, owners, count))
    pictures, objects, indices, offsets, highest = encoded
    ends = np.searchsorted(pictures, np.arange(2 * count + 1))  # [2B + 1]: where the rows of each picture begin

    def half(bounds: np.ndarray, first_object: int) -> Targets:
        part = slice(bounds[0], bounds[-1])
        rows = [slice(*pair) for pair in pairwise((bounds - bounds[0]).tolist())]
        own = slice(first_object, first_object + len(boxes))
        return Targets(rows, objects[part] - first_object, indices[part], offsets[part], highest[own])

    return half(ends[: count + 1], 0), half(ends[count:], len(boxes))


@lru_cache(maxsize=8)
def _encoder(spec: Spec) -> Any:
    """`encode_batch` for pictures and, behind them, their mirror images; compiled once in a worker."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32)
        ],
        autograph=False,
    )  # fmt: skip
    def encode(boxes: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tuple:
        both = tf.concat([boxes, box_ops.flip(boxes)], axis=0)
        return encode_batch(both, tf.concat([owners, owners + count], axis=0), 2 * count, spec)

    return encode
