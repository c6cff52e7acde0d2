"""Encoding all shards of a plan: missing ones again, where a runner lost some, until none is missing."""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import tensorflow as tf

from ssd300.datasets.errors import JobError
from ssd300.datasets.files import is_lasting, storage_errors
from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.runners.left_faults import left_faults, remove_faults
from ssd300.preprocessing.runners.local_workers import LocalWorkers, Task, run_task
from ssd300.preprocessing.runners.shard_list import write_shard_list
from ssd300.preprocessing.shards.encode_shard import ShardWork
from ssd300.preprocessing.shards.shard_report import ShardReport
from ssd300.preprocessing.shards.verify import finished_shards
from ssd300.preprocessing.support.progress import ProgressBar

_ATTEMPTS = 3  # a runner may lose a shard now and then; one that always does is broken
_LOG = logging.getLogger(__name__)


def encode_all(plan: Plan, execution: Execution, *, output: str | None, folder: str) -> dict[str, ShardReport]:
    """Has Beam encode the missing shards of a plan, until none is missing.

    Args:
        plan: the shards and how they are made.
        execution: runner and workers.
        output: folder of the dataset; None to check the images and write no record.
        folder: for what the job leaves to its next attempt.

    Returns:
        The verified reports by the shards' keys.

    Raises:
        JobError: shards are missing after three attempts; if files could not be read or written, it names one of them.
    """
    # On this machine's disk the workers can show their progress, and be several processes.
    progress = f"{folder}/progress" if execution.is_local and "://" not in folder else None
    work = ShardWork(plan.settings, output, f"{folder}/reports", progress)
    finished, faults = finished_shards(plan, work), []
    for attempt in range(_ATTEMPTS):
        missing = [shard for shard in plan.shards if shard.key not in finished]
        if not missing:
            break
        remove_faults(work.reports)
        try:
            _encode(missing, plan, work, execution, folder, ready=execution.ready_workers if attempt == 0 else None)
        except Exception:
            if execution.is_local or not left_faults(work.reports):
                raise
        finished, faults = finished_shards(plan, work), left_faults(work.reports)
        if any(map(is_lasting, faults)):
            break
        for fault in faults[:1]:
            _LOG.warning("%s (attempt %d of %d)", fault, attempt + 1, _ATTEMPTS)
    lost = [shard.name for shard in plan.shards if shard.key not in finished]
    if lost and faults:
        more = f" ({len(faults) - 1} more such faults)" if faults[1:] else ""
        raise JobError(
            f"{len(lost)} of {len(plan.shards)} shards could not be made: {faults[0]}{more}; "
            "run the same command again to resume"
        )
    if lost:
        raise JobError(
            f"{len(lost)} of {len(plan.shards)} shards are missing, or disagree with their reports, after {_ATTEMPTS} "
            f"attempts: {', '.join(lost[:5])}; run the same command again to resume"
        )
    return finished


def _encode(
    missing: Sequence[Shard],
    plan: Plan,
    work: ShardWork,
    execution: Execution,
    folder: str,
    *,
    ready: LocalWorkers | None,
) -> None:
    """One attempt at the missing shards."""
    lists = 1
    with ExitStack() as stack:
        if work.progress is not None:
            lists = min(execution.workers_for(plan.pictures), len(missing))
            done = plan.pictures - sum(len(shard.pictures) for shard in missing)
            with storage_errors(work.progress):
                if tf.io.gfile.exists(work.progress):
                    tf.io.gfile.rmtree(work.progress)
                tf.io.gfile.makedirs(work.progress)
            stack.enter_context(ProgressBar(work.progress, pictures=plan.pictures, done=done))
        paths = [f"{folder}/shards-{number}.jsonl" for number in range(lists)]
        tasks = [Task(path, work, tuple(execution.beam_arguments)) for path in paths]
        for number, path in enumerate(paths):
            write_shard_list(path, missing[number::lists])
        if lists == 1:
            run_task(tasks[0])
        else:
            _run_processes(tasks, ready)


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
