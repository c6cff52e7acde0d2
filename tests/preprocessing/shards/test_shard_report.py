"""Shard reports: plain data, into JSON and back, and their sum."""

import json
from collections import Counter
from dataclasses import fields

from ssd300.preprocessing.shards.shard_report import PoorlyReached, Reject, ShardReport, total


def one() -> ShardReport:
    return ShardReport(
        read=5,
        written=4,
        rejects=[Reject("VOC2007/caf\u00e9", "a/b.xml", "no_area", "object 'x' has no area")],
        findings=Counter(clipped_box=2, no_objects=1),
        objects=Counter(ant=3, bee=1),
        difficult=2,
        negatives=1,
        matches=Counter(conv4_3=20, fc7=4),
        unmatched=1,
        unreached=2,
        worst=[PoorlyReached(0.1, "VOC2007/caf\u00e9", "ant"), PoorlyReached(0.3, "VOC2007/2", "bee")],
        histograms={"iou": Counter({"2": 1, "13": 3}), "aspect": Counter({"-4": 4})},
        bytes=12345,
        copy_bytes=[700, 900],
        copy_objects=5,
        copy_matches=31,
    )


def test_a_report_goes_through_json():
    again = ShardReport.from_json(json.loads(json.dumps(one().to_json())))
    assert again == one()
    assert isinstance(again.findings, Counter)
    assert again.findings["exif_rotated"] == 0
    assert isinstance(again.histograms["iou"], Counter)


def test_the_same_report_gives_the_same_text():
    assert json.dumps(one().to_json(), sort_keys=True) == json.dumps(one().to_json(), sort_keys=True)


def test_total_adds_every_field():
    added = total([one(), one(), ShardReport(read=1, written=1, findings=Counter(wrong_size=7))])
    assert (added.read, added.written, added.difficult, added.negatives) == (11, 9, 4, 2)
    assert (added.unmatched, added.unreached, added.bytes) == (2, 4, 24690)
    assert (added.copy_bytes, added.copy_objects, added.copy_matches) == ([1400, 1800], 10, 62)
    assert added.rejects == one().rejects * 2
    assert added.findings == Counter(clipped_box=4, no_objects=2, wrong_size=7)
    assert added.worst == [one().worst[0]] * 2 + [one().worst[1]] * 2
    assert added.histograms == {"iou": {"2": 2, "13": 6}, "aspect": {"-4": 8}}
    assert added.objects == Counter(ant=6, bee=2)
    assert added.matches == Counter(conv4_3=40, fc7=8)


def test_the_ten_worst_objects_are_kept_the_worst_first():
    objects = [PoorlyReached((7 * number % 25) / 100, f"VOC2007/{number}", "ant") for number in range(25)]
    report = ShardReport()
    for start in (0, 5, 20):
        report.add_worst(objects[start : {0: 5, 5: 20, 20: 25}[start]])
    assert [round(one.iou * 100) for one in report.worst] == list(range(10))
    assert total([ShardReport(worst=objects[:12]), ShardReport(worst=objects[12:])]).worst == report.worst


def test_copies_are_added_by_their_number_also_where_some_splits_have_fewer():
    parts = [ShardReport(copy_bytes=[5, 7]), ShardReport(), ShardReport(copy_bytes=[100, 200, 300])]
    assert total(parts).copy_bytes == [105, 207, 300]
    assert total(parts[:1] * 2).copy_bytes == [10, 14]
    assert parts[0].copy_bytes == [5, 7]


def test_total_of_nothing_is_zero_in_every_field():
    assert not any(getattr(total([]), field.name) for field in fields(ShardReport))


def test_total_leaves_its_parts_alone():
    parts = [one(), one()]
    total(parts)
    assert parts == [one(), one()]
