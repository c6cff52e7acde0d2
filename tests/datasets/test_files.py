"""Reading files: their bytes, or None. Folders that can be written, and those that cannot."""

import errno
import os
from pathlib import Path

import pytest
import tensorflow as tf

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import final_name, read_file, temporary_path, writable_folder


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
