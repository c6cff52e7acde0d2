"""The identity of a dataset: what it says, what it refuses, and that nobody changes it unnoticed."""

import dataclasses
import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.shapes import CLASSES
from ssd300.datasets.sources.folder import FolderSource
from ssd300.model.default_boxes import digest
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.identity import (
    Identity,
    IdentityMismatchError,
    IncompleteDatasetError,
    identity_of,
    read_identity,
)
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.settings import PreprocessSettings


@pytest.fixture
def dataset(shapes_dataset, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(shapes_dataset, tmp_path / "dataset"))


def test_a_dataset_says_what_it_was_made_with(shapes_dataset):
    identity = read_identity(shapes_dataset)
    assert identity.preset == "paper"
    assert identity.classes == ClassList(CLASSES)
    fields = identity.fields
    assert fields["default_boxes"] == digest(PAPER)
    assert fields["variances"] == [0.1, 0.1, 0.2, 0.2]
    assert (fields["matching"], fields["match_iou"]) == ("bipartite", 0.5)
    assert fields["coordinates"] == "caffe"
    assert fields["sources"] == ["train=tree:train", "test=tree:test"]
    assert fields["seed"] == 0
    assert (identity.copies, fields["copy_augmentation"]) == ({}, None)
    assert fields["code_version"] == importlib.metadata.version("ssd300")


def test_the_marker_carries_the_fingerprint(shapes_dataset):
    marker = json.loads(Path(shapes_dataset, "COMPLETED").read_text())
    assert marker["fingerprint"] == read_identity(shapes_dataset).fingerprint


def test_the_right_model_passes_the_check(shapes_dataset):
    read_identity(shapes_dataset).check(PAPER, num_classes=4)


@pytest.mark.parametrize(
    ("spec", "num_classes", "differing", "agreeing"),
    [
        (PAPER, 21, ["number of classes: the model expects 21, the dataset has 4"], ["preset", "default_boxes"]),
        (ARTICLE, 4, ["preset", "'article'", "'paper'", "default_boxes", "variances", "matching"], ["number", "iou"]),
        (dataclasses.replace(PAPER, match_iou=0.6), 4, ["match_iou: the model expects 0.6, the dataset has 0.5"], []),
        (dataclasses.replace(PAPER, variances=(0.1, 0.1, 0.1, 0.1)), 4, ["variances"], ["preset", "default_boxes"]),
    ],
    ids=["classes", "preset", "match_iou", "variances"],
)  # fmt: skip
def test_the_check_names_the_fields_that_differ_with_both_values(
    shapes_dataset, spec, num_classes, differing, agreeing
):
    with pytest.raises(IdentityMismatchError) as caught:
        read_identity(shapes_dataset).check(spec, num_classes)
    assert isinstance(caught.value, ValueError)
    for text in differing:
        assert text in str(caught.value)
    for text in agreeing:
        assert text not in str(caught.value).split("\n", 1)[1]


def test_a_different_grid_of_default_boxes_is_noticed(shapes_dataset):
    first, *others = PAPER.feature_maps
    moved = dataclasses.replace(PAPER, feature_maps=(dataclasses.replace(first, step=1 / 38), *others))
    with pytest.raises(IdentityMismatchError, match="default_boxes"):
        read_identity(shapes_dataset).check(moved, 4)


def test_the_fingerprint_depends_on_every_field_and_not_on_their_order(shapes_dataset):
    fields = read_identity(shapes_dataset).fields
    fingerprint = Identity(fields).fingerprint
    assert Identity(dict(reversed(fields.items()))).fingerprint == fingerprint
    for name in fields:
        assert Identity(fields | {name: "other"}).fingerprint != fingerprint


@pytest.mark.parametrize("change", [{"preset": "article"}, {"seed": 1}, {"classes": ["a", "b", "c"]}, {"more": 1}])
def test_a_changed_file_is_refused(dataset, change):
    path = dataset / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IdentityMismatchError, match=r"identity\.json was changed"):
        read_identity(str(dataset))


def test_a_removed_fingerprint_is_refused(dataset):
    path = dataset / "identity.json"
    content = json.loads(path.read_text())
    del content["fingerprint"]
    path.write_text(json.dumps(content))
    with pytest.raises(IdentityMismatchError):
        read_identity(str(dataset))


def test_a_dataset_that_is_not_finished_is_refused_with_the_way_out(dataset):
    (dataset / "COMPLETED").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"COMPLETED.*ssd300 preprocess"):
        read_identity(str(dataset))


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_missing_or_damaged_identity_file_is_named(dataset, text):
    path = dataset / "identity.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=r"identity\.json"):
        read_identity(str(dataset))


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IncompleteDatasetError, match="not a finished dataset"):
            read_identity(str(folder))


def plan_of(root: Path, **options):
    source = FolderSource("train", str(root), "train")
    return make_plan(PreprocessSettings(sources=(source,), classes=ClassList(("ant",)), **options))


def test_a_moved_tree_has_the_same_identity_and_a_renamed_one_another(voc_tree, tmp_path):
    root = voc_tree({"a": [], "b": []})
    before = identity_of(plan_of(root))
    moved = Path(shutil.copytree(root, tmp_path / "elsewhere" / "VOC2007"))
    assert identity_of(plan_of(moved)) == before
    renamed = Path(shutil.copytree(root, tmp_path / "VOC2012"))
    assert identity_of(plan_of(renamed)).fingerprint != before.fingerprint


def test_other_pictures_order_or_settings_make_another_identity(voc_tree):
    ids = {f"{number}": [] for number in range(20)}
    root = voc_tree(ids)
    prints = {identity_of(plan_of(root, **options)).fingerprint for options in (
        {}, {"seed": 1}, {"preset": "article"}, {"convention": "inclusive"}, {"verify": "header"}, {"shard_size": 7},
        {"min_size": 3.0}, {"drop_empty": True}, {"copies": 1}, {"copies": 2},
        {"copies": 1, "augment": ("expand=off",)},
    )}  # fmt: skip
    prints.add(identity_of(plan_of(voc_tree(ids | {"one_more": []}))).fingerprint)
    assert len(prints) == 12


def test_copies_and_how_they_were_made(voc_tree):
    root = voc_tree({"a": []})
    copies = identity_of(plan_of(root, copies=2, augment=("crop=off",)))
    assert copies.copies == {"train": 2}
    assert (copies.fields["copy_augmentation"]["crop"], copies.fields["copy_augmentation"]["expand"]) == (None, 4.0)
