"""TFDS sources: examples of voc/2012 by TFDS's own mock, and an encoded dataset read again as a source."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from ssd300.datasets import record
from ssd300.datasets.classes import VOC, ClassList
from ssd300.datasets.errors import StorageError
from ssd300.datasets.sources.parse import parse_source, resolve_classes
from ssd300.datasets.sources.tfds import TfdsSource
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings

CLASSES = ClassList(("ant", "bee"))
BOX = [0.1, 0.1, 0.5, 0.5]


def records_of(dataset: Path, split: str = "train") -> list[record.Record]:
    """The records in the order of the files."""
    files = sorted(map(str, dataset.glob(f"ssd300-{split}.tfrecord-*")))
    return [record.parse_record(one) for one in tf.data.TFRecordDataset(files).as_numpy_iterator()]


def rejects_of(dataset: Path) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (dataset / "rejected.jsonl").read_text().splitlines()]
    assert all(row["message"] and row["path"] for row in rows)
    return [(row["picture"].rsplit("/", 1)[-1], row["fault"]) for row in rows]


def example(image: bytes, name: str, boxes=(), labels=(), difficult=None, truncated=None) -> dict:
    """One of voc/2012, its image undecoded; labels are TFDS's, from 0."""
    return {
        "image": image,
        "image/filename": name,
        "labels": np.unique(np.asarray(labels, np.int64)),
        "labels_no_difficult": np.unique(np.asarray(labels, np.int64)),
        "objects": {
            "bbox": np.asarray(boxes, np.float32).reshape(-1, 4),
            "is_difficult": np.asarray(difficult or [False] * len(boxes), bool),
            "is_truncated": np.asarray(truncated or [False] * len(boxes), bool),
            "label": np.asarray(labels, np.int64),
            "pose": np.zeros(len(boxes), np.int64),
        },
    }


def mocked(examples: list[dict]):
    """TFDS's mock that gives these examples, whatever slice of them is asked for."""

    def as_dataset(self, split, **_):
        found = re.search(r"\[(\d*):(\d*)\]$", str(split))
        start, stop = (int(bound) if bound else None for bound in found.groups()) if found else (None, None)
        specs = {
            "image": tf.TensorSpec((), tf.string),
            "image/filename": tf.TensorSpec((), tf.string),
            "labels": tf.TensorSpec((None,), tf.int64),
            "labels_no_difficult": tf.TensorSpec((None,), tf.int64),
            "objects": {
                "bbox": tf.TensorSpec((None, 4), tf.float32),
                "is_difficult": tf.TensorSpec((None,), tf.bool),
                "is_truncated": tf.TensorSpec((None,), tf.bool),
                "label": tf.TensorSpec((None,), tf.int64),
                "pose": tf.TensorSpec((None,), tf.int64),
            },
        }
        taken = examples[slice(start, stop)]
        dataset = tf.data.Dataset.from_generator(lambda: iter(taken), output_signature=specs)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(taken)))

    return tfds.testing.mock_data(as_dataset_fn=as_dataset)


def encode(source, output: Path, classes: ClassList = VOC, **options) -> dict:
    settings = PreprocessSettings((source,), classes, **options)
    return preprocess(settings, str(output), Execution(workers=1, max_rejected=1.0))


def test_examples_of_voc_2012_become_records(jpeg, tmp_path):
    first, second, third = (jpeg(seed=seed) for seed in range(3))
    examples = [
        example(first, "2007_000001.jpg", [BOX, [0.25, 0.4, 0.95, 0.9]], [14, 0], [True, False], [False, True]),
        example(second, "../../2007_000002.jpg"),
        example(third, "2007_000003.jpg", [[0, 0, 1, 1]], [19]),
    ]
    with mocked(examples):
        report = encode(parse_source("train=tfds:voc/2012:train"), tmp_path / "out")
    found = records_of(tmp_path / "out")
    assert [one.image for one in found] == [first, second, third]
    assert [one.filename for one in found] == ["2007_000001.jpg", "2007_000002.jpg", "2007_000003.jpg"]
    # VOC's labels count from 1: person is TFDS's 14 and our 15.
    assert [one.labels for one in found] == [[15, 1], [], [20]]
    assert [one.difficult for one in found] == [[True, False], [], [False]]
    assert [one.truncated for one in found] == [[False, True], [], [False]]
    np.testing.assert_array_equal(found[0].boxes, np.array([BOX, [0.25, 0.4, 0.95, 0.9]], np.float32))
    np.testing.assert_array_equal(found[2].boxes, [[0, 0, 1, 1]])
    assert len({one.picture_id for one in found}) == 3
    assert report["total"]["difficult"] == 1
    assert report["total"]["kept"] == {"no_objects": 1}
    assert report["total"]["repaired"] == {}


