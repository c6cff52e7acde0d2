"""Reading files: their bytes, or None."""

from ssd300.datasets.files import read_file


def test_read_file_gives_none_for_what_cannot_be_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x\0y")
    assert read_file(str(tmp_path / "a")) == b"x\0y"
    assert read_file(str(tmp_path / "b")) is None
    assert read_file(str(tmp_path)) is None
    assert read_file(f"file://{tmp_path}/a") == b"x\0y"
    assert read_file(f"file://{tmp_path}/b") is None
