"""Reading files: their bytes, or None. Folders that can be written, and those that cannot."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import tensorflow as tf

from ssd300.datasets import files
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import (
    exists,
    final_name,
    is_folder,
    read_file,
    read_json,
    sealed,
    storage_errors,
    temporary_path,
    unsealed,
    writable_folder,
    write_atomically,
)


def test_read_file_gives_none_for_what_cannot_be_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x\0y")
    assert read_file(str(tmp_path / "a")) == b"x\0y"
    assert read_file(str(tmp_path / "b")) is None
    assert read_file(str(tmp_path)) is None
    assert read_file(f"file://{tmp_path}/a") == b"x\0y"
    assert read_file(f"file://{tmp_path}/b") is None


def test_a_temporary_name_tells_what_it_was_to_become():
    assert final_name(temporary_path("report.json")) == "report.json"
    assert temporary_path("a") != temporary_path("a")
    for other in ("report.json", "report.json.tmp-old", "report.json.tmp-" + 32 * "g", "x.tmp-" + 32 * "0" + ".txt"):
        assert final_name(other) == other


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_writable_folder_is_made_and_nothing_is_left_in_it(tmp_path, scheme):
    for _ in range(2):
        writable_folder(f"{scheme}{tmp_path}/a/b")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/b"]


@pytest.mark.parametrize("path", ["file", "file/below", "file/far/below", "broken link", "broken link/below"])
def test_a_file_is_no_folder_to_write_in_nor_to_make_one_in(tmp_path, path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "broken link").symlink_to("nowhere")
    named = tmp_path / path.split("/")[0]
    with pytest.raises(InputError, match=f"^{tmp_path}/{path} cannot be written: {named} is not a folder$"):
        writable_folder(f"{tmp_path}/{path}")
    assert (tmp_path / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_system_that_nobody_knows_is_named():
    with pytest.raises(InputError, match=r"^s3://bucket/x cannot be written: s3:// paths need a file-system plugin"):
        writable_folder("s3://bucket/x")


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_was_made_in_vain_is_removed(tmp_path, monkeypatch, fault):
    """A disk that makes folders and takes no content, as a full one does."""
    (tmp_path / "there").mkdir()

    class Full(tf.io.gfile.GFile):
        def write(self, content):
            super().write(content[:100])
            self.flush()
            raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(tf.io.gfile, "GFile", Full)
    folder = Path(tmp_path, "there", "new", "newer")
    with pytest.raises(InputError, match=f"^{folder} cannot be written: {os.strerror(fault)}$"):
        writable_folder(str(folder))
    with pytest.raises(InputError, match=os.strerror(fault)):
        writable_folder(str(tmp_path / "there"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.mark.parametrize("look", [exists, is_folder])
def test_a_path_that_cannot_be_looked_at_is_not_taken_for_nothing(tmp_path, monkeypatch, look):
    stat, calls = os.stat, []

    def fail(path, *arguments, **options):
        if path != str(tmp_path):
            return stat(path, *arguments, **options)
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(StorageError, match=f"^{tmp_path} could not be read: Stale file handle$"):
        look(str(tmp_path))
    assert len(calls) == 3
    assert not look(f"{tmp_path}/nothing")
    assert not look(f"file://{tmp_path}/nothing")


def test_a_fault_that_lasts_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(files, "_PAUSES", (3600.0,))
    with pytest.raises(StorageError, match=r"^s3://bucket/x could not be read: s3:// paths need a file-system plugin"):
        exists("s3://bucket/x")


def test_a_file_that_cannot_be_written_is_named_by_its_own_name(tmp_path, monkeypatch):
    path = f"{tmp_path}/report.json"

    def full(source, *_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, f"{source}; No space left on device")

    monkeypatch.setattr(tf.io.gfile, "rename", full)
    with pytest.raises(StorageError, match=f"^{path} could not be written: No space left on device$"):
        write_atomically(path, "x")
    assert not list(tmp_path.iterdir())


def test_errors_of_computations_are_not_the_storage_s():
    for error in (ValueError("a"), tf.errors.InvalidArgumentError(None, None, "shapes differ")):
        with pytest.raises(type(error)), storage_errors("a file"):
            raise error


def test_a_storage_error_goes_through_pickle():
    again = pickle.loads(pickle.dumps(StorageError("a", "b", "written")))
    assert (str(again), again.reason) == ("a could not be written: b", "b")


def test_damaged_json_and_sealed_texts_are_named(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"", b'{"half', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"^{path} is damaged: it is not JSON"):
            read_json(str(path))
        with pytest.raises(InputError, match=rf"^{path} is damaged"):
            unsealed(str(path))
    path.write_text(sealed("two\nlines"))
    assert unsealed(str(path)) == "two\nlines"
