"""Outputs replace nothing but earlier outputs."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ssd300.datasets.errors import InputError, StorageError
from ssd300.preprocessing.support.outputs import DETECTION, METRICS, check_replaceable, local_path, save_image


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png", "A.PNG"])
def test_an_image_that_was_saved_here_may_be_replaced_and_another_may_not(tmp_path: Path, name: str) -> None:
    image, path = Image.new("RGB", (300, 200)), tmp_path / name
    check_replaceable([path])
    image.save(path)
    with pytest.raises(InputError, match=rf"{name} exists and was not made by ssd300"):
        check_replaceable([path])
    save_image(image, path)
    check_replaceable([path])
    with pytest.raises(InputError, match=rf"{name} is an input and would be replaced"):
        check_replaceable([path], inputs=[tmp_path / "x/.." / name])


@pytest.mark.parametrize(
    ("content", "is_ours"),
    [
        ([], True),
        ([dict.fromkeys(DETECTION, 1)], True),
        (dict.fromkeys(METRICS, 1), True),
        ([{"image_id": 1}], False),
        ({"mAP": 1}, False),
        ("text", False),
    ],
)
def test_json_is_known_by_its_keys(tmp_path: Path, content: object, is_ours: bool) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content))
    if is_ours:
        check_replaceable([path])
    else:
        with pytest.raises(InputError, match="was not made by ssd300"):
            check_replaceable([path])


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"{"])
@pytest.mark.parametrize("name", ["x.json", "x.jpg"])
def test_what_cannot_be_read_is_not_replaced(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match="was not made by ssd300"):
        check_replaceable([tmp_path / name])


def test_a_folder_and_a_file_do_not_take_each_other_s_place(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(InputError, match=r"x\.jpg is a folder, where a file is to be written"):
        check_replaceable([tmp_path / "x.jpg"])
    save_image(Image.new("RGB", (30, 20)), tmp_path / "y.jpg")
    for outputs in (["y.jpg/a.jpg"], ["z.jpg", "z.jpg/deep/a.jpg"]):
        with pytest.raises(InputError, match=r"[yz]\.jpg is a file, where a folder is needed"):
            check_replaceable([tmp_path / name for name in outputs])


def test_nothing_is_written_through_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="was not made by ssd300"):
        check_replaceable([tmp_path / "x.jpg"])


def test_an_image_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(StorageError, match=rf"^{tmp_path}/x\.jpg could not be written: "):
        save_image(Image.new("RGB", (30, 20)), tmp_path / "x.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://bucket", "gs:/bucket/run", Path("gs://bucket/run"), ""])
def test_a_url_is_no_local_folder(path: str | Path) -> None:
    with pytest.raises(InputError, match=r"--output must be a path on this machine's disks, got (gs:|s3:|an empty)"):
        local_path(str(path), "--output")


def test_a_local_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("a:/b/../c", "--output") == tmp_path / "a:/c"
    assert local_path("~/x", "--output") == Path("/home/me/x")
