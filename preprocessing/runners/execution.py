"""Running a plan: Beam encodes the shards that do not stand, again where a runner lost some, until all do."""

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from ssd300.preprocessing.plan import Plan
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.runners.local_workers import LocalWorkers, Task, run_task
from ssd300.preprocessing.runners.shard_list import write_shard_list
from ssd300.preprocessing.shards.shard_report import ShardReport
from ssd300.preprocessing.shards.verify import standing_shards
from ssd300.preprocessing.support.progress import ProgressBar

_ATTEMPTS = 3  # a runner may lose a shard now and then; one that always does is broken
_PICTURES_A_WORKER = 2000  # fewer are encoded before a second process has imported TensorFlow
_LOG = logging.getLogger(__name__)


class JobError(RuntimeError):
    """A job that could not end with a dataset."""


@dataclass(frozen=True)
class Execution:
    """How a job runs; its records do not depend on it.

    Attributes:
        beam_arguments: Beam's own options, such as ``--runner=FlinkRunner``.
        workers: processes on this machine, for the local runner; the number of cores by default, fewer for a small
            job.
        ready_workers: local workers that are getting ready already.
    """

    beam_arguments: Sequence[str] = ()
    workers: int | None = None
    ready_workers: LocalWorkers | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        _ = self.options  # refuses what nobody knows

    @cached_property
    def options(self) -> PipelineOptions:
        """Beam's options."""
        return beam_pipeline.pipeline_options(self.beam_arguments)

    @property
    def is_local(self) -> bool:
        """Whether the job runs on this machine alone."""
        return beam_pipeline.is_local(self.options)

    def workers_for(self, plan: Plan) -> int:
        """How many local processes a plan gets."""
        if self.workers is not None:
            return self.workers
        return max(1, min(os.cpu_count() or 1, plan.pictures // _PICTURES_A_WORKER))


def encode_all(plan: Plan, execution: Execution, *, output: str | None, work: str) -> dict[str, ShardReport]:
    """Has Beam encode all shards of a plan that do not stand, until all do.

    Args:
        plan: the shards and how they are made.
        execution: runner and workers.
        output: folder of the dataset; None to check the pictures and write no record.
        work: folder for what the job leaves to its next attempt.

    Returns:
        The verified reports by the shards' keys.

    Raises:
        JobError: shards are missing after three attempts.
    """
    workers = execution.workers_for(plan)
    reports = f"{work}/reports"
    # On this machine's disk the workers can show their progress, and be several processes.
    progress = f"{work}/progress" if execution.is_local and "://" not in work else None
    standing = standing_shards(plan, output=output, reports=reports)
    for attempt in range(_ATTEMPTS):
        missing = [shard for shard in plan.shards if shard.key not in standing]
        if not missing:
            break
        with ExitStack() as stack:
            if progress is not None:
                done = plan.pictures - sum(len(shard.pictures) for shard in missing)
                if tf.io.gfile.exists(progress):
                    tf.io.gfile.rmtree(progress)
                tf.io.gfile.makedirs(progress)
                stack.enter_context(ProgressBar(progress, pictures=plan.pictures, done=done))
            lists = min(workers, len(missing)) if progress is not None else 1
            tasks = [
                Task(
                    f"{work}/shards-{number}.jsonl", plan.settings.to_json(), output, reports, progress,
                    tuple(execution.beam_arguments),
                )
                for number in range(lists)
            ]  # fmt: skip
            for number, task in enumerate(tasks):
                write_shard_list(task.shards, missing[number::lists])
            if lists == 1:
                run_task(tasks[0])
            else:
                _run_processes(tasks, execution.ready_workers if attempt == 0 else None)
        standing = standing_shards(plan, output=output, reports=reports)
    lost = [shard.name for shard in plan.shards if shard.key not in standing]
    if lost:
        raise JobError(
            f"{len(lost)} of {len(plan.shards)} shards are not there, or disagree with their reports, after {_ATTEMPTS}"
            f" attempts: {', '.join(lost[:5])}; run the same command again to go on"
        )
    return standing


def _run_processes(tasks: Sequence[Task], ready: LocalWorkers | None) -> None:
    """Runs an in-memory Beam pipeline in each of several processes, over disjoint shards."""
    threading.Thread(target=_import_for_the_end, daemon=True).start()
    with ready or LocalWorkers() as processes:
        died = processes.run(tasks)
    if died:
        _LOG.warning("%d of %d workers died; their missing shards are run again", died, len(tasks))


def _import_for_the_end() -> None:
    """Imports, while the workers encode, what takes seconds and only the job's end needs."""
    import tensorflow_datasets as tfds

    import ssd300.preprocessing.report.page  # noqa: F401

    _ = tfds.features.FeaturesDict
