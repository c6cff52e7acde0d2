"""Encoding a shard: records and report of good, repaired and rejected images, deterministic and atomic."""

import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets import record
from ssd300.datasets.classes import ClassList
from ssd300.datasets.files import unsealed
from ssd300.datasets.sources.folder import FolderSource
from ssd300.model import boxes as box_ops
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.encoding.targets import encode_ground_truth
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard
from ssd300.preprocessing.shards.shard_report import ShardReport

CLASSES = ClassList(("ant", "bee", "cat"))
GOOD = {
    "000001": [("ant", 30, 20, 150, 100), ("cat", 100, 50, 280, 190)],
    "000002": [("Bee", -10, 20, 90, 215)],
    "000003": [],
}


@pytest.fixture
def encode(tmp_path):
    """Encodes all images of a tree as one shard: ``(report, records by id without the tree's name)``."""

    def run(root, *, output="out", progress=None, **options):
        settings = PreprocessSettings(
            sources=(FolderSource("train", str(root), "train"),), classes=CLASSES, **{"shard_size": 1000, **options}
        )
        (shard,) = make_plan(settings).shards
        (tmp_path / output / "reports").mkdir(parents=True)
        folder = str(tmp_path / output)
        report = encode_shard(shard, ShardWork(settings, folder, f"{folder}/reports", progress))
        parsed = [record.parse(one) for one in tf.data.TFRecordDataset(f"{folder}/{shard.name}")]
        return report, {one["id"].numpy().decode().removeprefix("VOC2007/"): one for one in parsed}

    return run


def test_records_hold_picture_names_objects_and_flags(voc_tree, encode):
    flags = b"<annotation><size><width>300</width><height>200</height></size><object><name>cat</name>"
    flags += b"<difficult>1</difficult><truncated>0</truncated><bndbox><xmin>30</xmin><ymin>20</ymin><xmax>150</xmax>"
    flags += b"<ymax>100</ymax></bndbox></object></annotation>"
    root = voc_tree(GOOD | {"000004": []}, files={"Annotations/000004.xml": flags})
    _, records = encode(root)
    assert records.keys() == {"000001", "000002", "000003", "000004"}
    first = records["000001"]
    assert first["image"].numpy() == (root / "JPEGImages/000001.jpg").read_bytes()
    assert first["filename"].numpy() == b"000001.jpg"
    expected = [[20 / 200, 30 / 300, 100 / 200, 150 / 300], [50 / 200, 100 / 300, 190 / 200, 280 / 300]]
    np.testing.assert_allclose(first["boxes"], expected, rtol=1e-6)
    assert first["labels"].numpy().tolist() == [1, 3]
    assert records["000003"]["boxes"].shape == (0, 4)
    assert records["000004"]["difficult"].numpy().tolist() == [True]
    assert records["000004"]["truncated"].numpy().tolist() == [False]


@pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)
def test_targets_are_the_encoding_of_the_stored_boxes_and_of_their_mirror_image(voc_tree, encode, spec):
    _, records = encode(voc_tree(GOOD), preset=spec.name)
    for one in records.values():
        for name, boxes in (("targets", one["boxes"]), ("flipped_targets", box_ops.flip(one["boxes"]))):
            indices, labels, offsets = encode_ground_truth(boxes, one["labels"], spec)
            np.testing.assert_array_equal(one[name][0], indices)
            np.testing.assert_array_equal(one[name][1], labels)
            np.testing.assert_allclose(one[name][2], offsets, atol=1e-5)
            assert set(one[name][1].numpy()) <= set(one["labels"].numpy())
    assert len(records["000001"]["targets"][0]) > 2
    assert len(records["000003"]["targets"][0]) == 0


def test_the_report_counts_everything(voc_tree, encode):
    report, records = encode(voc_tree(GOOD))
    assert (report.read, report.written, report.rejects) == (3, 3, [])
    assert report.findings == {"clipped_box": 1, "class_spelling": 1, "no_objects": 1}
    assert report.objects == {"ant": 1, "bee": 1, "cat": 1}
    assert (report.negatives, report.difficult, report.unmatched) == (1, 0, 0)
    assert sum(report.matches.values()) == sum(len(one["targets"][0]) for one in records.values())
    assert set(report.matches) <= {feature_map.name for feature_map in PAPER.feature_maps}


def test_matches_are_counted_at_the_right_feature_map(voc_tree, encode):
    """A box of 30/300 at a cell's center belongs to the finest map, the whole image to the coarsest."""
    report, _ = encode(voc_tree({"small": [("ant", 137, 91, 167, 111)]}))
    assert set(report.matches) == {"conv4_3"}
    # The first default box of the coarsest map, number 8728, is the middle 264/300 of the image.
    report, records = encode(voc_tree({"large": [("ant", 18, 12, 282, 188)]}), output="other")
    indices = records["large"]["targets"][0].numpy()
    assert 8728 in indices
    assert report.matches["conv11_2"] == (indices >= 8728).sum()
    assert report.matches["conv10_2"] == ((indices >= 8692) & (indices < 8728)).sum() > 0
    assert report.matches["conv4_3"] == 0


def test_an_object_that_nothing_matches_is_counted(voc_tree, encode):
    report, records = encode(voc_tree({"a": [("ant", 30, 20, 33, 22)]}), preset="article")
    assert report.unmatched == 1
    assert len(records["a"]["targets"][0]) == 0
    report, records = encode(voc_tree({"a": [("ant", 30, 20, 33, 22)]}), output="other", preset="paper")
    assert report.unmatched == 0  # bipartite: its best default box, however small the overlap
    assert len(records["a"]["targets"][0]) == 1


