"""The report of a job: ``report.json`` in the dataset, ``rejected.jsonl`` beside it, and a summary for people."""

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from ssd300.preprocessing.plan import Plan
from ssd300.preprocessing.shard_report import Reject, ShardReport, total


def build_report(plan: Plan, shards: dict[str, ShardReport]) -> dict[str, Any]:
    """The report of a job whose every shard has a verified report: by split and in total."""
    splits = {
        split: _account(total(shards[shard.key] for shard in plan.of_split(split)), plan) for split in plan.splits
    }
    whole = total(shards[shard.key] for shard in plan.shards)
    return {"total": {**_account(whole, plan), "listed_twice": plan.listed_twice}, "splits": splits}


def _account(report: ShardReport, plan: Plan) -> dict[str, Any]:
    faults = Counter(reject.fault for reject in report.rejects)
    return {
        "read": report.read,
        "written": report.written,
        "rejected": len(report.rejects),
        "rejected_by_fault": dict(faults.most_common()),
        "repaired": dict(sorted(report.repaired.items())),
        "negatives": report.negatives,
        "objects": {name: report.objects[name] for name in plan.settings.classes.names},
        "difficult": report.difficult,
        "matches": {stage.name: report.matches[stage.name] for stage in plan.settings.spec.feature_maps},
        "unmatched_objects": report.unmatched,
        "bytes": report.bytes,
    }


def rejected_lines(rejects: list[Reject]) -> str:
    """One JSON object a line for each rejected picture."""
    return "".join(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects)


def commonest(rejects: list[Reject], most: int = 10) -> str:
    """The commonest faults among rejected pictures, each with its number and an example."""
    examples: dict[str, Reject] = {}
    for reject in rejects:
        examples.setdefault(reject.fault, reject)
    counts = Counter(reject.fault for reject in rejects).most_common(most)
    return "\n".join(
        f"  {count:>7,}  {fault}, for example {examples[fault].path}: {examples[fault].message}"
        for fault, count in counts
    )


def summary(report: dict[str, Any]) -> str:
    """The report as a few lines of text."""
    lines = [f"{'split':<14}{'read':>10}{'written':>10}{'rejected':>10}{'objects':>10}{'matches':>10}{'MB':>10}"]
    for name, part in {**report["splits"], "total": report["total"]}.items():
        objects, matches = sum(part["objects"].values()), sum(part["matches"].values())
        lines.append(
            f"{name:<14}{part['read']:>10,}{part['written']:>10,}{part['rejected']:>10,}{objects:>10,}{matches:>10,}"
            f"{part['bytes'] / 1e6:>10.1f}"
        )
    whole = report["total"]
    lines += ["", "objects by class:  " + _counts(whole["objects"])]
    lines += ["matches by stage:  " + _counts(whole["matches"])]
    if whole["repaired"]:
        lines += ["repaired:          " + _counts(whole["repaired"])]
    if whole["rejected_by_fault"]:
        lines += ["rejected:          " + _counts(whole["rejected_by_fault"])]
    if whole["unmatched_objects"]:
        lines += [f"objects that no default box matches: {whole['unmatched_objects']:,}"]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
