"""The identity of a dataset: what it says, what it refuses, and that nobody changes it unnoticed."""

import dataclasses
import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import (
    EncodedDataset,
    Identity,
    IdentityMismatchError,
    IncompleteDatasetError,
)
from ssd300.datasets.shapes import CLASSES
from ssd300.model.default_boxes import digest, encoding_fields
from ssd300.model.spec import ARTICLE, PAPER


@pytest.fixture
def dataset(shapes_dataset, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(shapes_dataset, tmp_path / "dataset"))


def test_a_dataset_says_what_it_was_made_with(shapes_dataset):
    identity = EncodedDataset.open(shapes_dataset).identity
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
    assert marker["fingerprint"] == EncodedDataset.open(shapes_dataset).identity.fingerprint


def test_the_right_model_passes_the_check(shapes_dataset):
    EncodedDataset.open(shapes_dataset).identity.check(encoding_fields(PAPER), num_classes=4)


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
        EncodedDataset.open(shapes_dataset).identity.check(encoding_fields(spec), num_classes=num_classes)
    assert isinstance(caught.value, ValueError)
    for text in differing:
        assert text in str(caught.value)
    for text in agreeing:
        assert text not in str(caught.value).split("\n", 1)[1]


def test_a_different_grid_of_default_boxes_is_noticed(shapes_dataset):
    first, *others = PAPER.feature_maps
    moved = dataclasses.replace(PAPER, feature_maps=(dataclasses.replace(first, step=1 / 38), *others))
    with pytest.raises(IdentityMismatchError, match="default_boxes"):
        EncodedDataset.open(shapes_dataset).identity.check(encoding_fields(moved), num_classes=4)


def test_the_fingerprint_depends_on_every_field_and_not_on_their_order(shapes_dataset):
    fields = EncodedDataset.open(shapes_dataset).identity.fields
    fingerprint = Identity(fields).fingerprint
    assert Identity(dict(reversed(fields.items()))).fingerprint == fingerprint
    for name in fields:
        assert Identity(fields | {name: "other"}).fingerprint != fingerprint


@pytest.mark.parametrize("change", [{"preset": "article"}, {"seed": 1}, {"classes": ["a", "b", "c"]}, {"more": 1}])
def test_a_changed_file_is_refused(dataset, change):
    path = dataset / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IdentityMismatchError, match=r"identity\.json was edited"):
        EncodedDataset.open(str(dataset))


def test_a_removed_fingerprint_is_refused(dataset):
    path = dataset / "identity.json"
    content = json.loads(path.read_text())
    del content["fingerprint"]
    path.write_text(json.dumps(content))
    with pytest.raises(IdentityMismatchError):
        EncodedDataset.open(str(dataset))


def test_a_dataset_that_is_not_finished_is_refused_with_the_way_out(dataset):
    (dataset / "COMPLETED").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"no file COMPLETED; run its preprocessing job to the end"):
        EncodedDataset.open(str(dataset))


@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_missing_or_damaged_identity_file_is_named(dataset, text):
    path = dataset / "identity.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=r"identity\.json"):
        EncodedDataset.open(str(dataset))


def test_a_folder_that_is_not_a_dataset_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IncompleteDatasetError, match="not a finished dataset"):
            EncodedDataset.open(str(folder))


def test_a_slash_at_the_end_of_the_folder_does_not_matter(shapes_dataset):
    assert EncodedDataset.open(f"{shapes_dataset}/") == EncodedDataset.open(shapes_dataset)


def test_the_report_is_that_of_the_job(shapes_dataset):
    assert EncodedDataset.open(shapes_dataset).report["total"]["written"] == 36


def test_each_file_is_read_once_for_a_whole_training(shapes_dataset, tmp_path, monkeypatch):
    from ssd300.datasets import encoded_dataset
    from ssd300.training.fit import train
    from ssd300.training.settings import TrainSettings

    read = []
    real = encoded_dataset.read_json
    monkeypatch.setattr(encoded_dataset, "read_json", lambda path: read.append(Path(path).name) or real(path))
    settings = TrainSettings(
        shapes_dataset, width=0.02, norm="batch", weights="none", steps=1, batch_size=2, validation_split="test"
    )
    train(settings, tmp_path / "run")
    assert sorted(read) == ["dataset_info.json", "identity.json", "report.json"]
