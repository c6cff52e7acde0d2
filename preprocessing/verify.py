"""Verifying a job on its files: which shards of the plan stand, whole and accounted for.

Counters prove nothing: local Beam runners with several workers have lost elements and still counted all of them. So the
records are counted in the files, and each report must agree with its file and with the plan.
"""

import json
import struct

import tensorflow as tf

from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.shard_report import ShardReport

_LENGTH = struct.Struct("<Q")
# A TFRecord is its length (8 bytes), the length's checksum (4), the data, the data's checksum (4).
_HEADER, _FOOTER = 12, 4


def count_records(path: str) -> int:
    """Number of records in a TFRecord file, by walking its lengths.

    Raises:
        ValueError: the file does not end where its last record does.
    """
    size = tf.io.gfile.stat(path).length
    count = position = 0
    with tf.io.gfile.GFile(path, "rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(_HEADER)
            if len(header) == _HEADER:
                position += _HEADER + _LENGTH.unpack_from(header)[0] + _FOOTER
                count += 1
            if len(header) < _HEADER or position > size:
                raise ValueError(f"{path}: record {count} reaches over the end of the file ({size} bytes)")
    return count


def standing_shards(plan: Plan, *, output: str, reports: str) -> dict[str, ShardReport]:
    """Reports, by shard key, of the shards whose file and report are there and agree with each other and the plan."""
    standing = {}
    for shard in plan.shards:
        report = _verified_report(shard, f"{output}/{shard.name}", f"{reports}/{shard.key}.json")
        if report is not None:
            standing[shard.key] = report
    return standing


def _verified_report(shard: Shard, path: str, report_path: str) -> ShardReport | None:
    try:
        with tf.io.gfile.GFile(report_path, "rb") as file:
            report = ShardReport.from_json(json.loads(file.read()))
        records = count_records(path)
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError):
        return None
    accounted = report.read == len(shard.pictures) == report.written + len(report.rejects)
    return report if accounted and records == report.written else None
