"""Folder sources on disk: flat LabelImg folders, other layouts, endings, and what has no partner."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

from ssd300.datasets import record
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.parse import parse_source
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings

CLASSES = ClassList(("ant", "bee"))
ANT = [("ant", 30, 20, 150, 100)]
BEE = [("bee", 100, 50, 280, 190)]


@pytest.fixture
def folder(tmp_path, jpeg, voc_xml):
    """Writes files by path into a folder; True is a JPEG, a list of objects an annotation."""

    def write(files: dict) -> Path:
        for path, what in files.items():
            data = jpeg() if what is True else voc_xml(what) if isinstance(what, list) else what
            (tmp_path / "pictures" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "pictures" / path).write_bytes(data)
        return tmp_path / "pictures"

    return write


def outcome(source) -> dict[str, str]:
    """By id: the image's path in the folder, or the fault and its file."""
    ids = source.ids()
    found = {}
    for picture_id, raw in zip(ids, source.read(ids), strict=True):
        said = f"{raw.fault} {raw.path}" if isinstance(raw, RejectedError) else raw.path
        found[picture_id] = said.replace(f"{source.root}/", "")
    assert list(found) == ids
    return found


def names_in(source) -> list[str]:
    return sorted(found for found in source.class_names() if not isinstance(found, RejectedError))


FLAT = {"a.jpg": True, "a.xml": ANT, "b.jpg": True, "b.xml": BEE, "classes.txt": b"ant\nbee\n", "notes.md": b"mine"}


def test_a_flat_folder_is_read_whole_in_the_order_of_its_names(folder):
    source = parse_source(f"train={folder(FLAT)}")
    assert outcome(source) == {"a": "a.jpg", "b": "b.jpg"}
    (first, _) = source.read(["a", "b"])
    assert [one.name for one in first.annotation.objects] == ["ant"]
    assert first.annotation_path == f"{source.root}/a.xml"


def test_an_image_set_in_the_folder_itself_names_what_is_read(folder):
    root = folder({**FLAT, "val.txt": b"b\n", "c.jpg": True})
    assert outcome(parse_source(f"train={root}:val")) == {"b": "b.jpg"}
    assert outcome(parse_source(f"train={root}")).keys() == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("text", "root", "image_set"),
    [
        ("train=gs://bucket/folder", "gs://bucket/folder", None),
        ("train=gs://bucket/folder:val", "gs://bucket/folder", "val"),
        ("train=pictures/", "pictures", None),
        ("train=./my pictures", "./my pictures", None),
    ],
)
def test_texts_of_folders(text, root, image_set):
    source = parse_source(text)
    assert source == FolderSource("train", root, image_set)
    assert parse_source(str(source)) == source


@pytest.mark.parametrize("names", [("annotations", "images"), ("Annotations", "JPEGImages")])
def test_trees_without_an_image_set_are_read_whole(folder, names):
    annotations, images = names
    root = folder(
        {f"{annotations}/b.xml": BEE, f"{images}/b.jpg": True, f"{annotations}/a.xml": ANT, f"{images}/a.jpg": True}
    )
    assert outcome(parse_source(f"train={root}")) == {"a": f"{images}/a.jpg", "b": f"{images}/b.jpg"}


@pytest.mark.parametrize("where", ["ImageSets/Main", "ImageSets", "."])
def test_an_image_set_is_found_in_each_of_its_places(folder, where):
    files = {"Annotations/a.xml": ANT, "JPEGImages/a.jpg": True, "Annotations/b.xml": BEE, "JPEGImages/b.jpg": True}
    root = folder({**files, f"{where}/val.txt": b"\xef\xbb\xbfb\r\n\r\n"})
    assert outcome(parse_source(f"train={root}:val")) == {"b": "JPEGImages/b.jpg"}


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG"])
def test_pictures_of_each_ending_are_found(folder, suffix):
    root = folder({f"a{suffix}": True, "a.xml": ANT})
    assert outcome(parse_source(f"train={root}")) == {"a": f"a{suffix}"}


def test_names_with_dots_spaces_and_other_letters_are_ids(folder):
    names = ("a.b", "my picture 1", "\u00fcber \u732b", ".hidden")
    root = folder({f"{name}.{end}": True if end == "jpg" else ANT for name in names for end in ("jpg", "xml")})
    assert outcome(parse_source(f"train={root}")) == {name: f"{name}.jpg" for name in sorted(names)}


