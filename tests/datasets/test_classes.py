"""Class lists: labels, spelling, files, and the names found in annotations."""

import pytest

from ssd300.datasets.classes import VOC, ClassList, alike, canonical, from_names, read_class_file


@pytest.mark.parametrize("name", ["diningtable", "DiningTable", " dining  table ", "Dining\tTable\n"])
def test_canonical_ignores_case_and_whitespace(name):
    assert canonical(name) == "diningtable"


def test_canonical_keeps_other_characters():
    assert canonical("T-Shirt_2") == "t-shirt_2"


def test_voc_labels_count_from_one_in_alphabetical_order():
    assert len(VOC.names) == 20
    assert list(VOC.names) == sorted(VOC.names)
    assert [VOC.label(name) for name in ("aeroplane", "cat", "person", "tvmonitor")] == [1, 8, 15, 20]
    assert VOC.with_background[0] == "background"
    assert VOC.with_background[15] == "person"


def test_labels_follow_the_lists_own_order():
    classes = ClassList(("zebra", "ant"))
    assert (classes.label("zebra"), classes.label("ant")) == (1, 2)
    assert classes.with_background == ("background", "zebra", "ant")


def test_label_one_is_the_first_class_and_others_outside_the_list_have_no_name():
    assert [ClassList(("zebra", "ant")).name(label) for label in (1, 2)] == ["zebra", "ant"]
    for label in (-1, 0, 3):
        with pytest.raises(IndexError):
            ClassList(("zebra", "ant")).name(label)


def test_a_label_is_found_in_any_spelling_and_is_exact_tells_them_apart():
    classes = ClassList(("Traffic Light", "car"))
    assert classes.label("traffic light") == classes.label("TRAFFICLIGHT") == 1
    assert classes.is_exact("Traffic Light")
    assert not classes.is_exact("traffic light")


@pytest.mark.parametrize("name", ["dog", "background", ""])
def test_a_name_that_is_not_in_the_list_has_no_label(name):
    with pytest.raises(KeyError):
        ClassList(("cat",)).label(name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "at least one"),
        (("cat", " "), "empty"),
        (("cat", "dog", " cat\n"), "'cat' twice"),
    ],
)
def test_lists_that_cannot_be_used(names, message):
    with pytest.raises(ValueError, match=message):
        ClassList(names)


def test_equal_lists_are_equal_and_hash_alike():
    assert ClassList(("a", "b")) == ClassList(("a", "b"))
    assert hash(ClassList(("a", "b"))) == hash(ClassList(("a", "b")))
    assert ClassList(("a", "b")) != ClassList(("b", "a"))


def test_a_class_file_has_a_name_a_line_comments_and_blank_lines(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# my classes\n\nzebra\n  traffic light \n\t# later: bus\ncaf\u00e9\n", encoding="utf-8")
    assert read_class_file(path) == ClassList(("zebra", "traffic light", "caf\u00e9"))


def test_a_class_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.txt cannot be read: there is no such file"):
        read_class_file(tmp_path / "none.txt")


def test_a_class_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "classes.bin").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"classes\.bin"):
        read_class_file(tmp_path / "classes.bin")


@pytest.mark.parametrize(("text", "message"), [("# nothing\n", "at least one"), ("cat\n cat\n", "'cat' twice")])
def test_a_bad_list_in_a_file_names_the_file(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.txt.*{message}"):
        read_class_file(tmp_path / "classes.txt")


def test_names_that_occur_become_a_sorted_list():
    assert from_names(["zebra", "ant", "zebra"]) == ClassList(("ant", "zebra"))


def test_of_several_spellings_that_differ_in_whitespace_the_most_frequent_stays():
    names = ["Dining Table", "DiningTable", "Dining\n  Table", " Cat", "Cat "]
    assert from_names(names).names == ("Cat", "Dining Table")


def test_names_that_differ_in_case_are_several_classes_and_are_named():
    classes = from_names(["b", "A", "a", "B", "A", "c"])
    assert classes.names == ("A", "a", "B", "b", "c")
    assert [classes.label(name) for name in ("A", "a", "B", "b", "c", "C")] == [1, 2, 3, 4, 5, 5]
    assert alike(classes) == [("A", "a"), ("B", "b")]
    assert alike(VOC) == []


def test_a_spelling_between_two_names_that_differ_in_case_is_none_of_them():
    with pytest.raises(KeyError):
        ClassList(("Dog", "dog")).label("DOG")


def test_names_are_folded():
    assert ClassList(("traffic\n      light", "cafe\u0301")).names == ("traffic light", "caf\u00e9")
    assert ClassList(("caf\u00e9",)).label("CAFE\u0301") == 1


def test_a_class_may_be_called_background():
    assert ClassList(("ant", "background")).with_background == ("_background_", "ant", "background")
    assert ClassList(("_background_", "background")).with_background[0] == "__background__"
    assert from_names(["background", "ant"]).label("background") == 2


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfcat\r\ndog\r\n", b"cat\ndog"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, content):
    (tmp_path / "classes.txt").write_bytes(content)
    assert read_class_file(tmp_path / "classes.txt").names == ("cat", "dog")


def test_a_tie_of_spellings_does_not_depend_on_their_order():
    assert from_names(["A b", "Ab"]) == from_names(["Ab", "A b"])


def test_no_names_are_no_list():
    with pytest.raises(ValueError, match="at least one"):
        from_names(["", " "])
