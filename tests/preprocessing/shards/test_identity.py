"""The identity that a plan gives its dataset."""

import shutil
from dataclasses import replace
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


def test_other_pictures_order_or_settings_make_another_identity(voc_tree):
    ids = {f"{number}": [] for number in range(20)}
    root = voc_tree(ids)
    prints = {identity_of(plan_of(root, **options)).fingerprint for options in (
        {}, {"seed": 1}, {"preset": "article"}, {"coordinates": "inclusive"}, {"verify": "header"}, {"shard_size": 7},
        {"min_size": 3.0}, {"drop_empty": True}, {"copies": 1}, {"copies": 2},
        {"copies": 1, "copy_augmentation": replace(PAPER_AUGMENTATION, expand=None)},
    )}  # fmt: skip
    prints.add(identity_of(plan_of(voc_tree(ids | {"one_more": []}))).fingerprint)
    assert len(prints) == 12


def test_copies_and_how_they_were_made(voc_tree):
    root = voc_tree({"a": []})
    copies = identity_of(plan_of(root, copies=2, copy_augmentation=replace(PAPER_AUGMENTATION, crop=None)))
    assert copies.copies == {"train": 2}
    assert (copies.fields["copy_augmentation"]["crop"], copies.fields["copy_augmentation"]["expand"]) == (None, 4.0)
