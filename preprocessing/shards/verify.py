"""Verifying a job on its files: which shards of the plan are finished.

Counters prove nothing: local Beam runners with several workers have lost elements and still counted all of them. So the
records are counted in the files, and each report must agree with its file and with the plan.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from ssd300.datasets.files import unsealed
from ssd300.datasets.record_files import FOOTER, HEADER, count_records
from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.shards.encode_shard import ShardWork
from ssd300.preprocessing.shards.shard_report import ShardReport

_THREADS = 16  # most of the work is waiting for file systems


def finished_shards(plan: Plan, work: ShardWork) -> dict[str, ShardReport]:
    """Reports, by shard key, of the shards whose files and report exist and agree with each other and the plan.

    Where the job writes no records, as when it only checks, only the reports count.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = zip(plan.shards, pool.map(lambda shard: _verified_report(shard, work), plan.shards), strict=True)
        return {shard.key: report for shard, report in found if report is not None}


def _verified_report(shard: Shard, work: ShardWork) -> ShardReport | None:
    paths = work.paths(shard)
    try:
        report = ShardReport.from_json(json.loads(unsealed(work.report_path(shard))))
        sizes = [report.bytes, *report.copy_bytes][: len(paths)]
        whole = all(_has_records(path, report.written, size) for path, size in zip(paths, sizes, strict=True))
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError):
        return None
    accounted = report.read == len(shard.pictures) == report.written + len(report.rejects)
    return report if accounted and whole else None


def _has_records(path: str, records: int, size: int) -> bool:
    """Whether a file holds what its report says: by its length and, where reading is cheap, by counting."""
    if tf.io.gfile.stat(path).length != size + records * (HEADER + FOOTER):
        return False
    # In an object store each record would cost a request.
    return "://" in path or count_records(path) == records
