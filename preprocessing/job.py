"""The preprocessing job: plan, encode by Beam, verify against the files, and only then make it a dataset."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Any

import tensorflow as tf

from ssd300.datasets import record
from ssd300.preprocessing import beam_pipeline, identity
from ssd300.preprocessing.atomic_file import write_atomically
from ssd300.preprocessing.plan import Plan, Shard, make_plan
from ssd300.preprocessing.progress import ProgressBar
from ssd300.preprocessing.report import build_report, commonest, rejected_lines
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shard_report import ShardReport
from ssd300.preprocessing.verify import standing_shards

_ATTEMPTS = 3  # a runner may lose a shard now and then; one that always does is broken
_PICTURES_A_WORKER = 2000  # fewer are encoded before a second process has imported TensorFlow
_LOG = logging.getLogger(__name__)


class JobError(RuntimeError):
    """A job that could not end with a dataset."""


class TooManyRejectsError(JobError):
    """A job rejected a larger share of its pictures than its limit."""


def preprocess(
    settings: PreprocessSettings,
    output: str,
    *,
    beam_arguments: Sequence[str] = (),
    workers: int | None = None,
    max_rejected: float = 0.01,
) -> dict[str, Any]:
    """Encodes the sources into a TFDS dataset in the folder `output` and returns its report.

    A job that was killed goes on from the shards that stand when it is run again. Until the end the folder holds no
    file ``COMPLETED`` and no TFDS metadata, so nothing takes it for a dataset.

    Args:
        settings: what to encode and how.
        output: a folder, new or of the same job; any path that ``tf.io.gfile`` knows.
        beam_arguments: Beam's own options, such as ``--runner=FlinkRunner``.
        workers: processes on this machine, for the local runner; the number of cores by default, fewer for a small
            job. The records do not depend on it.
        max_rejected: share of rejected pictures over which the job fails.

    Raises:
        ValueError: an argument, source or folder cannot be used.
        JobError: shards are missing after three attempts, or too many pictures were rejected.
    """
    if not 0 <= max_rejected <= 1:
        raise ValueError(f"max_rejected is a share and must be in [0, 1], got {max_rejected}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    output = output.rstrip("/")
    if not output:
        raise ValueError("the output must be a folder, got an empty path or the root")
    options = beam_pipeline.pipeline_options(beam_arguments)
    plan = make_plan(settings)
    work = f"{output}/.work"
    if _is_complete(plan, output):
        _LOG.info("%s is complete already", output)
        if tf.io.gfile.exists(work):  # a kill between the marker and the end
            tf.io.gfile.rmtree(work)
        return read_report(output)
    _claim(plan, output, work)

    if workers is None:
        workers = max(1, min(os.cpu_count() or 1, plan.pictures // _PICTURES_A_WORKER))
    reports = f"{work}/reports"
    standing = standing_shards(plan, output=output, reports=reports)
    # On this machine's disk the workers can show their progress, and be several processes.
    progress = f"{work}/progress" if beam_pipeline.is_local(options) and "://" not in output else None
    for _ in range(_ATTEMPTS):
        missing = [shard for shard in plan.shards if shard.key not in standing]
        if not missing:
            break
        with ExitStack() as stack:
            if progress is not None:
                done = plan.pictures - sum(len(shard.pictures) for shard in missing)
                tf.io.gfile.rmtree(progress)
                tf.io.gfile.makedirs(progress)
                stack.enter_context(ProgressBar(progress, pictures=plan.pictures, done=done))
            if progress is not None and workers > 1 and len(missing) > 1:
                _run_processes(missing, work, min(workers, len(missing)), beam_arguments)
            else:
                beam_pipeline.run_pipeline(
                    missing, settings, output=output, reports=reports, progress=progress, options=options
                )
        standing = standing_shards(plan, output=output, reports=reports)
    lost = [shard.name for shard in plan.shards if shard.key not in standing]
    if lost:
        raise JobError(
            f"{len(lost)} of {len(plan.shards)} shards are not there, or disagree with their reports, after {_ATTEMPTS}"
            f" attempts: {', '.join(lost[:5])}; run the same command again to go on"
        )
    return _finish(plan, standing, output=output, work=work, max_rejected=max_rejected)


def read_report(dataset: str) -> dict[str, Any]:
    """``report.json`` of a dataset."""
    with tf.io.gfile.GFile(f"{dataset}/report.json", "rb") as file:
        return json.loads(file.read())


def _is_complete(plan: Plan, output: str) -> bool:
    marker = f"{output}/{identity.COMPLETED}"
    if not tf.io.gfile.exists(marker):
        return False
    with tf.io.gfile.GFile(marker, "rb") as file:
        if json.loads(file.read())["plan"] == plan.digest():
            return True
    raise ValueError(f"{output} holds another dataset, made by another plan; choose another folder or remove it")


def _claim(plan: Plan, output: str, work: str) -> None:
    """Makes the folder ready for this plan, new or to go on with."""
    path = f"{work}/plan.json"
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            if Plan.from_json(file.read().decode()).digest() != plan.digest():
                raise ValueError(
                    f"{output} holds an unfinished job with another plan (other sources, classes, preset, seed, ...); "
                    "run its own command to finish it, choose another folder or remove it"
                )
        return
    try:
        # A kill may have come before the plan was there: a lone work folder is nobody else's.
        if tf.io.gfile.exists(output) and set(_names(output)) - {PurePosixPath(work).name}:
            raise ValueError(f"{output} is not empty and holds no job of ssd300; choose another folder")
        for folder in ("reports", "progress"):
            tf.io.gfile.makedirs(f"{work}/{folder}")
        write_atomically(path, plan.to_json())
    except tf.errors.OpError as error:
        raise ValueError(f"{output} cannot be the folder of a dataset: {error.message}") from None


def _names(folder: str) -> list[str]:
    return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]


def _run_processes(shards: Sequence[Shard], work: str, workers: int, beam_arguments: Sequence[str]) -> None:
    """Runs an in-memory Beam pipeline in each of several processes, over disjoint shards.

    Beam's own multi-processing on one machine loses elements now and then; separate pipelines have nothing to lose.
    """
    processes: list[subprocess.Popen] = []
    try:
        for number in range(workers):
            task = f"{work}/worker-{number}.json"
            keys = [shard.key for shard in shards[number::workers]]
            write_atomically(task, json.dumps({"shards": keys, "beam_arguments": list(beam_arguments)}))
            processes.append(subprocess.Popen([sys.executable, "-m", "ssd300.preprocessing.local_worker", work, task]))
        failed = [process.args for process in processes if process.wait() != 0]
    finally:
        for process in processes:
            process.kill()
    if failed:
        _LOG.warning("%d of %d workers died; their missing shards are run again", len(failed), workers)


def _finish(
    plan: Plan, shards: dict[str, ShardReport], *, output: str, work: str, max_rejected: float
) -> dict[str, Any]:
    """Writes what makes the folder a dataset, in an order in which a kill at any moment leaves none or all of it."""
    report = build_report(plan, shards)
    rejects = [reject for shard in plan.shards for reject in shards[shard.key].rejects]
    write_atomically(f"{output}/rejected.jsonl", rejected_lines(rejects))
    whole = report["total"]
    if whole["read"] != plan.pictures or whole["read"] != whole["written"] + whole["rejected"]:
        raise JobError(f"the account does not add up: {plan.pictures} planned, {whole}")
    empty = [split for split, part in report["splits"].items() if not part["written"]]
    if whole["rejected"] > max_rejected * whole["read"] or empty:
        # So that the same command looks at these pictures again, when they have been mended.
        for shard in plan.shards:
            if shards[shard.key].rejects:
                tf.io.gfile.remove(f"{work}/reports/{shard.key}.json")
        problem = (
            f"no picture of split {', '.join(empty)} could be used"
            if empty
            else f"{whole['rejected']:,} of {whole['read']:,} pictures were rejected, more than the limit of "
            f"{max_rejected:.2%} (--max-rejected)"
        )
        raise TooManyRejectsError(
            f"{problem}; all rejects are in {output}/rejected.jsonl, the commonest reasons:\n{commonest(rejects)}"
        )
    made = identity.identity_of(plan)
    write_atomically(f"{output}/report.json", json.dumps(report, indent=2))
    write_atomically(f"{output}/{identity.FILE_NAME}", made.to_json())
    for name in _names(output):
        if ".tmp-" in name:
            tf.io.gfile.remove(f"{output}/{name}")
    _write_tfds_metadata(plan, shards, output)
    write_atomically(
        f"{output}/{identity.COMPLETED}", json.dumps({"fingerprint": made.fingerprint, "plan": plan.digest()})
    )
    tf.io.gfile.rmtree(work)
    return report


def _write_tfds_metadata(plan: Plan, shards: dict[str, ShardReport], output: str) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=output, dataset_name=record.DATASET_NAME, filetype_suffix="tfrecord"
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shards[shard.key].written for shard in plan.of_split(split)],
            num_bytes=sum(shards[shard.key].bytes for shard in plan.of_split(split)),
            filename_template=template.replace(split=split),
        )
        for split in plan.splits
    ]
    names = ", ".join(PurePosixPath(source.root).name for source in plan.settings.sources)
    tfds.folder_dataset.write_metadata(
        data_dir=output,
        features=record.tfds_features(plan.settings.classes.with_background),
        split_infos=infos,
        version=record.VERSION,
        filename_template=template,
        check_data=False,
        description=f"Pascal-VOC pictures ({names}), encoded for SSD300, preset {plan.settings.preset}.",
    )
