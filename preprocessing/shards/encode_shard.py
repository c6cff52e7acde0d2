"""Encoding one shard: from the names of its images to one file of records and its report."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import tensorflow as tf

from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import sealed, storage_errors, temporary_path, write_atomically
from ssd300.datasets.record import Record
from ssd300.datasets.sources.base import RawPicture, Source
from ssd300.model.default_boxes import stage_offsets
from ssd300.preprocessing.encoding.targets import Targets, encode_and_mirror
from ssd300.preprocessing.plan import PlannedPicture, Shard
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.checked_picture import CheckedPicture, check_raw_picture
from ssd300.preprocessing.shards.copies import augmented_copies
from ssd300.preprocessing.shards.object_statistics import best_overlaps, histograms
from ssd300.preprocessing.shards.shard_report import PoorlyReached, Reject, ShardReport
from ssd300.preprocessing.support.progress import ticker

# Images are encoded together, as many as this or as fill so many bytes: the encoding is cheap in batches, and a
# worker holds no more than one of them.
_BATCH_PICTURES, _BATCH_BYTES = 64, 32_000_000


@dataclass(frozen=True)
class ShardWork:
    """What is to be done with the shards of a job."""

    settings: PreprocessSettings  # the job's
    output: str | None  # folder of the dataset; None to check the images and write no record
    reports: str  # folder of the shards' reports
    progress: str | None = None  # folder of the progress files, None on other machines than the launcher's

    def paths(self, shard: Shard) -> list[str]:
        """Paths of the files of a shard: its records, then each augmented copy; none if nothing is written."""
        if self.output is None:
            return []
        copies = range(1, self.settings.number_of_copies(shard.split) + 1)
        return [f"{self.output}/{name}" for name in (shard.name, *map(shard.copy_name, copies))]

    def report_path(self, shard: Shard) -> str:
        """Path of the report of a shard."""
        return f"{self.reports}/{shard.key}.json"


def encode_shard(shard: Shard, work: ShardWork) -> ShardReport:
    """Writes the files of a shard and its report, each atomically.

    All are written under a name of this attempt's own and renamed, the report last: a shard with a report is done.
    The bytes depend on the shard, the settings and the source files only.

    Raises:
        StorageError: a file could not be read or written. Nothing of the shard is left then.
    """
    # On the CPU always: a GPU's logarithm may differ in its last bit.
    with tf.device("/CPU:0"), ExitStack() as stack:
        files = [stack.enter_context(_RecordFile(path)) for path in work.paths(shard)]
        report = _write_records(shard, work, files)
        for file in files:
            file.finish()
    write_atomically(work.report_path(shard), sealed(json.dumps(report.to_json(), sort_keys=True)))
    return report


class _RecordFile:
    """A file of records that appears when it is finished, and names itself when it cannot be written."""

    def __init__(self, path: str) -> None:
        self._path, self._temporary = path, temporary_path(path)

    def __enter__(self) -> "_RecordFile":
        with storage_errors(self._path):
            self._writer = tf.io.TFRecordWriter(self._temporary)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(tf.errors.OpError):
                self._writer.close()
            with suppress(tf.errors.OpError):
                tf.io.gfile.remove(self._temporary)

    def write(self, record: bytes) -> None:
        with storage_errors(self._path):
            self._writer.write(record)

    def finish(self) -> None:
        with storage_errors(self._path):
            self._writer.close()
            tf.io.gfile.rename(self._temporary, self._path, overwrite=True)


def _write_records(shard: Shard, work: ShardWork, files: Sequence[_RecordFile]) -> ShardReport:
    """Writes the records of a shard and of its copies into the files; none if there is no file."""
    settings, copies = work.settings, files[1:]
    report = ShardReport(copy_bytes=[0] * len(copies))
    tick = None if work.progress is None else ticker(work.progress)
    for batch in _batches(checked_pictures(shard.pictures, settings, report, tick)):
        for record in encode_pictures(batch, settings, report):
            serialized = record.serialize()
            report.written += 1
            report.bytes += len(serialized)
            if files:
                files[0].write(serialized)
        for number, file in enumerate(copies):
            for record in augmented_copies(batch, number + 1, settings):
                serialized = record.serialize()
                report.copy_bytes[number] += len(serialized)
                report.copy_objects += len(record.labels)
                report.copy_matches += len(record.targets[0])
                file.write(serialized)
    return report


def checked_pictures(
    pictures: Sequence[PlannedPicture],
    settings: PreprocessSettings,
    report: ShardReport,
    tick: Callable[[int], None] | None = None,
) -> Iterator[CheckedPicture]:
    """Reads and checks images one after the other; what is kept out goes into `report`."""
    for number, group in groupby(pictures, key=lambda picture: picture[0]):
        source = settings.sources[number]
        ids = [picture_id for _, picture_id in group]
        for picture_id, raw in zip(ids, _read(source, ids), strict=True):
            name = f"{settings.tree_name(source)}/{picture_id}"
            report.read += 1
            try:
                if isinstance(raw, RejectedError):
                    raise raw
                checked = check_raw_picture(raw, name, settings)
            except RejectedError as error:
                report.rejects.append(Reject(name, error.path, error.fault, error.message))
            else:
                yield checked
            if tick is not None:
                tick(1)


def _read(source: Source, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
    """What `source.read` gives. That the launcher could list it, and it cannot be read here, is the storage's fault."""
    with storage_errors(str(source), "read"):
        try:
            yield from source.read(ids)
        except InputError as error:
            raise StorageError(str(source), str(error)) from None


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
    """Encodes images and adds what was found to `report`; the records come in the same order."""
    counts = np.array([len(one.truth.labels) for one in pictures])
    boxes = np.concatenate([one.truth.boxes for one in pictures])
    labels = np.concatenate([one.truth.labels for one in pictures])
    targets, flipped = encode_and_mirror(boxes, counts, settings.spec)
    _count_objects(pictures, boxes, labels, counts, targets, settings, report)
    for one, plain_rows, flipped_rows in zip(pictures, targets.rows, flipped.rows, strict=True):
        yield one.record(targets.of(plain_rows, labels), flipped.of(flipped_rows, labels))


def _count_objects(
    pictures: Sequence[CheckedPicture],
    boxes: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    targets: Targets,
    settings: PreprocessSettings,
    report: ShardReport,
) -> None:
    spec, classes = settings.spec, settings.classes
    for one in pictures:
        report.findings.update(one.picture.repairs + one.truth.repairs)
        report.difficult += int(one.truth.difficult.sum())
    report.negatives += int((counts == 0).sum())
    report.objects.update(Counter(map(classes.name, labels.tolist())))
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
        PoorlyReached(round(float(overlaps[i]), 4), pictures[owners[i]].name, classes.name(labels[i])) for i in below
    )
