"""Verification counts the records in the files and believes no report that disagrees with them."""

import dataclasses
import json
import struct

import pytest
import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.files import sealed, unsealed
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import Plan, Shard
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import ShardWork
from ssd300.preprocessing.shards.shard_report import Reject, ShardReport
from ssd300.preprocessing.shards.verify import count_records, finished_shards


def write_records(path, lengths) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for length in lengths:
            writer.write(b"x" * length)
    return str(path)


@pytest.mark.parametrize("lengths", [[], [0], [1], [5, 0, 1000], [7] * 100])
def test_records_are_counted(tmp_path, lengths):
    assert count_records(write_records(tmp_path / "a", lengths)) == len(lengths)


@pytest.mark.parametrize("cut", [1, 4, 5, 50, 104, 105, 110, 115])
def test_a_file_cut_inside_a_record_is_an_error_that_names_it(tmp_path, cut):
    path = tmp_path / "cut.tfrecord"
    write_records(path, [100, 100])  # 116 bytes a record
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"cut\.tfrecord"):
        count_records(str(path))


def test_a_file_cut_between_two_records_has_fewer(tmp_path):
    path = tmp_path / "a"
    write_records(path, [100, 100])
    path.write_bytes(path.read_bytes()[:116])
    assert count_records(str(path)) == 1


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"hello", bytes(range(1, 60)), struct.pack("<QI", 2**63, 0)])
def test_garbage_is_an_error(tmp_path, garbage):
    (tmp_path / "a").write_bytes(garbage)
    with pytest.raises(ValueError, match="record"):
        count_records(str(tmp_path / "a"))


def test_garbage_after_good_records_is_an_error(tmp_path):
    path = tmp_path / "a"
    write_records(path, [100])
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(ValueError, match="record"):
        count_records(str(path))


@pytest.fixture
def job(tmp_path):
    """Two shards, three images each, the second with one reject; both are finished."""
    settings = PreprocessSettings(sources=(FolderSource("train", "VOC2007", "train"),), classes=ClassList(("ant",)))
    shards = tuple(Shard("train", i, 2, tuple((0, f"{i}{j}") for j in range(3))) for i in range(2))
    plan = Plan(settings, shards)
    (tmp_path / "reports").mkdir()
    for shard, rejects in zip(shards, (0, 1), strict=True):
        write_records(tmp_path / shard.name, [100] * (3 - rejects))
        listed = [Reject("p", "a.xml", "no_area", "flat")] * rejects
        report = ShardReport(3, 3 - rejects, listed, bytes=100 * (3 - rejects))
        (tmp_path / "reports" / f"{shard.key}.json").write_text(sealed(json.dumps(report.to_json())))
    return tmp_path, plan


def change_report(path, changes) -> None:
    path.write_text(sealed(json.dumps(json.loads(unsealed(str(path))) | changes)))


def standing(job) -> set[str]:
    folder, plan = job
    return set(finished_shards(plan, ShardWork(plan.settings, str(folder), f"{folder}/reports")))


def test_whole_shards_are_finished_with_their_reports(job):
    folder, plan = job
    found = finished_shards(plan, ShardWork(plan.settings, str(folder), f"{folder}/reports"))
    assert found.keys() == {"train-00000", "train-00001"}
    assert [found[shard.key].written for shard in plan.shards] == [3, 2]
    assert found["train-00001"].rejects[0].fault == "no_area"


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-10], lambda data: data[:-116], lambda data: data + data[:116], lambda _: b"", lambda _: None],
    ids=["cut inside a record", "a record less", "a record more", "empty", "removed"],
)
def test_a_shard_whose_file_disagrees_is_not_finished(job, change):
    folder, plan = job
    path = folder / plan.shards[0].name
    data = change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    assert standing(job) == {"train-00001"}


@pytest.mark.parametrize(
    "change",
    [{"read": 2}, {"written": 2}, {"written": 4}, {"read": 4, "written": 4}, {"read": 2, "written": 2}],
    ids=str,
)
def test_a_shard_whose_report_disagrees_with_file_or_plan_is_not_finished(job, change):
    folder, _ = job
    path = folder / "reports/train-00000.json"
    change_report(path, change)
    assert standing(job) == {"train-00001"}


def test_a_shard_that_lacks_a_picture_of_the_plan_is_not_finished(job):
    folder, plan = job
    write_records(folder / plan.shards[0].name, [100] * 2)
    path = folder / "reports/train-00000.json"
    change_report(path, {"read": 2, "written": 2})
    assert standing(job) == {"train-00001"}


def test_a_report_without_its_rejects_is_not_finished(job):
    folder, _ = job
    path = folder / "reports/train-00001.json"
    change_report(path, {"rejects": []})
    assert standing(job) == {"train-00000"}


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"read": 3', '{"read": 3, "other": 1, "rejects": []}', None])
def test_a_report_that_is_missing_or_damaged_is_not_finished(job, text):
    folder, _ = job
    path = folder / "reports/train-00000.json"
    path.unlink() if text is None else path.write_text(sealed(text))
    assert standing(job) == {"train-00001"}


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: b"", lambda data: data.replace(b"3", b"2", 1)])
def test_a_report_that_was_cut_emptied_or_has_another_digit_is_not_finished(job, damage):
    path = job[0] / "reports/train-00000.json"
    path.write_bytes(damage(path.read_bytes()))
    assert standing(job) == {"train-00001"}