BROKEN = {
    "gone_xml": ("missing_annotation", {"Annotations/gone_xml.xml": None}),
    "cut_xml": ("malformed_xml", {"Annotations/cut_xml.xml": b"<annotation><obj"}),
    "html": ("not_voc_xml", {"Annotations/html.xml": b"<html/>"}),
    "gone_jpg": ("missing_picture", {"JPEGImages/gone_jpg.jpg": None}),
    "empty_jpg": ("empty_picture", {"JPEGImages/empty_jpg.jpg": b""}),
    "text_jpg": ("undecodable_picture", {"JPEGImages/text_jpg.jpg": b"hello"}),
}


def test_rejected_pictures_are_listed_with_path_fault_and_message_and_the_rest_continues(voc_tree, encode):
    files = {path: data for _, change in BROKEN.values() for path, data in change.items()}
    broken = {name: [("ant", 30, 20, 150, 100)] for name in BROKEN}
    broken |= {"alien": [("dog", 30, 20, 150, 100)], "flat": [("ant", 301, 20, 330, 100)]}
    report, records = encode(voc_tree(GOOD | broken, files=files))
    assert records.keys() == GOOD.keys()
    assert (report.read, report.written) == (11, 3)
    rejects = {reject.picture.removeprefix("VOC2007/"): reject for reject in report.rejects}
    assert {name: reject.fault for name, reject in rejects.items()} == {
        **{name: fault for name, (fault, _) in BROKEN.items()}, "alien": "unknown_class", "flat": "outside_picture",
    }  # fmt: skip
    assert rejects["gone_xml"].path.endswith("VOC2007/Annotations/gone_xml.xml")
    assert rejects["empty_jpg"].path.endswith("VOC2007/JPEGImages/empty_jpg.jpg")
    assert all(reject.message for reject in rejects.values())
    assert sum(report.objects.values()) == 3  # a rejected image's objects are not counted


def test_pictures_are_found_under_other_endings(voc_tree, encode):
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (9, 99, 199)).save(buffer, "PNG")
    root = voc_tree({"a": []}, files={"JPEGImages/a.jpg": None, "JPEGImages/a.png": buffer.getvalue()})
    report, records = encode(root)
    assert report.findings == {"not_jpeg": 1, "no_objects": 1}
    assert records["a"]["filename"].numpy() == b"a.png"
    assert Image.open(io.BytesIO(records["a"]["image"].numpy())).format == "JPEG"


def test_the_xmls_own_filename_is_not_followed(voc_tree, encode):
    xml = b"<annotation><filename>../../secret.jpg</filename></annotation>"
    _, records = encode(voc_tree({"a": []}, files={"Annotations/a.xml": xml, "../secret.jpg": b"secret"}))
    assert records["a"]["filename"].numpy() == b"a.jpg"


def test_boxes_of_a_turned_picture_are_fractions_of_the_upright_one(voc_tree, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (200, 300)).save(buffer, "JPEG", exif=exif)  # upright: 300 x 200
    root = voc_tree({"a": [("ant", 30, 20, 150, 100)]}, files={"JPEGImages/a.jpg": buffer.getvalue()})
    report, records = encode(root)
    np.testing.assert_allclose(records["a"]["boxes"], [[0.1, 0.1, 0.5, 0.5]], rtol=1e-6)
    # The annotation says 300 x 200, which is one of the two sizes that a turned image has.
    assert report.findings == {"exif_rotated": 1}


def test_two_attempts_write_the_same_bytes(voc_tree, encode, tmp_path):
    root = voc_tree(GOOD)
    encode(root, output="a")
    encode(root, output="b")
    name = "ssd300-train.tfrecord-00000-of-00001"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for path in ("reports/train-00000.json",):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_the_files_are_the_shard_and_its_report_and_nothing_else(voc_tree, encode, tmp_path):
    report, _ = encode(voc_tree(GOOD))
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"ssd300-train.tfrecord-00000-of-00001", "reports/train-00000.json"}
    stored = ShardReport.from_json(json.loads(unsealed(f"{tmp_path}/out/reports/train-00000.json")))
    assert stored == report
    lengths = (len(one.numpy()) for one in tf.data.TFRecordDataset(str(tmp_path / "out" / sorted(files)[1])))
    assert report.bytes == sum(lengths)


def test_a_worker_that_dies_leaves_neither_shard_nor_report(voc_tree, encode, tmp_path, monkeypatch):
    def die(_):
        raise MemoryError

    monkeypatch.setattr("ssd300.preprocessing.shards.encode_shard.ticker", lambda folder: die)
    with pytest.raises(MemoryError):
        encode(voc_tree(GOOD), progress="watched")
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(".tmp-" in name for name in names)


def test_progress_counts_every_picture_good_or_not(voc_tree, encode, monkeypatch):
    ticks = []
    monkeypatch.setattr("ssd300.preprocessing.shards.encode_shard.ticker", lambda folder: ticks.append)
    encode(voc_tree(GOOD, files={"Annotations/000001.xml": None}), progress="watched")
    assert sum(ticks) == 3


def test_the_order_of_the_records_is_the_shards(voc_tree, encode, tmp_path):
    root = voc_tree({f"{number:06d}": [] for number in range(12)})
    _, records = encode(root)
    settings = PreprocessSettings(sources=(FolderSource("train", str(root), "train"),), classes=CLASSES)
    assert list(records) == [name for _, name in make_plan(dataclasses.replace(settings)).shards[0].pictures]
