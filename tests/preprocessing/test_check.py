"""Checking without encoding: the same totals as the job's, no records, and nothing else left behind."""

import json
import tempfile
from pathlib import Path

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing import job
from ssd300.preprocessing.job import TooManyRejectsError, check, preprocess
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.runners.local_workers import LocalWorkers
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.training.cli import commands
from ssd300.training.cli.main import main

BOX = (30, 20, 150, 100)
PICTURES = {f"{number:06d}": [("ant", *BOX), ("Bee", -number, 50, 280, 190)] for number in range(8)}
PICTURES["000006"] = []
BROKEN = {"JPEGImages/000002.jpg": b"broken", "Annotations/000005.xml": None}
REPORTS = {"report.json", "report.html", "rejected.jsonl"}


def names_in(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*")}


@pytest.fixture
def tree(voc_tree) -> Path:
    ids = list(PICTURES)
    return voc_tree(PICTURES, image_sets={"train": [*ids[:6], ids[0]], "test": ids[5:]}, files=BROKEN)


@pytest.fixture
def settings(tree) -> PreprocessSettings:
    sources = tuple(FolderSource(split, str(tree), split) for split in ("train", "test"))
    return PreprocessSettings(sources=sources, classes=ClassList(("ant", "bee")), shard_size=3)


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "checked")


def test_a_check_leaves_its_report_and_nothing_else(settings, output):
    report = check(settings, output, execution=Execution(max_rejected=0.5))
    assert names_in(output) == REPORTS
    assert report == json.loads(Path(output, "report.json").read_text())
    rows = [json.loads(line) for line in Path(output, "rejected.jsonl").read_text().splitlines()]
    assert sorted((row["picture"], row["fault"]) for row in rows) == [
        ("VOC2007/000002", "undecodable_picture"),
        ("VOC2007/000005", "missing_annotation"),
        ("VOC2007/000005", "missing_annotation"),
    ]
    assert "Checked dataset" in Path(output, "report.html").read_text()


