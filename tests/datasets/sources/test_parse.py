"""Sources: their text form, the lines of image sets, the paths of images, and reading them."""

from pathlib import Path

import pytest

from ssd300.datasets.faults import RejectedError
from ssd300.datasets.sources.base import RawPicture
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.parse import parse_source, tree_names
from ssd300.datasets.sources.tfds import TfdsSource


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train=VOCdevkit/VOC2007:trainval", FolderSource("train", "VOCdevkit/VOC2007", "trainval")),
        ("test=/data/VOC2007/:test", FolderSource("test", "/data/VOC2007", "test")),
        ("train=gs://bucket/VOC2012:train", FolderSource("train", "gs://bucket/VOC2012", "train")),
        ("train_2=C:/voc=2007:val", FolderSource("train_2", "C:/voc=2007", "val")),
        ("train=my/pictures", FolderSource("train", "my/pictures")),
        ("train=my/pictures/", FolderSource("train", "my/pictures")),
        ("train=gs://bucket/pictures", FolderSource("train", "gs://bucket/pictures")),
        ("train=/", FolderSource("train", "/")),
        ("train=tfds:voc/2012:train[:80%]", TfdsSource("train", "voc/2012", "train[:80%]")),
    ],
)
def test_parse(text, expected):
    assert parse_source(text) == expected


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (FolderSource("train", "/data/VOC2007", "trainval"), "train=/data/VOC2007:trainval"),
        (FolderSource("train", "gs://bucket/pictures"), "train=gs://bucket/pictures"),
        (TfdsSource("test", "voc/2012", "validation"), "test=tfds:voc/2012:validation"),
    ],
)
def test_the_text_form_goes_round(source, text):
    assert str(source) == text
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "VOC2007",
        "train=",
        "train=tfds:voc/2012",
        "train=tfds::train",
        "VOC2007:train",
        "=VOC2007:train",
        "train=:trainval",
        "train=VOC2007:",
        "my split=VOC2007:train",
        "train/x=VOC2007:train",
        "train-1=VOC2007:train",
    ],
)
def test_texts_that_name_no_source_say_what_is_expected(text):
    with pytest.raises(ValueError, match=r"SPLIT=TREE:IMAGE_SET"):
        parse_source(text)


def test_a_path_after_the_colon_is_not_an_image_set_but_part_of_a_folder():
    assert parse_source("train=VOC2007:sets/train") == FolderSource("train", "VOC2007:sets/train")


@pytest.mark.parametrize(("root", "image_set"), [("", "train"), ("VOC2007", "sets/train")])
def test_a_source_of_no_folder_or_no_image_set_is_refused(root, image_set):
    with pytest.raises(ValueError, match="the name of an image set, got"):
        FolderSource("train", root, image_set)


def ids(voc_tree, content: bytes) -> list[str]:
    root = voc_tree({}, files={"ImageSets/Main/train.txt": content})
    return FolderSource("train", str(root), "train").ids()


def test_ids_keep_their_order(voc_tree):
    assert ids(voc_tree, b"000012\n000003\n000007\n") == ["000012", "000003", "000007"]


def test_flags_of_a_class_file_are_cut_off(voc_tree):
    assert ids(voc_tree, b"000012 -1\n000017  1\n000023  0\n") == ["000012", "000017", "000023"]


def test_flags_after_a_tab_are_cut_off(voc_tree):
    assert ids(voc_tree, b"000012\t-1\n000017\t1\n") == ["000012", "000017"]


def test_blank_lines_windows_line_ends_spaces_and_a_byte_order_mark_are_skipped(voc_tree):
    assert ids(voc_tree, b"\xef\xbb\xbf000012\r\n\r\n  000017 \r\n2008_000008") == ["000012", "000017", "2008_000008"]


def test_ids_that_look_like_flags_stay(voc_tree):
    assert ids(voc_tree, b"1\n0\n-1\n") == ["1", "0", "-1"]


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_image_set_is_an_error_that_names_the_file(voc_tree, content):
    with pytest.raises(ValueError, match=r"ImageSets/Main/train\.txt lists no images"):
        ids(voc_tree, content)


def test_a_missing_image_set_is_an_error_that_names_the_file(voc_tree):
    root = voc_tree({"a": []})
    with pytest.raises(ValueError, match=r"ImageSets/Main/val\.txt"):
        FolderSource("train", str(root), "val").ids()


def test_a_missing_tree_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        FolderSource("train", str(tmp_path / "nowhere"), "train").ids()


def test_an_image_set_that_is_not_text_is_an_error(voc_tree):
    with pytest.raises(ValueError, match=r"train\.txt"):
        ids(voc_tree, b"\xff\xfe\x00\x01")


@pytest.mark.parametrize(
    ("annotations", "pictures"),
    [("/Annotations", "/JPEGImages"), ("/annotations", "/images"), ("", "")],
    ids=["VOC", "lower case", "flat"],
)
def test_paths_of_a_picture(tmp_path, annotations, pictures):
    root = f"{tmp_path}/VOC2007"
    Path(f"{root}{annotations}").mkdir(parents=True)
    Path(f"{root}{pictures}").mkdir(parents=True, exist_ok=True)
    source = FolderSource("train", root, "train")
    assert source.annotation_path("000012") == f"{root}{annotations}/000012.xml"
    Path(f"{root}{annotations}/000012.xml").write_bytes(b"<annotation/>")
    Path(f"{root}{pictures}/000012.png").write_bytes(b"x")
    (found,) = source.read(["000012"])
    assert found.path == f"{root}{pictures}/000012.png"


