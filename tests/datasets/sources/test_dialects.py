"""Trees as the tools of the field write them, read as they come."""

import io
from pathlib import Path

import pytest
from helpers import make_jpeg, make_xml
from PIL import Image

from ssd300.datasets.errors import StorageError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.parse import parse_source

ANT = make_xml([("ant", 30, 20, 150, 100)])
PICTURE = make_jpeg()


def picture(encoding: str, width: int = 300, height: int = 200) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(make_jpeg(width, height))).save(buffer, encoding)
    return buffer.getvalue()


def named(filename: str, *, size: tuple[int, int] = (300, 200)) -> bytes:
    """An annotation that says which file it describes."""
    xml = make_xml([("ant", 30, 20, 150, 100)], size=size).decode()
    return xml.replace("<annotation>", f"<annotation><folder>x</folder><filename>{filename}</filename>").encode()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def read(root: Path, image_set: str = "") -> dict[str, str]:
    """By id: the image's path in the tree, or the fault."""
    source = parse_source(f"train={root}{image_set}")
    ids = source.ids()
    found = zip(ids, source.read(ids), strict=True)
    return {
        name: one.fault if isinstance(one, RejectedError) else one.path.removeprefix(f"{root}/") for name, one in found
    }


def test_label_studio_has_annotations_and_images(tmp_path: Path) -> None:
    root = write(tmp_path, {"Annotations/p0.xml": named("p0"), "images/p0.jpg": PICTURE, "classes.txt": b"ant\n"})
    assert read(root) == {"p0": "images/p0.jpg"}


def test_cvat_has_sub_folders(tmp_path: Path) -> None:
    files: dict[str, bytes] = {"labelmap.txt": b"# label:color_rgb:parts:actions\nant:1,2,3::\n"}
    for name in ("cam0/frame_000002", "cam1/frame_000001", "top_000"):
        files |= {f"Annotations/{name}.xml": named(f"{name}.jpg"), f"JPEGImages/{name}.jpg": PICTURE}
    lines = "cam0/frame_000002\ncam1/frame_000001\ntop_000\n"
    root = write(tmp_path, {**files, "ImageSets/Main/default.txt": lines.encode()})
    expected = {name: f"JPEGImages/{name}.jpg" for name in lines.split()}
    assert read(root) == read(root, ":default") == expected


def test_roboflow_has_a_folder_for_each_split(tmp_path: Path) -> None:
    files = {"README.roboflow.txt": b"exported"}
    for split, names in {"train": ("a_jpg.rf.0c1d", "b_png.rf.77aa"), "valid": ("c_jpg.rf.1",)}.items():
        for name in names:
            files |= {f"{split}/{name}.jpg": PICTURE, f"{split}/{name}.xml": named(f"{name}.jpg")}
    root = write(tmp_path / "export", files)
    assert read(root / "train") == {name: f"{name}.jpg" for name in ("a_jpg.rf.0c1d", "b_png.rf.77aa")}
    assert list(read(root)) == ["train/a_jpg.rf.0c1d", "train/b_png.rf.77aa", "valid/c_jpg.rf.1"]
    assert FolderSource("train", str(root)).ignored() == {"other_file": 1}


@pytest.mark.parametrize("flags", [" 1", "  -1", ""])
def test_vott_lists_file_names(tmp_path: Path, flags: str) -> None:
    files = {"ImageSets/Main/ant_train.txt": f"p0.jpg{flags}\r\np1.png{flags}\r\n".encode()}
    for name, suffix in (("p0", "jpg"), ("p1", "png")):
        files |= {f"Annotations/{name}.xml": named(f"{name}.{suffix}"), f"JPEGImages/{name}.{suffix}": PICTURE}
    assert read(write(tmp_path, files), ":ant_train") == {"p0": "JPEGImages/p0.jpg", "p1": "JPEGImages/p1.png"}


def test_annotations_under_the_whole_name_of_their_images(tmp_path: Path) -> None:
    files = {"a.jpg": PICTURE, "a.jpg.xml": ANT, "a.png": picture("PNG"), "a.png.xml": ANT, "b.jpg": PICTURE}
    root = write(tmp_path, {**files, "b.xml": ANT, "train.txt": b"a.jpg\na.png\n"})
    assert read(root) == {"a.jpg": "a.jpg", "a.png": "a.png", "b": "b.jpg"}
    assert read(root, ":train") == {"a.jpg": "a.jpg", "a.png": "a.png"}


