"""The report of a job: by split and in total, the file of rejects, and the summary for people."""

import json
from collections import Counter

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources import Source
from ssd300.model.spec import PAPER
from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.report import build_report, commonest, rejected_lines, summary
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shard_report import Reject, ShardReport


def reject(number: int, fault: str = "no_area") -> Reject:
    return Reject(
        f"VOC2007/{number}", f"VOC2007/Annotations/{number}.xml", fault, f"object \u2018{number}\u2019 is bad"
    )


@pytest.fixture
def report():
    settings = PreprocessSettings(
        sources=(Source("train", "VOC2007", "trainval"), Source("test", "VOC2007", "test")),
        classes=ClassList(("zebra", "ant", "mole")),
    )
    shards = (
        Shard("train", 0, 2, ((0, "1"), (0, "2"), (0, "3"))),
        Shard("train", 1, 2, ((0, "4"), (0, "5"))),
        Shard("test", 0, 1, ((1, "6"),)),
    )
    reports = {
        "train-00000": ShardReport(
            3, 1, [reject(1), reject(2, "empty_picture")], Counter(clipped_box=2), Counter(zebra=4, ant=1), 2, 0,
            Counter(conv4_3=30), 1, 1000,
        ),
        "train-00001": ShardReport(
            2, 1, [reject(4)], Counter(clipped_box=1, wrong_size=1), Counter(ant=2), 0, 0, Counter(fc7=5), 0, 500
        ),
        "test-00000": ShardReport(1, 1, [], Counter(), Counter(), 0, 1, Counter(), 0, 2_000_000),
    }  # fmt: skip
    return build_report(Plan(settings, shards, listed_twice=7), reports)


def test_splits_and_total_add_up(report):
    train, test, whole = report["splits"]["train"], report["splits"]["test"], report["total"]
    assert (train["read"], train["written"], train["rejected"]) == (5, 2, 3)
    assert (test["read"], test["written"], test["rejected"], test["negatives"]) == (1, 1, 0, 1)
    assert (whole["read"], whole["written"], whole["rejected"]) == (6, 3, 3)
    assert whole["rejected_by_fault"] == {"no_area": 2, "empty_picture": 1}
    assert whole["repaired"] == {"clipped_box": 3, "wrong_size": 1}
    assert (whole["difficult"], whole["unmatched_objects"], whole["bytes"]) == (2, 1, 2_001_500)
    assert whole["listed_twice"] == 7


def test_all_classes_and_feature_maps_are_listed_in_their_order(report):
    whole = report["total"]
    assert list(whole["objects"].items()) == [("zebra", 4), ("ant", 3), ("mole", 0)]
    assert list(whole["matches"]) == [feature_map.name for feature_map in PAPER.feature_maps]
    assert (whole["matches"]["conv4_3"], whole["matches"]["fc7"], whole["matches"]["conv11_2"]) == (30, 5, 0)


def test_the_report_is_json(report):
    assert json.loads(json.dumps(report)) == report


def test_rejects_are_one_json_object_a_line():
    text = rejected_lines([reject(1), reject(2, "empty_picture")])
    assert text.endswith("\n")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["fault"] for row in rows] == ["no_area", "empty_picture"]
    assert rows[0] == {
        "picture": "VOC2007/1",
        "path": "VOC2007/Annotations/1.xml",
        "fault": "no_area",
        "message": "object \u20181\u2019 is bad",
    }
    assert rejected_lines([]) == ""


def test_a_reject_whose_message_has_line_breaks_stays_one_line():
    broken = Reject("p", "a\nb.xml", "no_area", "one\ntwo\u2028three")
    assert len(rejected_lines([broken]).split("\n")) == 2
    assert json.loads(rejected_lines([broken]))["message"] == "one\ntwo\u2028three"


def test_the_commonest_faults_come_first_with_an_example():
    rejects = [reject(9, "empty_picture"), *(reject(number) for number in range(1200)), reject(7, "bad_number")]
    lines = commonest(rejects, most=2).splitlines()
    assert len(lines) == 2
    assert "1,200" in lines[0]
    assert "no_area" in lines[0]
    assert "VOC2007/Annotations/0.xml" in lines[0]
    assert "empty_picture" in lines[1]


def test_the_summary_has_a_line_for_each_split_and_the_faults(report):
    text = summary(report)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["train"] == ["5", "2", "3", "7", "35", "0.0"]
    assert rows["test"] == ["1", "1", "0", "0", "0", "2.0"]
    assert rows["total"] == ["6", "3", "3", "7", "35", "2.0"]
    assert "zebra 4, ant 3, mole 0" in text
    assert "clipped_box 3, wrong_size 1" in text
    assert "no_area 2, empty_picture 1" in text
    assert "no default box matches: 1" in text


def test_the_summary_of_a_clean_job_has_no_lines_of_faults(report):
    for part in (report["total"], *report["splits"].values()):
        part.update(rejected=0, rejected_by_fault={}, repaired={}, unmatched_objects=0)
    assert "repaired" not in summary(report)
    assert "rejected:" not in summary(report)
    assert "no default box" not in summary(report)
