"""Whose a job's folder is: one job at a time, known by what its dataset is; leftovers, damage and disks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import content, exit_code
from small_job import settings_of

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing import job
from ssd300.preprocessing.job import check, preprocess
from ssd300.preprocessing.support.lease import NAME, lease

HEX = 32 * "d"


@pytest.fixture
def unfinished(settings, output, monkeypatch) -> Path:
    """The folder of a job that was stopped before its end."""
    with monkeypatch.context() as patch:
        patch.setattr(job, "_finish", lambda *_, **__: None)
        preprocess(settings, output)
    return Path(output)


@pytest.mark.parametrize("run", [preprocess, check])
def test_a_folder_in_use_is_refused_by_the_name_of_its_user(settings, output, run, encoded):
    Path(output).mkdir()
    with lease(output, what="another job"):
        with pytest.raises(InputError, match=rf"^{output} is in use by another job, process {os.getpid()} on "):
            run(settings, output)
        assert content(output).keys() == {NAME}
    assert encoded == []
    run(settings, output)
    assert NAME not in content(output)


def test_a_job_holds_the_lease_while_it_works(settings, output, monkeypatch):
    seen, encode = [], job.encode_all

    def spy(*args, **kwargs):
        with pytest.raises(InputError, match="in use by preprocess"):
            preprocess(settings, output)
        with pytest.raises(InputError, match="not empty"):
            check(settings, output)
        seen.append(json.loads(Path(output, NAME).read_text())["pid"])
        return encode(*args, **kwargs)

    monkeypatch.setattr(job, "encode_all", spy)
    preprocess(settings, output)
    assert seen == [os.getpid()]


def test_a_job_that_another_one_has_finished_meanwhile_is_complete(settings, output, monkeypatch, encoded):
    enter = job._leased

    def late(*args):
        monkeypatch.setattr(job, "_leased", enter)
        preprocess(settings, output)
        encoded.clear()
        return enter(*args)

    monkeypatch.setattr(job, "_leased", late)
    assert preprocess(settings, output) == EncodedDataset.open(output).report
    assert encoded == []


@pytest.mark.parametrize("different", [False, True], ids=["the same", "another"])
def test_of_two_jobs_at_once_one_ends_well_and_the_other_is_refused_or_has_nothing_to_do(tree, output, different):
    command = [sys.executable, "-m", "ssd300.training.cli.main", "preprocess", f"--source=train={tree}:train"]
    command += ["--classes=auto", "--workers=1", f"--output={output}"]
    commands = [command, [*command, "--seed=1"] if different else command]
    jobs = [subprocess.Popen(one, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for one in commands]
    errors = [one.communicate(timeout=120)[1] for one in jobs]
    codes = [one.returncode for one in jobs]
    assert sorted(codes) in ([[0, 2]] if different else [[0, 2], [0, 0]]), errors
    assert "Traceback" not in "".join(errors)
    for code, error in zip(codes, errors, strict=True):
        if code == 2:
            assert "is in use by" in error or "holds another dataset" in error
    assert EncodedDataset.open(output).splits == {"train": 9}
    assert EncodedDataset.open(output).identity.fields["seed"] == (codes[0] != 0 if different else 0)
    assert not [name for name in content(output) if name.startswith(".") or ".tmp-" in name]


LEFT = [f"report.json.tmp-{HEX}", f".lease.tmp-{HEX}", f".lease.tmp-{HEX}.tmp-{HEX}", f".writable.tmp-{HEX}", NAME]


@pytest.mark.parametrize("run", [preprocess, check])
@pytest.mark.parametrize("name", LEFT)
def test_what_a_killed_job_or_check_left_is_in_nobodys_way(settings, output, run, name):
    Path(output).mkdir()
    Path(output, name).write_text('{"half')
    run(settings, output)
    assert name not in content(output)


@pytest.mark.parametrize("name", ["report.json.tmp-mine", "notes.tmp-" + HEX, "report.json.old", ".lease.txt"])
def test_files_that_only_look_like_ours_are_somebody_s(settings, output, name):
    Path(output).mkdir()
    Path(output, name).write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        preprocess(settings, output)
    assert content(output) == {name: b"mine"}


def test_what_a_job_left_that_was_killed_at_its_very_end_is_removed(settings, output):
    report = preprocess(settings, output)
    whole = content(output)
    Path(output, ".work/reports").mkdir(parents=True)
    for name in LEFT:
        Path(output, name).write_text("{}")
    assert preprocess(settings, output) == report
    assert content(output) == whole
    assert not Path(output, ".work").exists()


def test_a_complete_dataset_on_a_disk_that_can_only_be_read_is_complete(settings, output, monkeypatch):
    report = preprocess(settings, output)
    Path(output, ".work").mkdir()

    def refuse(*_, **__):
        raise StorageError(output, "Read-only file system", "written")

    monkeypatch.setattr("ssd300.preprocessing.support.lease.write_atomically", refuse)
    monkeypatch.setattr("ssd300.preprocessing.job_folder.writable_folder", refuse)
    assert preprocess(settings, output) == report


SPELLINGS = ["relative", "link", "moved"]


@pytest.fixture
def spelled(tree, tmp_path, monkeypatch):
    """``spelled(spelling)``: the settings of the same job, with the tree's path given in another way."""

    def settings(spelling: str):
        if spelling == "moved":
            shutil.move(tree, tmp_path / "elsewhere" / tree.name)
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / tree.name).symlink_to(tree)
        monkeypatch.chdir(tmp_path)
        root = {"relative": tree.name, "link": f"links/{tree.name}", "moved": f"elsewhere/{tree.name}"}[spelling]
        return settings_of(FolderSource("train", root, "train"))

    return settings


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_finished_job_is_known_however_its_tree_is_spelled(settings, output, encoded, spelled, spelling):
    report = preprocess(settings, output)
    encoded.clear()
    assert preprocess(spelled(spelling), output) == report
    assert encoded == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_unfinished_job_resumes_however_its_tree_is_spelled(unfinished, encoded, spelled, spelling):
    encoded.clear()
    (unfinished / ".work/reports/train-00001.json").unlink()
    preprocess(spelled(spelling), str(unfinished))
    assert encoded == ["train-00001"]


