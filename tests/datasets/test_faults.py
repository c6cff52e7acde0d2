"""The list of faults, and the error that carries one."""

import pickle
from pathlib import Path

import pytest

from ssd300.datasets.faults import FAULTS, RejectedError


def test_every_fault_is_under_its_own_name_with_an_action_and_a_meaning():
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert name.isidentifier()
        assert fault.action in ("repaired", "rejected")
        assert fault.meaning


def test_what_the_design_says_is_repaired_or_rejected():
    repaired = {name for name, fault in FAULTS.items() if fault.action == "repaired"}
    assert {"clipped_box", "class_spelling", "exif_rotated", "wrong_size", "not_jpeg"} <= repaired
    rejected = FAULTS.keys() - repaired
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


def test_a_repaired_or_unknown_fault_cannot_reject():
    with pytest.raises(ValueError, match="clipped_box"):
        RejectedError("clipped_box", "a.xml", "cut")
    with pytest.raises(KeyError):
        RejectedError("no_such_fault", "a.xml", "what")


def test_the_documentation_lists_every_fault():
    text = (Path(__file__).parents[2] / "docs" / "dataset.md").read_text(encoding="utf-8")
    for fault in FAULTS.values():
        assert f"| `{fault.name}` | {fault.action} | {fault.meaning} |" in text
