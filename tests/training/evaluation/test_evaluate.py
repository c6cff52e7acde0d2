"""Evaluating with a detector that knows the ground truth, or part of it."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.record import parse_record
from ssd300.datasets.shapes import CLASSES
from ssd300.model.detection import Detections
from ssd300.training.evaluation import evaluate as evaluate_module
from ssd300.training.evaluation.evaluate import detections_on, evaluate, metrics_table
from ssd300.training.settings import EvaluateSettings

KEEP = 8


@pytest.fixture
def dataset(shapes_dataset):
    return EncodedDataset.open(shapes_dataset)


@pytest.fixture
def truth(dataset):
    """The records of `test`, in the dataset's order."""
    paths = list(dataset.files("test").variants[0])
    return [parse_record(one) for one in tf.data.TFRecordDataset(paths).as_numpy_iterator()]


def run_of(classes=CLASSES):
    config = SimpleNamespace(classes=ClassList(tuple(classes)))
    model = SimpleNamespace(num_classes=len(classes) + 1)
    return SimpleNamespace(read_config=lambda: config, load_model=lambda: (model, config, 42))


@pytest.fixture
def detects(monkeypatch, truth):
    """``detects(chosen)`` makes the detector find, of each record, the objects for which `chosen` is true."""

    def install(chosen):
        remaining = iter(truth)

        def detector(pixels):
            rows = []
            for record in [next(remaining) for _ in range(len(pixels))]:
                kept = [i for i in range(len(record.labels)) if chosen(record, i)]
                fill = KEEP - len(kept)
                rows.append(
                    (
                        np.pad(record.boxes[kept].reshape(-1, 4), [(0, fill), (0, 0)]),
                        np.pad(np.linspace(0.9, 0.5, len(kept)), (0, fill)),
                        np.pad(np.array(record.labels, np.int32)[kept], (0, fill)),
                        len(kept),
                    )
                )
            boxes, scores, labels, counts = map(np.array, zip(*rows, strict=True))
            return Detections(*map(tf.constant, (boxes, scores, labels, counts)))

        monkeypatch.setattr(evaluate_module, "make_detector", lambda model: detector)

    return install


def test_a_perfect_detector_has_a_precision_of_one(detects, dataset, tmp_path):
    detects(lambda record, i: True)
    metrics = evaluate(run_of(), dataset, tmp_path / "out", EvaluateSettings(batch_size=5))
    assert metrics["mAP"] == {"voc2007": 1.0, "voc2010": 1.0}
    assert (metrics["split"], metrics["pictures"], metrics["step"]) == ("test", 12, 42)
    assert metrics["dataset"] == dataset.identity.fingerprint
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    assert (tmp_path / "out/precision_recall.png").stat().st_size > 1000


def test_objects_count_as_the_records_say(detects, dataset, truth, tmp_path):
    detects(lambda record, i: True)
    metrics = evaluate(run_of(), dataset, tmp_path)
    for label, name in enumerate(CLASSES, start=1):
        flags = [d for record in truth for one, d in zip(record.labels, record.difficult, strict=True) if one == label]
        assert metrics["classes"][name]["objects"] == flags.count(False)
        assert metrics["classes"][name]["detections"] == flags.count(False)  # those on difficult objects do not count


def test_a_class_that_is_never_found_has_zero(detects, dataset, tmp_path):
    detects(lambda record, i: record.labels[i] != 2)
    metrics = evaluate(run_of(), dataset, tmp_path)
    star = metrics["classes"][CLASSES[1]]
    assert (star["voc2007"], star["voc2010"], star["detections"], star["highest_recall"]) == (0.0, 0.0, 0, 0.0)
    assert metrics["mAP"]["voc2010"] == pytest.approx(2 / 3)


def test_nothing_found_is_no_error(detects, dataset, tmp_path):
    detects(lambda record, i: False)
    assert evaluate(run_of(), dataset, tmp_path)["mAP"] == {"voc2007": 0.0, "voc2010": 0.0}


def test_a_run_with_other_classes_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="the run's classes are ant, bee; the dataset's are disc, star, triangle"):
        evaluate(run_of(("ant", "bee")), dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_split_is_refused(detects, dataset, tmp_path):
    detects(lambda record, i: True)
    with pytest.raises(InputError, match="no split 'val', it has: train, test"):
        evaluate(run_of(), dataset, tmp_path / "out", EvaluateSettings(split="val"))


def test_images_come_in_the_dataset_s_order_with_their_objects(detects, dataset, truth):
    detects(lambda record, i: i == 0)
    found = list(detections_on(SimpleNamespace(), dataset, EvaluateSettings(batch_size=5)))
    assert [one.name for one in found] == [record.picture_id for record in truth]
    for one, record in zip(found, truth, strict=True):
        assert one.jpeg == record.image
        np.testing.assert_array_equal(one.true_boxes, record.boxes)
        assert one.difficult.tolist() == record.difficult
        np.testing.assert_allclose(one.boxes, record.boxes[:1])
        assert one.labels.tolist() == record.labels[:1]


def test_the_table_has_a_line_per_class_and_their_mean():
    row = {"voc2007": 0.25, "voc2010": 0.5, "objects": 1234, "detections": 56_789}
    nothing = {"voc2007": math.nan, "voc2010": math.nan, "objects": 0, "detections": 0}
    table = metrics_table({"classes": {"cat": row, "dog": nothing}, "mAP": {"voc2007": 0.25, "voc2010": 0.5}})
    assert [line.split() for line in table.splitlines()] == [
        ["class", "AP", "2007", "AP", "2010", "objects", "detections"],
        ["cat", "0.250", "0.500", "1,234", "56,789"],
        ["dog", "nan", "nan", "0", "0"],
        ["mean", "0.250", "0.500"],
    ]
