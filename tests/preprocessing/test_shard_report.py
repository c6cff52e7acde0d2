"""Shard reports: plain data, into JSON and back, and their sum."""

import json
from collections import Counter
from dataclasses import fields

from ssd300.preprocessing.shard_report import Reject, ShardReport, total


def one() -> ShardReport:
    return ShardReport(
        read=5,
        written=4,
        rejects=[Reject("VOC2007/caf\u00e9", "a/b.xml", "no_area", "object 'x' has no area")],
        repaired=Counter(clipped_box=2, not_jpeg=1),
        objects=Counter(ant=3, bee=1),
        difficult=2,
        negatives=1,
        matches=Counter(conv4_3=20, fc7=4),
        unmatched=1,
        bytes=12345,
    )


def test_a_report_goes_through_json():
    again = ShardReport.from_json(json.loads(json.dumps(one().to_json())))
    assert again == one()
    assert isinstance(again.repaired, Counter)
    assert again.repaired["exif_rotated"] == 0


def test_the_same_report_gives_the_same_text():
    assert json.dumps(one().to_json(), sort_keys=True) == json.dumps(one().to_json(), sort_keys=True)


def test_total_adds_every_field():
    added = total([one(), one(), ShardReport(read=1, written=1, repaired=Counter(wrong_size=7))])
    assert (added.read, added.written, added.difficult, added.negatives) == (11, 9, 4, 2)
    assert (added.unmatched, added.bytes) == (2, 24690)
    assert added.rejects == one().rejects * 2
    assert added.repaired == Counter(clipped_box=4, not_jpeg=2, wrong_size=7)
    assert added.objects == Counter(ant=6, bee=2)
    assert added.matches == Counter(conv4_3=40, fc7=8)


def test_total_of_nothing_is_zero_in_every_field():
    assert not any(getattr(total([]), field.name) for field in fields(ShardReport))


def test_total_leaves_its_parts_alone():
    parts = [one(), one()]
    total(parts)
    assert parts == [one(), one()]
