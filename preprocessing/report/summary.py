"""The report of a job: what goes into ``report.json`` and ``rejected.jsonl``, and a summary for people."""

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from ssd300.datasets.classes import ClassList, alike
from ssd300.datasets.faults import FAULTS
from ssd300.preprocessing.plan import Plan
from ssd300.preprocessing.shards.shard_report import Reject, ShardReport, total


def build_report(plan: Plan, shards: dict[str, ShardReport]) -> dict[str, Any]:
    """The report of a job whose every shard has a verified report: by split and in total."""
    parts = {}
    for split in plan.splits:
        parts[split] = total(shards[shard.key] for shard in plan.of_split(split))
        parts[split].findings.update(plan.findings[split])
    splits = {split: _totals(part, plan) for split, part in parts.items()}
    return {"total": _totals(total(parts.values()), plan), "splits": splits}


def _totals(report: ShardReport, plan: Plan) -> dict[str, Any]:
    faults = Counter(reject.fault for reject in report.rejects)
    return {
        "read": report.read,
        "written": report.written,
        "rejected": len(report.rejects),
        "rejected_by_fault": dict(faults.most_common()),
        "repaired": _with_action(report.findings, "repaired"),
        "kept": _with_action(report.findings, "kept"),
        "ignored": _with_action(report.findings, "ignored"),
        "negatives": report.negatives,
        "objects": {name: report.objects[name] for name in plan.settings.classes.names},
        "difficult": report.difficult,
        "matches": {stage.name: report.matches[stage.name] for stage in plan.settings.spec.feature_maps},
        "unmatched_objects": report.unmatched,
        "unreached_objects": report.unreached,
        "worst_reached": [asdict(one) for one in report.worst],
        "histograms": {name: dict(sorted(c.items(), key=_bin)) for name, c in sorted(report.histograms.items())},
        "bytes": report.bytes,
        "copies": {
            "number": len(report.copy_bytes),
            "objects": report.copy_objects,
            "matches": report.copy_matches,
            "bytes": sum(report.copy_bytes),
        },
    }


def _with_action(findings: Counter[str], action: str) -> dict[str, int]:
    return {name: findings[name] for name, fault in FAULTS.items() if fault.action == action and findings[name]}


def _bin(entry: tuple[str, int]) -> int:
    return int(entry[0])


def rejected_lines(rejects: list[Reject]) -> str:
    """One line of JSON for each rejected image."""
    return "".join(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects)


def summary(report: dict[str, Any]) -> str:
    """The report as a few lines of text."""
    lines = [f"{'split':<14}{'read':>10}{'written':>10}{'rejected':>10}{'objects':>10}{'matches':>10}{'MB':>10}"]
    for name, part in {**report["splits"], "total": report["total"]}.items():
        objects, matches = sum(part["objects"].values()), sum(part["matches"].values())
        lines.append(
            f"{name:<14}{part['read']:>10,}{part['written']:>10,}{part['rejected']:>10,}{objects:>10,}{matches:>10,}"
            f"{part['bytes'] / 1e6:>10.1f}"
        )
    for name, part in report["splits"].items():
        copies = part["copies"]
        if copies["number"]:
            label = f"{name}, {copies['number']} {'copy' if copies['number'] == 1 else 'copies'}"
            lines.append(
                f"{label:<24}{part['written'] * copies['number']:>10,}{copies['objects']:>20,}{copies['matches']:>10,}"
                f"{copies['bytes'] / 1e6:>10.1f}"
            )
    whole = report["total"]
    lines += ["", "objects by class:  " + _counts(whole["objects"])]
    lines += ["matches by stage:  " + _counts(whole["matches"])]
    for title, key in (("repaired",) * 2, ("kept",) * 2, ("rejected", "rejected_by_fault"), ("ignored",) * 2):
        if whole[key]:
            lines += [f"{title + ':':<19}" + _counts(whole[key])]
    groups = alike(ClassList(tuple(whole["objects"])))
    if groups:
        named = "; ".join(", ".join(map(repr, group)) for group in groups)
        lines += [f"classes that differ in case or spaces alone: {named}; a class list with one of each merges them"]
    if whole["unreached_objects"]:
        objects = sum(whole["objects"].values())
        lines += [
            "objects that no default box reaches at the matching threshold: "
            f"{whole['unreached_objects']:,} of {objects:,}"
        ]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