ODD = {
    **FLAT,
    "alone.jpg": True,
    "lost.xml": ANT,
    "ALONE2.PNG": True,
    "same.jpg": True,
    "same.png": True,
    "same.xml": ANT,
}


def test_a_picture_without_xml_and_an_xml_without_picture_are_rejected(folder):
    assert outcome(parse_source(f"train={folder(ODD)}")) == {
        "ALONE2": "missing_annotation ALONE2.xml",
        "a": "a.jpg",
        "alone": "missing_annotation alone.xml",
        "b": "b.jpg",
        "lost": "missing_picture lost.jpg",
        "same.jpg": "shared_annotation same.xml",
        "same.png": "shared_annotation same.xml",
    }


def test_a_job_over_a_flat_folder_reports_every_picture(folder, tmp_path):
    source = parse_source(f"train={folder(ODD)}")
    report = preprocess(
        PreprocessSettings((source,), CLASSES), str(tmp_path / "out"), Execution(workers=1, max_rejected=1.0)
    )
    total = report["total"]
    assert (total["read"], total["written"], total["rejected"]) == (7, 2, 5)
    assert total["rejected_by_fault"] == {"missing_annotation": 2, "shared_annotation": 2, "missing_picture": 1}
    assert total["objects"] == {"ant": 1, "bee": 1}
    files = list(map(str, (tmp_path / "out").glob("ssd300-train.tfrecord-*")))
    records = [record.parse_record(one) for one in tf.data.TFRecordDataset(files).as_numpy_iterator()]
    assert {one.picture_id: one.filename for one in records} == {
        "pictures/a": "a.jpg",
        "pictures/b": "b.jpg",
    }
    rows = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert {Path(row["path"]).name for row in rows} == {"ALONE2.xml", "alone.xml", "lost.jpg", "same.xml"}


def test_a_folder_under_the_name_of_a_picture_is_a_missing_picture(folder):
    root = folder({**FLAT, "c.xml": ANT, "c.jpg/inner.txt": b"", "d.jpg": True, "d.xml/inner.txt": b""})
    found = outcome(parse_source(f"train={root}"))
    assert found["c"] == "missing_picture c.jpg"
    assert found["d"] == "missing_annotation d.xml"


def test_class_names_of_a_flat_folder_are_those_of_its_xml_and_not_of_classes_txt(folder):
    root = folder({**FLAT, "classes.txt": b"zebra\n", "broken.xml": b"<annotation>", "alone.jpg": True})
    assert names_in(parse_source(f"train={root}")) == ["ant", "bee"]


def test_a_folder_without_pictures_says_so(folder):
    root = folder({"classes.txt": b"ant\n"})
    with pytest.raises(ValueError, match="lists no images") as raised:
        parse_source(f"train={root}").ids()
    assert str(root) in str(raised.value)


def test_a_missing_image_set_names_the_file_that_was_looked_for(folder):
    root = folder(FLAT)
    with pytest.raises(ValueError, match=r"ImageSets/Main/val\.txt"):
        parse_source(f"train={root}:val").ids()


def test_a_name_that_is_no_utf_8_is_reported_or_its_folder_named(folder, voc_xml):
    root = folder(FLAT)
    name = str(root).encode() + b"/caf\xe9.xml"
    Path(name.decode(errors="surrogateescape")).write_bytes(voc_xml(ANT))
    source = parse_source(f"train={root}")
    try:
        found = outcome(source)
    except ValueError as error:
        assert str(root) in str(error)  # noqa: PT017 - one of two ways to be right
    else:
        assert {"a", "b"} < found.keys()


def test_two_spellings_of_one_folder_are_one_tree(folder):
    root = folder(FLAT)
    sources = tuple(parse_source(text) for text in (f"train={root}", f"val={root.parent}/./{root.name}"))
    plan = make_plan(PreprocessSettings(sources, CLASSES))
    assert plan.findings["train"] == {"in_two_splits": 2, "other_file": 2}


def test_two_spellings_of_one_folder_give_no_picture_twice(folder):
    root = folder(FLAT)
    sources = tuple(parse_source(text) for text in (f"train={root}", f"train={root.parent}//{root.name}"))
    plan = make_plan(PreprocessSettings(sources, CLASSES))
    assert plan.pictures == 2
    assert plan.findings["train"] == {"listed_twice": 2, "other_file": 2}
