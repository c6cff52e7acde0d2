"""The preprocessing job: plan, encode by Beam, verify against the files, and only then make it a dataset."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import tensorflow as tf

from ssd300.datasets.encoded_dataset import (
    COMPLETED,
    DATASET_NAME,
    IDENTITY,
    REJECTED,
    REPORT,
    REPORT_PAGE,
    Identity,
)
from ssd300.datasets.errors import InputError, JobError
from ssd300.datasets.faults import DROPPED_EMPTY, most_frequent
from ssd300.datasets.files import sha256, storage_errors, write_atomically
from ssd300.datasets.record import VERSION, tfds_features
from ssd300.datasets.sources.base import copy_split
from ssd300.preprocessing.job_folder import (
    CHECK,
    WORK,
    claim,
    complete_report,
    folder_path,
    is_complete,
    refuse_unusable,
    remove_folder,
    tidy,
    tidy_complete,
)
from ssd300.preprocessing.plan import Plan, make_plan
from ssd300.preprocessing.report.summary import build_report, rejected_lines
from ssd300.preprocessing.runners.encode_all import encode_all
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.identity import identity_of
from ssd300.preprocessing.shards.shard_report import Reject, ShardReport
from ssd300.preprocessing.support.lease import lease

_LOG = logging.getLogger(__name__)


class TooManyRejectsError(JobError):
    """A job rejected a larger share of its images than its limit.

    Attributes:
        report: the full report.
    """

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


def preprocess(settings: PreprocessSettings, output: str, execution: Execution = Execution()) -> dict[str, Any]:
    """Encodes the sources into a TFDS dataset in the folder `output` and returns its report.

    A job that was killed resumes from its finished shards when it is run again. Until the end the folder holds no file
    ``COMPLETED`` and no TFDS metadata, so nothing mistakes it for a dataset.

    Args:
        settings: what to encode and how.
        output: a folder, new or of the same job; any path that ``tf.io.gfile`` knows.
        execution: how the job runs; the records do not depend on it.

    Raises:
        InputError: an argument, source or folder cannot be used, or another job is in the folder.
        JobError: shards are missing after three attempts, or too many images were rejected.
        StorageError: a file of the launcher's own could not be read or written.
    """
    _ = execution.options  # refuses unknown ones before anything is listed
    output = folder_path(output)
    refuse_unusable(output, WORK)
    plan = make_plan(settings)
    identity = identity_of(plan)
    if is_complete(identity, output):
        _LOG.info("%s is complete already", output)
        tidy_complete(output)
        return complete_report(output)
    with _leased(output, "preprocess"):
        if is_complete(identity, output):  # another one has made it meanwhile
            return complete_report(output)
        claim(identity, output, WORK)
        shards = encode_all(plan, execution, output=output, folder=f"{output}/{WORK}")
        with storage_errors(output):
            return _finish(plan, identity, shards, output=output, max_rejected=execution.max_rejected)


def check(
    settings: PreprocessSettings, output: str | None = None, execution: Execution = Execution()
) -> dict[str, Any]:
    """Reads, checks and encodes all images as `preprocess` does, writes no record, and returns the report.

    Args:
        settings: what would be encoded and how.
        output: a folder for ``report.json``, ``report.html`` and ``rejected.jsonl``, new, empty or of an earlier check;
            None to leave nothing. Workers on other machines must see it.
        execution: how the job runs.

    Raises:
        InputError: an argument, source or folder cannot be used, or another job is in the folder.
        JobError: shards are missing after three attempts, or too many images would be rejected.
        StorageError: a file of the launcher's own could not be read or written.
    """
    if output is None and not execution.is_local:
        raise InputError("a check on other machines needs an output folder that they all see")
    with nullcontext(output) if output is not None else tempfile.TemporaryDirectory() as chosen:
        folder = folder_path(chosen)
        refuse_unusable(folder, CHECK)
        plan = make_plan(settings)
        with _leased(folder, "preprocess --check"):
            claim(identity_of(plan), folder, CHECK)
            shards = encode_all(plan, execution, output=None, folder=f"{folder}/{CHECK}")
            with storage_errors(folder):
                report, rejects = _write_report(plan, shards, folder, records=False)
                tidy(folder)
    _refuse_too_many(report, rejects, execution.max_rejected, where=output)
    return report


@contextmanager
def _leased(folder: str, what: str) -> Iterator[None]:
    with storage_errors(folder):
        tf.io.gfile.makedirs(folder)
    with lease(folder, what=what):
        yield


def _write_report(
    plan: Plan, shards: dict[str, ShardReport], folder: str, *, records: bool
) -> tuple[dict[str, Any], list[Reject]]:
    """Writes the report's files and returns the report and all rejects; `records` tells whether there are any."""
    from ssd300.preprocessing.report.page import dataset_page

    report = build_report(plan, shards)
    whole = report["total"]
    if whole["read"] != plan.pictures or whole["read"] != whole["written"] + whole["rejected"]:
        raise JobError(f"the totals do not add up: {plan.pictures} planned, {whole}")
    rejects = [reject for shard in plan.shards for reject in shards[shard.key].rejects]
    write_atomically(f"{folder}/{REJECTED}", rejected_lines(rejects))
    write_atomically(f"{folder}/{REPORT}", _report_text(report))
    write_atomically(f"{folder}/{REPORT_PAGE}", dataset_page(plan, report, rejects, folder if records else None))
    return report, rejects


