"""Which images arguments name, and what their copies are called."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from ssd300.datasets.errors import InputError
from ssd300.training.prediction.find_images import FoundImages, find_images


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def named(found: FoundImages) -> list[str]:
    return [path.name for path in found.paths]


def test_files_folders_and_globs_are_found_once_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.JPG", "c.png", "notes.txt", "deeper/d.jpeg")
    found = find_images([str(tmp_path / "c.png"), str(tmp_path), str(tmp_path / "**/*.jp*g")])
    assert named(found) == ["c.png", "a.JPG", "b.jpg", "d.jpeg"]
    assert [str(name) for name in found.names] == ["c.jpg", "a.jpg", "b.jpg", "deeper/d.jpg"]
    assert found.ignored == {"other_file": 1}


@pytest.mark.parametrize("pattern", ["nothing.jpg", "*.gif", "empty"])
def test_a_pattern_without_an_image_is_refused_by_its_name(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="names no image") as refused:
        find_images([str(tmp_path / "a.jpg"), str(tmp_path / pattern)])
    assert pattern in str(refused.value)


@pytest.mark.parametrize("suffix", ["bmp", "tif", "GIF", "webp", "Jpg", "jfif", "jpe", "ppm"])
def test_all_images_of_a_folder_are_found(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}", "._a.jpg", ".cache/b.jpg", "Thumbs.db")
    found = find_images([str(tmp_path)])
    assert named(found) == [f"a.{suffix}"]
    assert found.ignored == {"mac_file": 1, "hidden_file": 1, "other_file": 1}


def test_a_path_that_exists_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "pics [1]/a[0].jpg", "pics [1]/a0.jpg", "pics 1/b.jpg")
    for pattern in ("pics [1]/*.jpg", "pics [1]"):
        assert sorted(named(find_images([str(tmp_path / pattern)]))) == ["a0.jpg", "a[0].jpg"]
    assert named(find_images([str(tmp_path / "pics [1]/a[0].jpg")])) == ["a[0].jpg"]
    assert named(find_images([str(tmp_path / "pics [1-3]/*.jpg")])) == ["b.jpg"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named(find_images(["pics 1/*.jpg"])) == named(find_images(["~/pics 1"])) == ["b.jpg"]


def test_the_output_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a.jpg", "out/deeper/b.jpg")
    assert named(find_images([str(tmp_path)], output=tmp_path / "out")) == ["a.jpg"]
    assert len(find_images([str(tmp_path / "out")], output=tmp_path / "out").paths) == 2


def test_copies_of_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    names = ("a/x.jpg", "b/x.jpg", "b/x.png", "c/b/x.jpg", "d/X.JPG")
    touch(tmp_path, *names)
    found = FoundImages.of(tmp_path / name for name in names)
    assert [str(name) for name in found.names] == ["x.jpg", "x.jpg.jpg", "x.png.jpg", "b/x.jpg", "d/X.jpg"]


@given(st.lists(st.from_regex(r"([ab]/){0,2}[xX](-2)?(.png)?.(jpg|png|JPG)", fullmatch=True), max_size=12, unique=True))
def test_no_two_copies_have_one_name(names: list[str]) -> None:
    found = FoundImages.of(Path("/root") / name for name in names)
    assert len({str(name).casefold() for name in found.names}) == len(found.names) == len(names)
    assert all(name.suffix == ".jpg" and not name.is_absolute() for name in found.names)
