"""A storage that fails while a job reads or writes: the same bytes, or a failed job that names the file; no reject."""

import errno
import os
from pathlib import Path

import pytest
import tensorflow as tf
from helpers import content, exit_code
from small_job import assert_looks_unfinished

from ssd300.datasets import files
from ssd300.datasets.errors import JobError
from ssd300.preprocessing.job import check, preprocess
from ssd300.preprocessing.runners import encode_all
from ssd300.preprocessing.runners.execution import Execution

EIO = OSError(errno.EIO, os.strerror(errno.EIO))
FAULTS = {
    "EIO": EIO,
    "ESTALE": OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
    "Unavailable": tf.errors.UnavailableError(None, None, "{{function_node __wrapped__ReadFile}} no connection"),
}
READS = len(files._PAUSES) + 1  # attempts at one file, before its shard has failed


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(files, "_PAUSES", (0.0,) * len(files._PAUSES))


@pytest.fixture
def fail(monkeypatch):
    """``fail(ending, times, error)``: that many reads of files with this ending fail; gives the list of their paths."""

    def install(ending: str, times: float, error: Exception = EIO) -> list[str]:
        read, failed = files._read, []

        def fake(path: str) -> bytes | None:
            if path.endswith(ending) and len(failed) < times:
                failed.append(path)
                raise error
            return read(path)

        monkeypatch.setattr(files, "_read", fake)
        return failed

    return install


@pytest.fixture
def undisturbed(settings, output) -> dict[str, bytes]:
    preprocess(settings, f"{output}-undisturbed")
    return content(f"{output}-undisturbed")


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("ending", ["000004.jpg", "000004.xml"])
@pytest.mark.parametrize("times", [1, READS + 1], ids=["shorter than a read", "longer than a shard"])
def test_a_fault_that_passes_changes_no_byte(settings, output, undisturbed, fail, ending, times, error):
    failed = fail(ending, times, error)
    preprocess(settings, output)
    assert len(failed) == times
    assert content(output) == undisturbed


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("run", [preprocess, check])
def test_a_fault_that_stays_fails_the_job_and_rejects_nothing(settings, output, fail, run, error):
    failed = fail("000004.jpg", float("inf"), error)
    reason = "no connection" if error is FAULTS["Unavailable"] else error.strerror
    with pytest.raises(JobError) as caught:
        run(settings, output)
    assert str(caught.value).startswith(f"1 of 3 shards could not be made: {failed[0]} could not be read: {reason}; ")
    assert "\n" not in str(caught.value)
    assert len(failed) == READS * encode_all._ATTEMPTS
    assert_looks_unfinished(output)
    assert not {"rejected.jsonl", "report.json", ".lease"} & content(output).keys()


def test_only_what_failed_is_made_again_when_the_storage_works(settings, output, undisturbed, fail, encoded):
    fail("000004.jpg", READS * encode_all._ATTEMPTS)
    with pytest.raises(JobError):
        preprocess(settings, output)
    encoded.clear()
    preprocess(settings, output)
    assert len(encoded) == 1
    assert content(output) == undisturbed


def test_the_classes_of_annotations_that_cannot_be_read_are_not_left_out(tree, output, fail, capsys):
    fail("000004.xml", float("inf"))
    assert exit_code(["preprocess", f"--source=train={tree}:train", "--classes=auto", f"--output={output}"]) == 1
    shown = capsys.readouterr().err
    assert f"{tree}/Annotations/000004.xml could not be read: Input/output error\n" in shown
    assert "Traceback" not in shown
    assert not Path(output).exists()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux: reading a process's memory at 0 is EIO")
def test_forked_workers_name_the_file_and_print_no_traceback(tree, settings, output, monkeypatch, capfd):
    monkeypatch.setattr(encode_all, "_ATTEMPTS", 1)
    picture = tree / "JPEGImages/000004.jpg"
    picture.unlink()
    picture.symlink_to("/proc/self/mem")
    with pytest.raises(JobError, match=rf"^1 of 3 shards could not be made: {picture} could not be read: Input/output"):
        preprocess(settings, output, Execution(workers=2))
    assert "Traceback" not in capfd.readouterr().err
    assert len([name for name in content(output) if "tfrecord" in name]) == 2


@pytest.mark.parametrize("moment", ["__init__", "write", "close"])
def test_a_full_disk_ends_the_job_at_once_and_is_named(settings, output, undisturbed, encoded, monkeypatch, moment):
    real, calls = tf.io.TFRecordWriter, []

    class Full(real):
        pass

    def fail(self, *arguments):
        calls.append(self)
        raise tf.errors.ResourceExhaustedError(None, None, f"{output}/x.tmp-1; {os.strerror(errno.ENOSPC)}")

    setattr(Full, moment, fail)
    with monkeypatch.context() as patch:
        patch.setattr(tf.io, "TFRecordWriter", Full)
        with pytest.raises(
            JobError, match=rf": {output}/ssd300-train\S* could not be written: No space left on device"
        ):
            preprocess(settings, output)
    assert len({id(one) for one in calls}) == 1
    assert not [name for name in content(output) if "tfrecord" in name]
    preprocess(settings, output)
    assert content(output) == undisturbed


def test_a_bug_stays_a_traceback(settings, output, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ssd300.preprocessing.shards.encode_shard.encode_pictures", bug)
    with pytest.raises(Exception, match="a bug") as caught:
        preprocess(settings, output)
    assert not isinstance(caught.value, (JobError, OSError))
