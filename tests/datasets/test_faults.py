"""The list of faults, and the error that carries one."""

import pickle
from pathlib import Path

import pytest

from ssd300.datasets.faults import FAULTS, RejectedError


def test_every_fault_is_under_its_own_name_with_an_action_and_a_meaning():
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert name.isidentifier()
        assert fault.action in ("repaired", "kept", "rejected", "ignored")
        assert fault.meaning


def test_what_the_design_says_is_repaired_kept_or_rejected():
    def names(action):
        return {name for name, fault in FAULTS.items() if fault.action == action}

    repaired, kept, rejected = map(names, ("repaired", "kept", "rejected"))
    assert {"clipped_box", "class_spelling", "exif_rotated", "wrong_size", "not_jpeg"} <= repaired
    assert {
        "overreaching_box",
        "missing_size",
        "swapped_size",
        "small_object",
        "odd_colors",
        "sixteen_bits",
    } <= repaired
    assert "listed_twice" in repaired
    assert kept == {"no_objects", "in_two_splits", "exif_unclear"}
    assert {"unsafe_id", "dropped_empty"} <= rejected
    assert {"malformed_xml", "undecodable_picture", "missing_picture", "unknown_class", "gigantic_picture"} <= rejected


def test_an_error_carries_fault_path_and_message():
    error = RejectedError("no_area", "a/b.xml", "the box has no area")
    assert isinstance(error, ValueError)
    assert (error.fault, error.path, error.message) == ("no_area", "a/b.xml", "the box has no area")
    assert "the box has no area" in str(error)


def test_an_error_says_in_which_file():
    assert "a/b.xml" in str(RejectedError("no_area", "a/b.xml", "the box has no area"))


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(RejectedError("no_area", "a/b.xml", "the box")))
    assert (error.fault, error.path, error.message) == ("no_area", "a/b.xml", "the box")


@pytest.mark.parametrize("fault", ["clipped_box", "no_objects"])
def test_a_repaired_or_kept_fault_cannot_reject(fault):
    with pytest.raises(ValueError, match=fault):
        RejectedError(fault, "a.xml", "cut")


def test_an_unknown_fault_cannot_reject():
    with pytest.raises(KeyError):
        RejectedError("no_such_fault", "a.xml", "what")


def test_the_documentation_lists_every_fault():
    text = (Path(__file__).parents[2] / "docs" / "dataset.md").read_text(encoding="utf-8")
    for fault in FAULTS.values():
        assert f"| `{fault.name}` | {fault.action} | {fault.meaning} |" in text
