"""The report of a job: by split and in total, the file of rejects, and the summary for people."""

import json
from collections import Counter

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import most_frequent
from ssd300.datasets.sources.folder import FolderSource
from ssd300.model.spec import PAPER
from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.report.summary import build_report, rejected_lines, summary
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.shard_report import PoorlyReached, Reject, ShardReport


def reject(number: int, fault: str = "no_area") -> Reject:
    return Reject(
        f"VOC2007/{number}", f"VOC2007/Annotations/{number}.xml", fault, f"object \u2018{number}\u2019 is bad"
    )


@pytest.fixture
def report():
    settings = PreprocessSettings(
        sources=(FolderSource("train", "VOC2007", "trainval"), FolderSource("test", "VOC2007", "test")),
        classes=ClassList(("zebra", "ant", "mole")),
    )
    shards = (
        Shard("train", 0, 2, ((0, "1"), (0, "2"), (0, "3"))),
        Shard("train", 1, 2, ((0, "4"), (0, "5"))),
        Shard("test", 0, 1, ((1, "6"),)),
    )
    reports = {
        "train-00000": ShardReport(
            read=3, written=1, rejects=[reject(1), reject(2, "empty_picture")], findings=Counter(clipped_box=2),
            objects=Counter(zebra=4, ant=1), difficult=2, matches=Counter(conv4_3=30), unmatched=1, bytes=1000,
            unreached=2, worst=[PoorlyReached(0.2, "VOC2007/3", "ant"), PoorlyReached(0.4, "VOC2007/3", "zebra")],
            histograms={"aspect": Counter({"10": 1, "-3": 2, "2": 2})},
            copy_bytes=[2_000_000, 1_000_000], copy_objects=6, copy_matches=1200,
        ),
        "train-00001": ShardReport(
            read=2, written=1, rejects=[reject(4)], findings=Counter(wrong_size=1, clipped_box=1),
            objects=Counter(ant=2), matches=Counter(fc7=5), bytes=500,
            unreached=1, worst=[PoorlyReached(0.3, "VOC2007/5", "ant")],
            histograms={"aspect": Counter({"-3": 2})},
            copy_bytes=[300_000, 400_000], copy_objects=3, copy_matches=34,
        ),
        "test-00000": ShardReport(read=1, written=1, findings=Counter(no_objects=1), negatives=1, bytes=2_000_000),
    }  # fmt: skip
    findings = {"train": Counter(listed_twice=7, in_two_splits=1), "test": Counter(in_two_splits=1)}
    return build_report(Plan(settings, shards, findings), reports)


def test_splits_and_total_add_up(report):
    train, test, whole = report["splits"]["train"], report["splits"]["test"], report["total"]
    assert (train["read"], train["written"], train["rejected"]) == (5, 2, 3)
    assert (test["read"], test["written"], test["rejected"], test["negatives"]) == (1, 1, 0, 1)
    assert (whole["read"], whole["written"], whole["rejected"]) == (6, 3, 3)
    assert whole["rejected_by_fault"] == {"no_area": 2, "empty_picture": 1}
    assert whole["repaired"] == {"listed_twice": 7, "clipped_box": 3, "wrong_size": 1}
    assert (train["repaired"], test["repaired"]) == (whole["repaired"], {})
    assert whole["kept"] == {"no_objects": 1, "in_two_splits": 2}
    assert (train["kept"], test["kept"]) == ({"in_two_splits": 1}, {"no_objects": 1, "in_two_splits": 1})
    assert (whole["difficult"], whole["unmatched_objects"], whole["bytes"]) == (2, 1, 2_001_500)
    assert (whole["unreached_objects"], train["unreached_objects"], test["unreached_objects"]) == (3, 3, 0)
    assert [(one["iou"], one["picture"], one["name"]) for one in whole["worst_reached"]] == [
        (0.2, "VOC2007/3", "ant"), (0.3, "VOC2007/5", "ant"), (0.4, "VOC2007/3", "zebra"),
    ]  # fmt: skip


def test_copies_are_counted_for_each_split_and_in_total(report):
    copies = {"number": 2, "objects": 9, "matches": 1234, "bytes": 3_700_000}
    assert report["splits"]["train"]["copies"] == report["total"]["copies"] == copies
    assert report["splits"]["test"]["copies"] == {"number": 0, "objects": 0, "matches": 0, "bytes": 0}


def test_the_bins_of_a_histogram_rise(report):
    assert list(report["total"]["histograms"]["aspect"].items()) == [("-3", 4), ("2", 2), ("10", 1)]


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


def test_the_most_frequent_faults_come_first_with_an_example():
    rejects = [reject(9, "empty_picture"), *(reject(number) for number in range(1200)), reject(7, "bad_number")]
    lines = most_frequent(rejects, limit=2).splitlines()
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
    assert "repaired:          listed_twice 7, clipped_box 3, wrong_size 1" in text
    assert "kept:              no_objects 1, in_two_splits 2" in text
    assert "no_area 2, empty_picture 1" in text
    assert "no default box reaches at the matching threshold: 3 of 7" in text


def test_the_summary_has_a_line_for_the_copies_under_the_columns_of_the_splits(report):
    lines = summary(report).splitlines()
    (line,) = [line for line in lines if "cop" in line]
    assert line.split() == ["train,", "2", "copies", "4", "9", "1,234", "3.7"]
    header = lines[0]
    for column, value in (("written", "4"), ("objects", "9"), ("matches", "1,234"), ("MB", "3.7")):
        end = header.index(column) + len(column)
        assert line[:end].endswith(f" {value}")
    report["splits"]["train"]["copies"]["number"] = 1
    assert "train, 1 copy " in summary(report)


def test_the_summary_of_a_job_without_copies_does_not_mention_them(report):
    report["splits"]["train"]["copies"]["number"] = 0
    assert "cop" not in summary(report)


def test_the_summary_of_a_clean_job_has_no_lines_of_faults(report):
    for part in (report["total"], *report["splits"].values()):
        part.update(rejected=0, rejected_by_fault={}, repaired={}, kept={}, unreached_objects=0)
    assert "repaired" not in summary(report)
    assert "kept" not in summary(report)
    assert "rejected:" not in summary(report)
    assert "no default box" not in summary(report)