def test_faults_of_a_tfds_dataset_have_their_names(jpeg, tmp_path):
    png = io.BytesIO()
    Image.open(io.BytesIO(jpeg())).save(png, "PNG")
    examples = [
        example(jpeg(), "0.jpg", [BOX], [14]),
        example(b"", "1.jpg", [BOX], [14]),
        example(jpeg()[:-500], "2.jpg", [BOX], [14]),
        example(jpeg(), "3.jpg", [[0.1, 0.1, 0.1, 0.5]], [14]),
        example(jpeg(), "4.jpg", [BOX], [-1]),
        example(jpeg(), "5.jpg", [[-0.05, 0.1, 0.5, 0.5]], [14]),
        example(jpeg(), "6.jpg", [[0.5, 0.5, 0.1, 0.1]], [14]),
        example(png.getvalue(), "7.jpg", [BOX], [14]),
        example(jpeg(), "8.jpg", [[1.5, 0.1, 1.6, 0.5]], [14]),
    ]
    with mocked(examples):
        report = encode(parse_source("train=tfds:voc/2012:train"), tmp_path / "out")
    assert rejects_of(tmp_path / "out") == [
        ("00000001", "empty_picture"),
        ("00000002", "undecodable_picture"),
        ("00000004", "unknown_class"),
        ("00000008", "outside_picture"),
    ]
    assert report["total"]["repaired"] == {
        "stray_click": 1, "clipped_box": 1, "swapped_corners": 1, "not_jpeg": 1,
    }  # fmt: skip
    found = records_of(tmp_path / "out")
    assert [one.filename for one in found] == ["0.jpg", "3.jpg", "5.jpg", "6.jpg", "7.jpg"]
    expected = [[BOX], [], [[0, 0.1, 0.5, 0.5]], [BOX], [BOX]]
    for one, boxes in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.boxes, np.reshape(boxes, (-1, 4)), rtol=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_coordinate_that_is_no_number_is_a_bad_number(jpeg, tmp_path, number):
    examples = [
        example(jpeg(), "0.jpg", [BOX], [14]),
        example(jpeg(), "1.jpg", [BOX, [0.1, 0.1, 0.5, number]], [14, 14]),
    ]
    with mocked(examples):
        encode(parse_source("train=tfds:voc/2012:train"), tmp_path / "out")
    assert rejects_of(tmp_path / "out") == [("00000001", "bad_number")]
    assert all(np.isfinite(one.boxes).all() for one in records_of(tmp_path / "out"))


NAMES = [f"{number:06d}" for number in range(20)]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, jpeg, voc_xml) -> Path:
    """A: an encoded dataset of 20 images in three shards, with difficult and truncated objects."""
    folder = tmp_path_factory.mktemp("tfds")
    tree = folder / "VOC2007"
    for path in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tree / path).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (tree / f"JPEGImages/{name}.jpg").write_bytes(jpeg(seed=number))
        objects = [("ant", 30 + number, 20, 150, 100), ("bee", 100, 50 + number, 280, 190)][: number % 3]
        xml = voc_xml(objects).replace(b"</name>", b"</name><difficult>1</difficult>", number % 2)
        (tree / f"Annotations/{name}.xml").write_bytes(xml)
    (tree / "ImageSets/Main/train.txt").write_text("\n".join(NAMES))
    encode(parse_source(f"train={tree}:train"), folder / "A", CLASSES, shard_size=8)
    assert len(list((folder / "A").glob("*.tfrecord-*"))) == 3
    return folder / "A"


def assert_same(found: list[record.Record], expected: list[record.Record]) -> None:
    assert [one.image for one in found] == [one.image for one in expected]
    assert [one.filename for one in found] == [one.filename for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        assert (one.labels, one.difficult, one.truncated) == (other.labels, other.difficult, other.truncated)
        for targets, others in ((one.targets, other.targets), (one.flipped_targets, other.flipped_targets)):
            for array, array2 in zip(targets, others, strict=True):  # a logarithm's last bit depends on the batch
                np.testing.assert_allclose(array, array2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "part", "shard_size"),
    [
        ("train", slice(None), 7),
        ("train[:50%]", slice(10), 512),
        ("train[3:7]", slice(3, 7), 512),
        ("train[-5:]", slice(-5, None), 2),
    ],
)
def test_an_encoded_dataset_as_a_source_gives_its_own_records_in_its_order(encoded, tmp_path, text, part, shard_size):
    source = parse_source(f"train=tfds:{encoded}:{text}")
    assert source == TfdsSource("train", str(encoded), text)
    report = encode(source, tmp_path / "B", CLASSES, shard_size=shard_size)
    expected = records_of(encoded)[part]
    assert_same(records_of(tmp_path / "B"), expected)
    assert report["total"]["read"] == report["total"]["written"] == len(expected)
    assert report["total"]["repaired"] == {}
    assert report["total"]["difficult"] == sum(sum(one.difficult) for one in expected)


