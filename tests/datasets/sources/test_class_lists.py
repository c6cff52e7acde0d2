"""What a ``--classes`` argument means."""

import pytest

from ssd300.datasets.classes import VOC, ClassList
from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.parse import resolve_classes

BOX = (10, 20, 110, 120)


def test_voc_reads_nothing(tmp_path):
    assert resolve_classes("voc", (FolderSource("train", str(tmp_path / "nowhere"), "x"),)) is VOC


def test_a_file(tmp_path):
    (tmp_path / "classes.txt").write_text("zebra\nant\n")
    assert resolve_classes(str(tmp_path / "classes.txt"), ()) == ClassList(("zebra", "ant"))


def test_auto_collects_the_names_of_all_sources(voc_tree):
    first = voc_tree({"a": [("zebra", *BOX)], "b": [("Ant", *BOX), ("ant", *BOX), ("ant", *BOX)]}, name="first")
    second = voc_tree({"c": [("mole", *BOX)], "d": []}, name="second")
    sources = (FolderSource("train", str(first), "train"), FolderSource("test", str(second), "train"))
    assert resolve_classes("auto", sources) == ClassList(("Ant", "ant", "mole", "zebra"))


def test_auto_looks_only_at_the_pictures_of_the_image_sets(voc_tree):
    root = voc_tree({"a": [("zebra", *BOX)], "b": [("ant", *BOX)]}, image_sets={"train": ["a"]})
    assert resolve_classes("auto", (FolderSource("train", str(root), "train"),)) == ClassList(("zebra",))


def test_auto_skips_annotations_that_the_job_will_reject(voc_tree):
    root = voc_tree(
        {"a": [("zebra", *BOX)], "b": [], "c": []},
        files={"Annotations/b.xml": b"<annotation><object>", "Annotations/c.xml": None},
    )
    assert resolve_classes("auto", (FolderSource("train", str(root), "train"),)) == ClassList(("zebra",))


def test_auto_without_an_object_is_an_error_that_names_the_sources(voc_tree):
    source = FolderSource("train", str(voc_tree({"a": []})), "train")
    with pytest.raises(InputError, match=r"VOC2007:train: no annotation has an object$"):
        resolve_classes("auto", (source,))


def test_auto_says_why_no_annotation_can_be_used(voc_tree):
    files = {"Annotations/b.xml": b"<annotation>", "Annotations/c.xml": b"", "Annotations/d.xml": None}
    source = FolderSource("train", str(voc_tree({name: [("ant", *BOX)] for name in "bcd"}, files=files)), "train")
    with pytest.raises(InputError) as raised:
        resolve_classes("auto", (source,))
    first, second, third = str(raised.value).splitlines()
    assert "VOC2007:train: no annotation with an object can be used" in first
    assert second.split()[:2] == ["2", "malformed_xml,"]
    assert third.split()[:2] == ["1", "missing_annotation,"]
    assert "Annotations/d.xml" in third
