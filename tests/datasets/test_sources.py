"""Sources: their text form, the lines of image sets, and the paths of pictures."""

import pytest

from ssd300.datasets.sources import Source, tree_names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train=VOCdevkit/VOC2007:trainval", Source("train", "VOCdevkit/VOC2007", "trainval")),
        ("test=/data/VOC2007/:test", Source("test", "/data/VOC2007", "test")),
        ("train=gs://bucket/VOC2012:train", Source("train", "gs://bucket/VOC2012", "train")),
        ("train_2=C:/voc=2007:val", Source("train_2", "C:/voc=2007", "val")),
    ],
)
def test_parse(text, expected):
    assert Source.parse(text) == expected


def test_the_text_form_goes_round():
    source = Source("train", "VOCdevkit/VOC2007", "trainval")
    assert str(source) == "train=VOCdevkit/VOC2007:trainval"
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "VOC2007",
        "train=VOC2007",
        "VOC2007:train",
        "=VOC2007:train",
        "train=:trainval",
        "train=VOC2007:",
        "my split=VOC2007:train",
        "train/x=VOC2007:train",
        "train-1=VOC2007:train",
        "train=VOC2007:sets/train",
    ],
)
def test_texts_that_name_no_source_say_what_is_expected(text):
    with pytest.raises(ValueError, match=r"SPLIT=TREE:IMAGE_SET"):
        Source.parse(text)


def ids(voc_tree, content: bytes) -> list[str]:
    root = voc_tree({}, files={"ImageSets/Main/train.txt": content})
    return Source("train", str(root), "train").ids()


def test_ids_keep_their_order(voc_tree):
    assert ids(voc_tree, b"000012\n000003\n000007\n") == ["000012", "000003", "000007"]


def test_flags_of_a_class_file_are_cut_off(voc_tree):
    assert ids(voc_tree, b"000012 -1\n000017  1\n000023  0\n") == ["000012", "000017", "000023"]


def test_flags_behind_a_tab_are_cut_off(voc_tree):
    assert ids(voc_tree, b"000012\t-1\n000017\t1\n") == ["000012", "000017"]


def test_blank_lines_windows_line_ends_blanks_and_a_byte_order_mark_are_skipped(voc_tree):
    assert ids(voc_tree, b"\xef\xbb\xbf000012\r\n\r\n  000017 \r\n2008_000008") == ["000012", "000017", "2008_000008"]


def test_ids_that_look_like_flags_stay(voc_tree):
    assert ids(voc_tree, b"1\n0\n-1\n") == ["1", "0", "-1"]


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_an_empty_image_set_is_an_error_that_names_the_file(voc_tree, content):
    with pytest.raises(ValueError, match=r"ImageSets/Main/train\.txt names no picture"):
        ids(voc_tree, content)


def test_a_missing_image_set_is_an_error_that_names_the_file(voc_tree):
    root = voc_tree({"a": []})
    with pytest.raises(ValueError, match=r"ImageSets/Main/val\.txt"):
        Source("train", str(root), "val").ids()


def test_a_missing_tree_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        Source("train", str(tmp_path / "nowhere"), "train").ids()


def test_an_image_set_that_is_not_text_is_an_error(voc_tree):
    with pytest.raises(ValueError, match=r"train\.txt"):
        ids(voc_tree, b"\xff\xfe\x00\x01")


def test_paths_of_a_picture():
    source = Source("train", "voc/VOC2007", "train")
    assert source.annotation_path("000012") == "voc/VOC2007/Annotations/000012.xml"
    assert source.picture_paths("000012")[0] == "voc/VOC2007/JPEGImages/000012.jpg"
    assert "voc/VOC2007/JPEGImages/000012.png" in source.picture_paths("000012")


def test_all_is_no_name_of_a_split():
    """TFDS means every split by it, and cannot read a dataset that has one of that name."""
    with pytest.raises(ValueError, match="'all'"):
        Source.parse("all=VOC2007:train")


def test_trees_are_named_by_as_much_of_their_paths_as_it_takes():
    def named(*roots):
        return list(tree_names([Source("train", root, "trainval") for root in roots]).values())

    assert named("data/VOC2007", "data/VOC2012") == ["VOC2007", "VOC2012"]
    assert named("a/VOC2007", "b/VOC2007") == ["a/VOC2007", "b/VOC2007"]
    assert named("/VOC2007", "/VOC2007") == ["VOC2007"]