def test_records_of_other_lengths_than_reported_are_not_finished(job):
    folder, plan = job
    write_records(folder / plan.shards[0].name, [100, 100, 101])
    assert standing(job) == {"train-00001"}


def test_files_of_other_file_systems_are_judged_by_their_length(job):
    folder, plan = job
    elsewhere = f"file://{folder}"
    assert len(finished_shards(plan, ShardWork(plan.settings, elsewhere, f"{elsewhere}/reports"))) == 2
    path = folder / plan.shards[0].name
    path.write_bytes(path.read_bytes()[:-116])
    assert list(finished_shards(plan, ShardWork(plan.settings, elsewhere, f"{elsewhere}/reports"))) == ["train-00001"]


def test_a_stray_temporary_file_is_no_shard(job):
    folder, plan = job
    path = folder / plan.shards[0].name
    path.rename(f"{path}.tmp-0123")
    assert standing(job) == {"train-00001"}


@pytest.fixture
def job_with_copies(job):
    """The same job with two copies, of 50 and 70 bytes a record."""
    folder, plan = job
    for shard, records in zip(plan.shards, (3, 2), strict=True):
        for number, size in ((1, 50), (2, 70)):
            write_records(folder / shard.copy_name(number), [size] * records)
        path = folder / f"reports/{shard.key}.json"
        change_report(path, {"copy_bytes": [50 * records, 70 * records]})
    return folder, dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, copies=2))


def test_shards_are_finished_with_the_files_of_their_copies(job_with_copies):
    assert standing(job_with_copies) == {"train-00000", "train-00001"}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-10], lambda data: data + data[:20], lambda data: data * 2, lambda _: b"", lambda _: None],
    ids=["cut inside a record", "garbage after", "twice", "empty", "removed"],
)
def test_a_shard_is_not_finished_if_the_file_of_a_copy_disagrees(job_with_copies, number, change):
    folder, plan = job_with_copies
    path = folder / plan.shards[0].copy_name(number)
    data = change(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    assert standing(job_with_copies) == {"train-00001"}


def test_a_shard_whose_copies_are_swapped_is_not_finished(job_with_copies):
    folder, plan = job_with_copies
    first, second = (folder / plan.shards[0].copy_name(number) for number in (1, 2))
    first.rename(folder / "other")
    second.rename(first)
    (folder / "other").rename(second)
    assert standing(job_with_copies) == {"train-00001"}


@pytest.mark.parametrize("copy_bytes", [[], [150], [150, 211], [210, 150], None, 150, "removed"], ids=str)
def test_a_report_that_does_not_cover_every_copy_is_not_finished(job_with_copies, copy_bytes):
    folder, _ = job_with_copies
    path = folder / "reports/train-00000.json"
    content = json.loads(unsealed(str(path))) | {"copy_bytes": copy_bytes}
    if copy_bytes == "removed":
        del content["copy_bytes"]
    path.write_text(sealed(json.dumps(content)))
    assert standing(job_with_copies) == {"train-00001"}


def test_of_a_check_the_reports_count_without_copies(job_with_copies):
    folder, plan = job_with_copies
    for path in folder.glob("*.tfrecord*"):
        path.unlink()
    for shard in plan.shards:
        path = folder / f"reports/{shard.key}.json"
        change_report(path, {"copy_bytes": []})
    assert without_output(job_with_copies) == {"train-00000", "train-00001"}


def test_splits_without_copies_are_finished_without_their_files(job_with_copies):
    folder, plan = job_with_copies
    settings = dataclasses.replace(plan.settings, copies_of=("test",), sources=(
        *plan.settings.sources, dataclasses.replace(plan.settings.sources[0], split="test"),
    ))  # fmt: skip
    for path in folder.glob("*_copy*"):
        path.unlink()
    assert standing((folder, dataclasses.replace(plan, settings=settings))) == {"train-00000", "train-00001"}


def without_output(job) -> set[str]:
    folder, plan = job
    return set(finished_shards(plan, ShardWork(plan.settings, None, f"{folder}/reports")))


def test_of_a_check_the_reports_count_without_files(job):
    folder, plan = job
    for shard in plan.shards:
        (folder / shard.name).unlink()
    assert without_output(job) == {"train-00000", "train-00001"}


@pytest.mark.parametrize("change", [{"read": 2}, {"written": 2}, {"rejects": None}], ids=str)
def test_a_report_of_a_check_that_does_not_add_up_is_not_finished(job, change):
    folder, _ = job
    path = folder / "reports/train-00000.json"
    change_report(path, change)
    assert without_output(job) == {"train-00001"}