ENDINGS = {
    **dict.fromkeys(("Jpg", "jfif", "jpe", "JPE"), "JPEG"),
    "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "Tiff": "TIFF", "webp": "WEBP", "ppm": "PPM",
}  # fmt: skip


@pytest.mark.parametrize("xml", [ANT, None], ids=["no file name", "file name"])
def test_images_of_all_endings_are_found(tmp_path: Path, xml: bytes | None) -> None:
    names = {f"e_{suffix}": f"e_{suffix}.{suffix}" for suffix in ENDINGS}
    files = {file: picture(ENDINGS[file.rpartition(".")[2]]) for file in names.values()}
    files |= {f"{stem}.xml": xml or named(file) for stem, file in names.items()}
    root = write(tmp_path, {**files, "train.txt": "\n".join(names).encode()})
    assert read(root) == names
    assert read(root, ":train") == names


def test_an_annotation_in_capitals_is_found(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.JPG": PICTURE, "a.XML": ANT})
    assert read(root) == {"a": "a.JPG"}


SAME = {"s.jpg": make_jpeg(200, 200), "s.png": picture("PNG")}


@pytest.mark.parametrize("xml", [named("s.png"), named("other.bmp"), ANT], ids=["by name", "by size", "no name"])
def test_of_two_images_of_one_name_the_one_that_the_annotation_describes_is_taken(tmp_path: Path, xml: bytes) -> None:
    assert read(write(tmp_path, {**SAME, "s.xml": xml})) == {"s.jpg": "missing_annotation", "s.png": "s.png"}


def test_two_images_that_fit_one_annotation_are_rejected(tmp_path: Path) -> None:
    files = {"s.jpg": PICTURE, "s.png": picture("PNG"), "s.xml": ANT, "train.txt": b"s\n"}
    assert read(write(tmp_path, files)) == dict.fromkeys(("s.jpg", "s.png"), "shared_annotation")
    assert read(tmp_path, ":train") == {"s": "shared_annotation"}


def test_sub_folders_of_a_flat_folder_and_links_to_folders_are_read_once(tmp_path: Path) -> None:
    files = {f"{name}.{end}": PICTURE if end == "jpg" else ANT for name in ("a", "sub/b") for end in ("jpg", "xml")}
    root = write(tmp_path / "root", files)
    elsewhere = write(tmp_path / "elsewhere", {"c.jpg": PICTURE, "c.xml": ANT})
    (root / "linked").symlink_to(elsewhere)
    (root / "sub/up").symlink_to(root)
    assert read(root) == {name: f"{name}.jpg" for name in ("a", "linked/c", "sub/b")}


def test_files_of_macos_and_hidden_folders_are_passed_over_and_counted(tmp_path: Path) -> None:
    files = {}
    for place, data in (("Annotations/{}p0.xml", ANT), ("JPEGImages/{}p0.jpg", PICTURE)):
        files |= {place.format(before): data for before in ("", "._", ".ipynb_checkpoints/")}
    root = write(tmp_path, {**files, "JPEGImages/.DS_Store": b"x", "Annotations/stray.png": b"x"})
    assert read(root) == {"p0": "JPEGImages/p0.jpg"}
    assert FolderSource("train", str(root)).ignored() == {"mac_file": 2, "hidden_file": 2, "other_file": 2}


def test_a_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "root", {"a.jpg": PICTURE, "a.xml": ANT})
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(root)
    for spelling in (".", "../root", "~/root", f"{root}/", str(root)):
        assert parse_source(f"train={spelling}") == FolderSource("train", str(root))
    linked = parse_source(f"train={tmp_path}/link")
    assert (linked.root, linked.real_root) == (f"{tmp_path}/link", str(root))
    assert linked.path_parts[-1] == "link"


@pytest.mark.parametrize("is_there", [False, True], ids=["gone", "empty"])
def test_a_tree_that_is_gone_is_a_fault_of_the_storage_and_no_missing_image(tmp_path: Path, is_there: bool) -> None:
    root = write(tmp_path / "root", {"a.jpg": PICTURE, "a.xml": ANT})
    ids = FolderSource("train", str(root)).ids()
    root.rename(tmp_path / "elsewhere")
    if is_there:
        root.mkdir()
    with pytest.raises(StorageError, match=f"{root} could not be read"):
        list(FolderSource("train", str(root)).read(ids))