def _refuse_too_many(report: dict[str, Any], rejects: list[Reject], limit: float, *, where: str | None) -> None:
    """Raises TooManyRejectsError if there are more rejects than the limit allows, or a split has nothing else."""
    whole = report["total"]
    empty = [split for split, part in report["splits"].items() if not part["written"]]
    bad = whole["rejected"] - whole["rejected_by_fault"].get(DROPPED_EMPTY, 0)
    if bad <= limit * whole["read"] and not empty:
        return
    if empty:
        problem = f"no image of split {', '.join(empty)} could be used"
    else:
        problem = f"{bad:,} of {whole['read']:,} images were rejected, more than the limit of {limit:.2%}"
    listed = "" if where is None else f"all rejects are in {where}/{REJECTED}, "
    raise TooManyRejectsError(f"{problem}; {listed}the most frequent reasons:\n{most_frequent(rejects)}", report)


def _finish(
    plan: Plan, identity: Identity, shards: dict[str, ShardReport], *, output: str, max_rejected: float
) -> dict[str, Any]:
    """Writes what makes the folder a dataset, in an order in which a kill at any moment leaves none or all of it."""
    report, rejects = _write_report(plan, shards, output, records=True)
    try:
        _refuse_too_many(report, rejects, max_rejected, where=output)
    except TooManyRejectsError:
        # So that the same job checks these images again after they have been repaired.
        for shard in plan.shards:
            if shards[shard.key].rejects:
                tf.io.gfile.remove(f"{output}/{WORK}/reports/{shard.key}.json")
        raise
    write_atomically(f"{output}/{IDENTITY}", identity.to_json())
    tidy(output)
    _write_tfds_metadata(plan, shards, output)
    marker = {"fingerprint": identity.fingerprint, "report": sha256(_report_text(report))}
    write_atomically(f"{output}/{COMPLETED}", json.dumps(marker))
    remove_folder(f"{output}/{WORK}")
    return report


def _report_text(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2)


def _write_tfds_metadata(plan: Plan, shards: dict[str, ShardReport], output: str) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(data_dir=output, dataset_name=DATASET_NAME, filetype_suffix="tfrecord")
    infos = []
    for split in plan.splits:
        reports = [shards[shard.key] for shard in plan.of_split(split)]
        sizes = {split: [report.bytes for report in reports]}
        for number in range(plan.settings.number_of_copies(split)):
            sizes[copy_split(split, number + 1)] = [report.copy_bytes[number] for report in reports]
        infos += [
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[report.written for report in reports],
                num_bytes=sum(size),
                filename_template=template.replace(split=name),
            )
            for name, size in sizes.items()
        ]
    names = ", ".join(dict.fromkeys(plan.settings.tree_name(source) for source in plan.settings.sources))
    tfds.folder_dataset.write_metadata(
        data_dir=output,
        features=tfds_features(plan.settings.classes.with_background),
        split_infos=infos,
        version=VERSION,
        filename_template=template,
        check_data=False,
        description=f"Pictures and objects of {names}, encoded for SSD300, preset {plan.settings.preset}.",
    )
