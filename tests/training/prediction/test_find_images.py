"""Which images arguments name, and what their copies are called."""

from pathlib import Path
from random import Random

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
    assert [str(name) for name in found.names] == ["c.png.jpg", "a.JPG", "b.jpg", "deeper/d.jpeg"]
    assert found.ignored_in_words == "ignored 1 file: 1 not images"


@pytest.mark.parametrize("pattern", ["nothing.jpg", "*.gif", "empty"])
def test_a_pattern_without_an_image_is_refused_by_its_name(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "a.jpg")
    with pytest.raises(InputError, match="names no image") as refused:
        find_images([str(tmp_path / "a.jpg"), str(tmp_path / pattern)])
    assert pattern in str(refused.value)


@pytest.mark.parametrize("suffix", ["bmp", "tif", "GIF", "webp", "Jpg", "jfif", "jpe", "ppm"])
def test_all_images_of_a_folder_are_found(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}", "._a.jpg", ".cache/b.jpg", ".hidden.jpg", "Thumbs.db")
    found = find_images([str(tmp_path)])
    assert named(found) == [f"a.{suffix}"]
    assert found.ignored == {"mac_file": 1, "hidden_file": 2, "other_file": 1}
    assert found.ignored_in_words == "ignored 4 files: 2 hidden, 1 of macOS, 1 not images"


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
    for pattern in ("", "**/*.jpg"):
        assert named(find_images([str(tmp_path / pattern)], output=tmp_path / "out")) == ["a.jpg"]
    for pattern in ("out", "out/**/*.jpg"):  # that was named
        assert len(find_images([str(tmp_path / pattern)], output=tmp_path / "out").paths) == 2


@pytest.mark.parametrize("pattern", ["gs://bucket/*.jpg", ""])
def test_what_is_no_path_of_this_machine_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="an image must be a path on this machine's disks, got"):
        find_images([pattern])


def test_a_name_that_is_not_utf8_is_refused_with_its_folder(tmp_path: Path) -> None:
    try:
        (tmp_path / "a\udcff.jpg").write_bytes(b"")
    except (OSError, UnicodeError):
        pytest.skip("this file system wants UTF-8")
    with pytest.raises(InputError, match=f"{tmp_path}: a file's name is not UTF-8"):
        find_images([str(tmp_path)])


@pytest.mark.parametrize(
    ("images", "copies"),
    [
        (["a/x.jpg", "a/x.png", "a/x.jpeg"], ["x.jpg", "x.png.jpg", "x.jpeg"]),
        (["a/x.jpg", "b/x.jpg", "c/y.jpg"], ["a/x.jpg", "b/x.jpg", "y.jpg"]),
        (["b/x.jpg", "c/b/x.jpg", "a/b/x.jpg"], ["top/b/x.jpg", "c/b/x.jpg", "a/b/x.jpg"]),
        (["a/x.jpg", "a/X.JPG", "a/x-2.jpg"], ["x-3.jpg", "X.JPG", "x-2.jpg"]),
        (["a/x.png", "a/x.png.jpg"], ["x.png.jpg", "x.png-2.jpg"]),
        (["a/\u00e9.jpg", "a/e\u0301.jpg"], ["\u00e9-2.jpg", "e\u0301.jpg"]),  # one name on disks of macOS
    ],
)
def test_copies_are_told_apart_by_as_much_of_the_path_as_it_takes(images: list[str], copies: list[str]) -> None:
    found = FoundImages.of(Path("/top") / name for name in images)
    assert [str(name) for name in found.names] == copies


@given(
    st.lists(st.from_regex(r"([ab]/){0,2}[xX](-2)?(\.png)?\.(jpg|png|JPG)", fullmatch=True), max_size=12, unique=True),
    st.randoms(),
)
def test_no_two_copies_have_one_name_in_whatever_order(names: list[str], random: Random) -> None:
    found = FoundImages.of(Path("/root") / name for name in names)
    assert len({str(name).casefold() for name in found.names}) == len(found.names) == len(names)
    assert all(name.suffix.lower() == ".jpg" and not name.is_absolute() for name in found.names)
    shuffled = random.sample(names, len(names))
    again = FoundImages.of(Path("/root") / name for name in shuffled)
    assert dict(zip(again.paths, again.names, strict=True)) == dict(zip(found.paths, found.names, strict=True))
