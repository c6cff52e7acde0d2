"""The files of augmented copies of a shard: in its order, whatever the batches, and after faults."""

import json

import pytest
import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.files import unsealed
from ssd300.datasets.record import parse_record
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards import encode_shard as encode_shard_module
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard
from ssd300.preprocessing.shards.shard_report import ShardReport

CLASSES = ClassList(("ant", "bee", "cat"))


def encoded(root, folder, **options):
    """All shards of a tree, encoded: settings, plan's shards and reports; files are in `folder`."""
    sources = (FolderSource("train", str(root), "train"),)
    settings = PreprocessSettings(sources, CLASSES, **{"copies": 2, "seed": 3, **options})
    (folder / "reports").mkdir(parents=True)
    shards = make_plan(settings).shards
    reports = [encode_shard(shard, ShardWork(settings, str(folder), f"{folder}/reports")) for shard in shards]
    return shards, reports


def serialized(path) -> list[bytes]:
    return [one.numpy() for one in tf.data.TFRecordDataset(str(path))]


def ids(path) -> list[str]:
    return [parse_record(one).picture_id for one in serialized(path)]


TREE = {f"{n:06d}": [("ant", 30, 20, 150 + n, 100), ("cat", 100 + n, 50, 280, 190)][: n % 3] for n in range(7)}


def test_a_shard_has_a_file_of_each_copy_in_its_own_order_and_counts_them(voc_tree, tmp_path):
    (shard,), (report,) = encoded(voc_tree(TREE), tmp_path / "out")
    names = ["ssd300-train_copy1.tfrecord-00000-of-00001", "ssd300-train_copy2.tfrecord-00000-of-00001"]
    assert {path.name for path in (tmp_path / "out").glob("*.tfrecord*")} == {shard.name, *names}
    records = [[parse_record(one) for one in serialized(tmp_path / "out" / name)] for name in names]
    for some in records:
        assert [record.picture_id for record in some] == ids(tmp_path / "out" / shard.name)
    assert report.copy_bytes == [sum(map(len, serialized(tmp_path / "out" / name))) for name in names]
    assert report.copy_objects == sum(len(record.labels) for some in records for record in some)
    assert report.copy_matches == sum(len(record.targets[0]) for some in records for record in some)
    stored = ShardReport.from_json(json.loads(unsealed(f"{tmp_path}/out/reports/train-00000.json")))
    assert stored == report


def test_neither_shards_nor_batches_decide_what_a_copy_shows(voc_tree, tmp_path, monkeypatch):
    root = voc_tree(TREE)
    found = []
    for shard_size, batch in ((1000, 64), (3, 64), (1000, 2)):
        monkeypatch.setattr(encode_shard_module, "_BATCH_PICTURES", batch)
        folder = tmp_path / f"{shard_size}-{batch}"
        encoded(root, folder, shard_size=shard_size)
        paths = sorted(folder.glob("ssd300-train_copy2.*"))
        found.append({parse_record(one).picture_id: one for path in paths for one in serialized(path)})
    assert len(found[0]) == len(TREE)
    assert found[0] == found[1] == found[2]


def test_more_copies_leave_the_first_ones_and_the_records_as_they_are(voc_tree, tmp_path):
    root = voc_tree(TREE)
    contents = []
    for copies in (0, 1, 3):
        encoded(root, tmp_path / str(copies), copies=copies)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / str(copies)).glob("*.tfrecord-*")})
    assert [len(one) for one in contents] == [1, 2, 4]
    assert contents[0].items() < contents[1].items() < contents[2].items()


def test_rejected_pictures_have_no_copies(voc_tree, tmp_path):
    files = {"JPEGImages/000002.jpg": b"broken", "Annotations/000005.xml": None}
    (shard,), (report,) = encoded(voc_tree(TREE, files=files), tmp_path / "out")
    assert (report.written, len(report.rejects)) == (5, 2)
    for number in (1, 2):
        names = ids(tmp_path / "out" / shard.copy_name(number))
        assert sorted(names) == [f"VOC2007/{name}" for name in TREE if name not in ("000002", "000005")]


def test_a_shard_without_a_good_picture_has_empty_files(voc_tree, tmp_path):
    (shard,), (report,) = encoded(voc_tree({"a": []}, files={"JPEGImages/a.jpg": b"broken"}), tmp_path / "out")
    assert (report.copy_bytes, report.copy_objects, report.copy_matches) == ([0, 0], 0, 0)
    assert [(tmp_path / "out" / shard.copy_name(n)).read_bytes() for n in (1, 2)] == [b"", b""]


def test_a_worker_that_dies_while_it_copies_leaves_neither_files_nor_report(voc_tree, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(encode_shard_module, "augmented_copies", die)
    with pytest.raises(KeyboardInterrupt):
        encoded(voc_tree(TREE), tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".tmp-" not in path.name] == []


def test_without_an_output_no_copy_is_made(voc_tree, tmp_path):
    source = FolderSource("train", str(voc_tree(TREE)), "train")
    settings = PreprocessSettings((source,), CLASSES, copies=2)
    (shard,) = make_plan(settings).shards
    report = encode_shard(shard, ShardWork(settings, None, str(tmp_path)))
    assert (report.written, report.copy_bytes, report.copy_objects) == (7, [], 0)
    assert list(tmp_path.glob("*.tfrecord*")) == []


def test_a_picture_that_is_broken_after_its_header_does_not_stop_the_shard(voc_tree, tmp_path, jpeg):
    """Copies have all images decoded, whatever the settings say."""
    files = {"JPEGImages/000002.jpg": jpeg()[:-3000]}
    (shard,), (report,) = encoded(voc_tree(TREE, files=files), tmp_path / "out", verify="header")
    assert (report.read, [reject.fault for reject in report.rejects]) == (7, ["undecodable_picture"])
    for number in (1, 2):
        assert ids(tmp_path / "out" / shard.copy_name(number)) == ids(tmp_path / "out" / shard.name)
