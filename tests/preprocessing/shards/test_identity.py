"""The identity that a plan gives its dataset."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.identity import identity_of


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


# A job resumes where the identity is the same: whatever changes a byte of the records must change it.
CHANGES = {
    "classes": {"classes": ClassList(("bee", "ant"))},
    "preset": {"preset": "article"},
    "coordinates": {"coordinates": "inclusive"},
    "verify": {"verify": "header"},
    "min_size": {"min_size": 3.0},
    "drop_empty": {"drop_empty": True},
    "strict": {"strict": True},
    "seed": {"seed": 1},
    "shard_size": {"shard_size": 7},
    "copies": {"copies": 1},
    "copies_of": {"copies": 1, "copies_of": ("test",)},
    "copy_augmentation": {"copies": 1, "copy_augmentation": replace(PAPER_AUGMENTATION, expand=None)},
}


def test_every_setting_makes_another_identity(voc_tree):
    root = voc_tree({f"{number}": [] for number in range(20)})
    sources = tuple(FolderSource(split, str(root), "train") for split in ("train", "test"))
    assert CHANGES.keys() == {one.name for one in fields(PreprocessSettings)} - {"sources"}
    given = PreprocessSettings(sources=sources, classes=ClassList(("ant",)))
    alternatives = [given, *(replace(given, **change) for change in CHANGES.values()), replace(given, copies=2)]
    alternatives.append(replace(given, sources=sources[:1]))
    prints = {identity_of(make_plan(settings)).fingerprint for settings in alternatives}
    assert len(prints) == len(alternatives)


def test_another_list_of_pictures_makes_another_identity(voc_tree):
    ids = {f"{number}": [] for number in range(20)}
    before = identity_of(plan_of(voc_tree(ids))).fingerprint
    assert identity_of(plan_of(voc_tree(ids | {"one_more": []}))).fingerprint != before


def test_copies_and_how_they_were_made(voc_tree):
    root = voc_tree({"a": []})
    copies = identity_of(plan_of(root, copies=2, copy_augmentation=replace(PAPER_AUGMENTATION, crop=None)))
    assert copies.copies == {"train": 2}
    assert (copies.fields["copy_augmentation"]["crop"], copies.fields["copy_augmentation"]["expand"]) == (None, 4.0)