def test_a_marker_of_an_earlier_version_is_read(settings, output):
    report = preprocess(settings, output)
    fingerprint = EncodedDataset.open(output).identity.fingerprint
    Path(output, "COMPLETED").write_text(json.dumps({"fingerprint": fingerprint, "plan": "0123"}))
    assert preprocess(settings, output) == report


def test_a_refused_job_is_told_what_differs(settings, unfinished):
    with pytest.raises(InputError, match=r"unfinished job with another plan \(other pictures, min_size, seed\)"):
        preprocess(settings_of(*settings.sources, seed=1, min_size=3), str(unfinished))
    preprocess(settings, str(unfinished))
    with pytest.raises(InputError, match=r"another dataset \(other coordinates\)"):
        preprocess(settings_of(*settings.sources, coordinates="inclusive"), str(unfinished))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def damages(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], b"", flipped(data, len(data) // 2), flipped(data, 0), b"[1]"]


def refusal(settings, output) -> str:
    """What a job is refused with; nothing if it ends well."""
    try:
        preprocess(settings, str(output))
    except InputError as error:
        return str(error)
    return ""


def test_a_damaged_file_of_a_dataset_is_named_or_does_no_harm(settings, output):
    report = preprocess(settings, output)
    for name in ("COMPLETED", "identity.json", "report.json", "dataset_info.json"):
        path = Path(output, name)
        whole = path.read_bytes()
        for data in damages(whole):
            path.write_bytes(data)
            message = refusal(settings, output)
            if message:
                assert str(path) in message or name == "COMPLETED" in message
                assert "\n" not in message
            else:
                assert preprocess(settings, output) == report
        path.write_bytes(whole)


def test_a_damaged_plan_of_an_unfinished_job_is_named(settings, unfinished):
    path = unfinished / ".work/plan.json"
    whole = path.read_bytes()
    for data in damages(whole):
        path.write_bytes(data)
        message = refusal(settings, unfinished)
        assert str(path) in message
        assert "\n" not in message
    path.write_bytes(whole)
    assert refusal(settings, unfinished) == ""


def test_damaged_reports_and_lists_of_an_unfinished_job_are_made_again(settings, unfinished, output):
    preprocess(settings, f"{output}-whole")
    for number, name in enumerate(("reports/train-00001.json", "shards-0.jsonl", "shards-0.jsonl.index")):
        whole = (unfinished / ".work" / name).read_bytes()
        for data in damages(whole)[::2]:
            copy = Path(shutil.copytree(unfinished, f"{output}-{number}"))
            (copy / ".work" / name).write_bytes(data)
            preprocess(settings, str(copy))
            assert content(copy) == content(f"{output}-whole")
            shutil.rmtree(copy)


@pytest.mark.parametrize("more", [[], ["--check"]], ids=["job", "check"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "is not a folder"),
        ("file/below", "is not a folder"),
        ("broken link", "is not a folder"),
        ("s3://bucket/x", "s3:// paths need a file-system plugin"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_read(tree, tmp_path, capsys, path, reason, more):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "broken link").symlink_to("nowhere")
    (tree / "ImageSets/Main/train.txt").unlink()  # a job that looked for its images would say so
    output = path if "://" in path else f"{tmp_path}/{path}"
    assert exit_code(["preprocess", f"--source=train={tree}:train", "--classes=auto", "--output", output, *more]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"ssd300 preprocess: {output} cannot be ")
    assert reason in shown
    assert shown.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_sources_that_cannot_be_listed_leave_no_folder(tree, tmp_path):
    settings = settings_of(FolderSource("train", str(tree), "nothing"))
    for run in (preprocess, check):
        with pytest.raises(InputError, match="nothing"):
            run(settings, f"{tmp_path}/new/dataset")
    assert not (tmp_path / "new").exists()