def test_without_an_output_nothing_is_left(settings, tree, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    before = names_in(tmp_path)
    report = check(settings, execution=Execution(max_rejected=0.5))
    assert (report["total"]["read"], report["total"]["rejected"]) == (9, 3)
    assert names_in(tmp_path) == before


def test_the_totals_are_those_of_the_job(settings, output, tmp_path):
    checked = check(settings, output, execution=Execution(max_rejected=0.5))
    encoded = preprocess(settings, str(tmp_path / "dataset"), Execution(max_rejected=0.5))
    assert checked == encoded
    total = checked["total"]
    assert (total["read"], total["written"], total["rejected"], total["negatives"]) == (9, 6, 3, 1)
    assert total["repaired"] == {"listed_twice": 1, "clipped_box": 4, "class_spelling": 5}
    assert total["kept"] == {"no_objects": 1, "in_two_splits": 2}
    assert total["objects"] == {"ant": 5, "bee": 5}
    assert total["bytes"] > 0
    assert (tmp_path / "dataset/rejected.jsonl").read_text() == Path(output, "rejected.jsonl").read_text()


def test_several_workers_find_the_same(settings, output):
    alone = check(settings, execution=Execution(max_rejected=0.5, workers=1))
    with LocalWorkers() as ready:
        assert check(settings, output, execution=Execution(max_rejected=0.5, workers=2, ready_workers=ready)) == alone
        assert ready._process.poll() == 0  # these did it
    assert names_in(output) == REPORTS


def test_a_job_can_follow_in_the_same_folder(settings, output):
    checked = check(settings, output, execution=Execution(max_rejected=0.5))
    assert preprocess(settings, f"{output}/", Execution(max_rejected=0.5)) == checked
    assert {"COMPLETED", "identity.json", *REPORTS} <= names_in(output)
    assert "Encoded dataset" in Path(output, "report.html").read_text()


def test_a_check_can_follow_a_check_and_one_that_was_killed(settings, output):
    Path(output, ".check/reports").mkdir(parents=True)
    Path(output, ".check/reports/train-00000.json").write_text('{"read": 3')
    first = check(settings, output, execution=Execution(max_rejected=0.5))
    assert names_in(output) == REPORTS
    assert check(settings, output, execution=Execution(max_rejected=0.5)) == first


def test_a_job_can_follow_a_check_that_was_killed(settings, output):
    Path(output, ".check/reports").mkdir(parents=True)
    preprocess(settings, output, Execution(max_rejected=0.5))
    assert not {name for name in names_in(output) if name.startswith(".")}


def test_a_folder_of_something_else_is_refused_and_left_alone(settings, output):
    Path(output).mkdir()
    Path(output, "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        check(settings, output)
    assert names_in(output) == {"thesis.txt"}


def test_a_dataset_is_not_overwritten_by_a_check(settings, output):
    preprocess(settings, output, Execution(max_rejected=0.5))
    before = {path: path.stat().st_mtime_ns for path in Path(output).iterdir()}
    with pytest.raises(ValueError, match="not empty"):
        check(settings, output, execution=Execution(max_rejected=0.5))
    assert {path: path.stat().st_mtime_ns for path in Path(output).iterdir()} == before


def test_an_unfinished_job_is_not_disturbed_by_a_check(settings, output, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(job, "_finish", lambda *_, **__: None)
        preprocess(settings, output)
    before = names_in(output)
    with pytest.raises(ValueError, match="not empty"):
        check(settings, output)
    assert names_in(output) == before


@pytest.mark.parametrize("to_folder", [True, False])
def test_too_many_rejects_are_an_error_that_carries_the_report(settings, output, to_folder):
    with pytest.raises(TooManyRejectsError, match=r"(?s)3 of 9 .*missing_annotation.*000005\.xml") as caught:
        check(settings, output if to_folder else None, Execution(max_rejected=0.3))
    assert caught.value.report["total"]["rejected"] == 3
    assert ("rejected.jsonl" in str(caught.value)) == to_folder
    if to_folder:
        assert names_in(output) == REPORTS
        assert caught.value.report == json.loads(Path(output, "report.json").read_text())


def test_unwanted_empty_pictures_are_no_reason_to_fail(voc_tree):
    root = voc_tree(PICTURES)
    settings = PreprocessSettings(
        sources=(FolderSource("train", str(root), "train"),), classes=ClassList(("ant", "bee")), drop_empty=True
    )
    assert check(settings, execution=Execution(max_rejected=0.0))["total"]["rejected_by_fault"] == {"dropped_empty": 1}


@pytest.mark.parametrize("options", [{"max_rejected": -0.1}, {"workers": 0}], ids=str)
def test_invalid_arguments_are_refused_before_anything_is_written(settings, output, options):
    with pytest.raises(InputError, match=next(iter(options))):
        check(settings, output, Execution(**options))
    assert not Path(output).exists()


def test_workers_elsewhere_need_a_folder_that_they_see(settings):
    with pytest.raises(ValueError, match="output folder that they all see"):
        check(settings, execution=Execution(beam_arguments=["--runner=FlinkRunner"]))


def command(tree, *more: str) -> int:
    sources = [f"--source={split}={tree}:{split}" for split in ("train", "test")]
    return main(["preprocess", *sources, "--classes=auto", "--check", *more])


def test_the_command_starts_tensorflow_without_gpus(tree, monkeypatch):
    asked: list[dict] = []
    monkeypatch.setattr(commands, "import_tensorflow", lambda **options: asked.append(options))
    assert command(tree, "--max-rejected=.5") == 0
    assert asked == [{"gpus": False}]


def test_the_command_shows_the_totals_and_writes_nothing(tree, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = names_in(tmp_path)
    assert command(tree, "--max-rejected=.5") == 0
    shown = capsys.readouterr().out
    assert [line.split()[:4] for line in shown.splitlines() if line.startswith(("train", "test", "total"))] == [
        ["train", "6", "4", "2"],
        ["test", "3", "2", "1"],
        ["total", "9", "6", "3"],
    ]
    assert "listed_twice 1" in shown
    assert "wrote" not in shown
    assert names_in(tmp_path) == before


def test_the_command_writes_the_report_where_one_is_wanted(tree, output, capsys):
    assert command(tree, "--max-rejected=.5", f"--output={output}") == 0
    shown = capsys.readouterr().out
    assert f"wrote {output}; open {output}/report.html" in shown
    assert "3 rejected images are listed in rejected.jsonl" in shown
    assert names_in(output) == REPORTS


def test_the_command_ends_with_1_and_the_totals_after_too_many_rejects(tree, capsys):
    assert command(tree) == 1
    shown = capsys.readouterr()
    assert "3 of 9 images were rejected" in shown.err
    assert "total" in shown.out
    assert "Traceback" not in shown.err


def test_without_an_output_the_command_wants_a_check(tree, capsys, monkeypatch):
    monkeypatch.setattr(beam_pipeline, "run_pipeline", lambda *_, **__: pytest.fail("a pipeline ran"))
    assert main(["preprocess", f"--source=train={tree}:train"]) == 2
    assert "--output" in capsys.readouterr().err