def test_the_sum_of_two_slices_is_read_in_its_order(encoded):
    source = parse_source(f"train=tfds:{encoded}:train[17:]+train[:2]")
    expected = [records_of(encoded)[i].image for i in (17, 18, 19, 0, 1)]
    assert [raw.data for raw in source.read(source.ids())] == expected


def test_ids_in_any_order_give_their_own_pictures(encoded):
    source = parse_source(f"train=tfds:{encoded}:train")
    wanted = [5, 6, 4, 19, 0, 0, 1]
    ids = [source.ids()[i] for i in wanted]
    assert [raw.data for raw in source.read(ids)] == [records_of(encoded)[i].image for i in wanted]


def test_auto_classes_of_an_encoded_dataset_are_its_classes(encoded):
    source = parse_source(f"train=tfds:{encoded}:train")
    assert resolve_classes("auto", [source]).names == ("ant", "bee")


def test_overlapping_slices_are_pictures_in_two_splits_or_listed_twice(encoded, tmp_path):
    texts = (f"train=tfds:{encoded}:train[:10]", f"train=tfds:{encoded}:train[8:12]", f"val=tfds:{encoded}:train[9:14]")
    settings = PreprocessSettings(tuple(map(parse_source, texts)), CLASSES)
    report = preprocess(settings, str(tmp_path / "B"), Execution(workers=1))
    assert report["splits"]["train"]["repaired"] == {"listed_twice": 2}
    assert report["splits"]["train"]["kept"]["in_two_splits"] == 3
    assert report["splits"]["val"]["kept"]["in_two_splits"] == 3
    assert_same(records_of(tmp_path / "B"), records_of(encoded)[:12])
    assert_same(records_of(tmp_path / "B", "val"), records_of(encoded)[9:14])


def test_a_dataset_whose_file_is_damaged_is_an_error_that_names_it(encoded, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in encoded.iterdir():
        if path.is_file():
            (damaged / path.name).write_bytes(path.read_bytes())
    last = max(damaged.glob("*.tfrecord-*"))
    last.write_bytes(last.read_bytes()[:-100])
    source = parse_source(f"train=tfds:{damaged}:train")
    with pytest.raises(StorageError, match=f"{damaged}.*00000019 could not be read: truncated record"):
        list(source.read(source.ids()))


@pytest.mark.parametrize(
    "text", ["train=tfds:no_such_dataset_at_all:train", "train=tfds:voc/1812:train", "train=tfds:/no/such/folder:train"]
)
def test_an_unknown_dataset_is_named(text):
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_source(text).ids()


@pytest.mark.parametrize("split", ["trian", "train[:50%", "train[90:]", "train[5:5]"])
def test_an_unknown_or_empty_split_is_named(encoded, split):
    text = f"train=tfds:{encoded}:{split}"
    with pytest.raises(ValueError, match=re.escape(text)):
        parse_source(text).ids()


def test_a_dataset_that_is_not_prepared_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="train=tfds:voc/2012:train"):
        parse_source("train=tfds:voc/2012:train").ids()


def test_a_dataset_without_boxes_is_named():
    with tfds.testing.mock_data(num_examples=2), pytest.raises(ValueError, match="train=tfds:mnist:train") as raised:
        parse_source("train=tfds:mnist:train").ids()
    assert "boxes" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "name", "split"),
    [
        ("train=tfds:voc/2012:train[3:7]", "voc/2012", "train[3:7]"),
        ("train=tfds:gs://bucket/voc:train", "gs://bucket/voc", "train"),
        ("train=tfds:gs://bucket/voc:train[3:7]", "gs://bucket/voc", "train[3:7]"),
        ("train=tfds:voc/2012:1.0.0:train", "voc/2012:1.0.0", "train"),
    ],
)
def test_a_colon_in_the_name_of_a_dataset_is_no_end_of_it(text, name, split):
    assert parse_source(text) == TfdsSource("train", name, split)