@pytest.mark.parametrize("folder", ["ImageSets/Main/", "ImageSets/", ""])
def test_an_image_set_is_looked_for_where_trees_have_it(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / f"{folder}train.txt").write_text("b\na\n")
    assert FolderSource("train", str(tmp_path), "train").ids() == ["b", "a"]


def write_all(folder: Path, content: dict[str, bytes]) -> FolderSource:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return FolderSource("train", str(folder))


@pytest.mark.parametrize(
    ("annotations", "pictures"),
    [("Annotations/", "JPEGImages/"), ("annotations/", "images/"), ("", "")],
    ids=["VOC", "lower case", "flat"],
)
def test_without_an_image_set_all_of_the_folder_is_taken(tmp_path, jpeg, voc_xml, annotations, pictures):
    source = write_all(
        tmp_path / "my",
        {
            f"{annotations}b.xml": voc_xml([("ant", 30, 20, 150, 100)]),
            f"{pictures}b.JPG": jpeg(seed=1),
            f"{annotations}a.xml": voc_xml([]),
            f"{pictures}a.jpg": jpeg(seed=2),
            f"{annotations}only_xml.xml": voc_xml([]),
            f"{pictures}only_picture.png": b"x",
            f"{pictures}notes.md": b"no picture",
            f"{annotations}classes.txt": b"ant",
        },
    )
    assert source.ids() == ["a", "b", "only_picture", "only_xml"]
    first, second, no_xml, no_picture = source.read(source.ids())
    assert (first.data, first.annotation.objects) == (jpeg(seed=2), ())
    assert second.data == jpeg(seed=1)
    assert second.path == f"{tmp_path}/my/{pictures}b.JPG"
    assert second.annotation_path == f"{tmp_path}/my/{annotations}b.xml"
    assert (second.annotation.size, [one.name for one in second.annotation.objects]) == ((300, 200), ["ant"])
    assert (no_xml.fault, no_picture.fault) == ("missing_annotation", "missing_picture")
    assert source.content == "*"
    assert not source.sequential


def test_a_folder_without_a_picture_is_an_error_that_names_it(tmp_path):
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(ValueError, match=f"{tmp_path} lists no images"):
        FolderSource("train", str(tmp_path)).ids()


def test_pictures_are_read_in_the_order_asked_for_and_what_is_wrong_is_a_value(voc_tree):
    root = voc_tree({"a": [], "b": [], "c": []}, files={"Annotations/b.xml": b"<annotation>"})
    source = FolderSource("train", str(root), "train")
    found = list(source.read(["c", "b", "a"]))
    assert [type(one) for one in found] == [RawPicture, RejectedError, RawPicture]
    assert [one.path for one in found] == [f"{root}/{path}" for path in (
        "JPEGImages/c.jpg", "Annotations/b.xml", "JPEGImages/a.jpg",
    )]  # fmt: skip
    assert found[1].fault == "malformed_xml"
    assert source.content == "train"


@pytest.mark.parametrize("picture_id", ["../secret", "a/../../secret", ".."])
def test_an_id_that_leads_out_of_the_tree_is_not_followed(voc_tree, voc_xml, jpeg, picture_id):
    files = {"Annotations/secret.xml": voc_xml([]), "secret.xml": voc_xml([]), "secret.jpg": jpeg()}
    root = voc_tree({"a": []}, image_sets={"train": [picture_id]}, files=files)
    (error,) = FolderSource("train", str(root), "train").read([picture_id])
    assert error.fault == "unsafe_id"
    assert repr(picture_id) in error.message


@pytest.mark.parametrize("picture_id", ["a..b", "more/a"])
def test_an_id_with_dots_or_of_a_folder_in_the_tree_is_no_danger(voc_tree, picture_id):
    root = voc_tree({picture_id: []})
    (found,) = FolderSource("train", str(root), "train").read([picture_id])
    assert found.path == f"{root}/JPEGImages/{picture_id}.jpg"


def test_class_names_are_not_taken_from_outside_the_tree(voc_tree, voc_xml):
    box = (30, 20, 150, 100)
    root = voc_tree({"a": [("ant", *box)]}, image_sets={"train": ["a", "../../outside"]},
        files={"../outside.xml": voc_xml([("secret", *box)])})  # fmt: skip
    name, error = FolderSource("train", str(root), "train").class_names()
    assert (name, error.fault) == ("ant", "unsafe_id")


def test_class_names_are_those_of_the_annotations_that_can_be_used(voc_tree):
    box = (30, 20, 150, 100)
    root = voc_tree({"a": [("bee", *box), ("ant", *box)], "b": [("bee", *box)], "c": [("dog", *box)], "d": []},
        files={"Annotations/c.xml": b"<annotation>", "Annotations/d.xml": None})  # fmt: skip
    *names, broken, missing = FolderSource("train", str(root), "train").class_names()
    assert names == ["bee", "ant", "bee"]
    assert (broken.fault, missing.fault) == ("malformed_xml", "missing_annotation")


def test_all_is_no_name_of_a_split():
    """TFDS means every split by it, and cannot read a dataset that has one of that name."""
    with pytest.raises(ValueError, match="'all'"):
        parse_source("all=VOC2007:train")


def test_trees_are_named_by_as_much_of_their_paths_as_it_takes():
    def named(*roots):
        return list(tree_names([FolderSource("train", root, "trainval") for root in roots]).values())

    assert named("data/VOC2007", "data/VOC2012") == ["VOC2007", "VOC2012"]
    assert named("a/VOC2007", "b/VOC2007") == ["a/VOC2007", "b/VOC2007"]
    assert named("/VOC2007", "/VOC2007") == ["VOC2007"]
