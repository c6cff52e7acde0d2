"""Predicting with a detector that finds what the test says: files, coordinates, thresholds and names."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.model.detection import Detections
from ssd300.training.prediction import predict as predict_module
from ssd300.training.prediction.find_images import find_images
from ssd300.training.prediction.predict import predict
from ssd300.training.settings import PredictSettings

# ymin, xmin, ymax, xmax; score; label. The last row is padding.
FOUND = [
    ((0.1, 0.2, 0.5, 0.6), 0.9, 2),
    ((0.0, 0.0, 1.0, 1.0), 0.5, 1),
    ((0.3, 0.3, 0.4, 0.4), 0.49, 1),
    ((0,) * 4, 0, 0),
]


@pytest.fixture
def run(monkeypatch):
    """A run whose detector finds the same in every image, and tells in `batches` what it was given."""
    batches = []

    def detector(pixels):
        batches.append(pixels.shape.as_list())
        boxes, scores, labels = zip(*FOUND, strict=True)
        repeat = [len(pixels), 1]
        return Detections(
            tf.tile(tf.constant([boxes], tf.float32), [*repeat, 1]),
            tf.tile(tf.constant([scores], tf.float32), repeat),
            tf.tile(tf.constant([labels], tf.int32), repeat),
            tf.fill([len(pixels)], 3),
        )

    monkeypatch.setattr(predict_module, "make_detector", lambda model: detector)
    config = SimpleNamespace(classes=ClassList(("ant", "bee")))
    return SimpleNamespace(read_config=lambda: config, load_model=lambda: (None, config, 1), batches=batches)


def write(path, size=(300, 200), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(path, **options)
    return path


def detections_in(folder):
    return json.loads((folder / "detections.json").read_text())


def test_boxes_are_in_pixels_of_the_image(run, tmp_path):
    path = write(tmp_path / "wide.jpg")
    assert predict(run, [path], tmp_path / "out") == {"images": 1, "detections": 2, "unreadable": {}}
    expected = {
        "image_id": 1, "file_name": str(path), "category_id": 2, "category_name": "bee",
        "bbox": [60.0, 20.0, 120.0, 80.0], "score": 0.9,
    }  # fmt: skip
    first, second = detections_in(tmp_path / "out")
    assert first == expected
    assert (second["category_name"], second["bbox"], second["score"]) == ("ant", [0.0, 0.0, 300.0, 200.0], 0.5)


def test_boxes_of_a_turned_image_are_those_of_the_upright_one(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "turned.jpg", size=(200, 300), exif=exif)
    predict(run, [path], tmp_path / "out")
    assert detections_in(tmp_path / "out")[0]["bbox"] == [60.0, 20.0, 120.0, 80.0]
    with Image.open(tmp_path / "out/turned.jpg") as drawn:
        assert drawn.size == (300, 200)


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 3), (0.5, 2), (0.51, 1), (0.95, 0), (1.0, 0)])
def test_the_threshold_is_included_and_padding_is_not(run, tmp_path, threshold, count):
    path = write(tmp_path / "a.jpg")
    done = predict(run, [path], tmp_path / "out", PredictSettings(threshold=threshold))
    assert done["detections"] == len(detections_in(tmp_path / "out")) == count


def test_images_go_through_the_detector_in_batches(run, tmp_path):
    paths = [write(tmp_path / f"{n}.jpg") for n in range(5)]
    predict(run, paths, tmp_path / "out", PredictSettings(batch_size=2))
    assert run.batches == [[2, 300, 300, 3], [2, 300, 300, 3], [1, 300, 300, 3]]
    assert [one["image_id"] for one in detections_in(tmp_path / "out")] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_what_cannot_be_read_is_named_and_the_others_keep_their_numbers(run, tmp_path):
    good = write(tmp_path / "good.jpg")
    broken, gone = tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    broken.write_bytes(b"not an image")
    done = predict(run, [broken, gone, good], tmp_path / "out")
    assert (done["images"], list(done["unreadable"])) == (1, [str(broken), str(gone)])
    assert {one["image_id"] for one in detections_in(tmp_path / "out")} == {3}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"detections.json", "good.jpg"}


def test_no_image_at_all_gives_an_empty_list(run, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    predict(run, [broken], tmp_path / "out")
    assert detections_in(tmp_path / "out") == []


def test_equal_names_are_kept_apart(run, tmp_path):
    paths = [write(tmp_path / folder / name) for folder, name in (("a", "x.jpg"), ("b", "x.png"), ("c", "x.jpg"))]
    predict(run, paths, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 3


def test_an_image_is_annotated(run, tmp_path):
    predict(run, [write(tmp_path / "a.jpg")], tmp_path / "out")
    with Image.open(tmp_path / "out/a.jpg") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    assert np.abs(pixels[20:24, 100:150] - 90).max() > 60  # the upper edge of the first box
    assert np.abs(pixels[40:80, 100:150] - 90).max() < 12  # inside it


def test_originals_are_never_replaced(run, tmp_path):
    path = write(tmp_path / "pictures/a.jpg")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.jpg is an input and would be replaced"):
        predict(run, find_images([str(tmp_path / "pictures")]), tmp_path / "pictures")
    other = write(tmp_path / "out/a.jpg", size=(30, 20))
    with pytest.raises(InputError, match=rf"{other} exists and was not made by ssd300"):
        predict(run, [path], tmp_path / "out")
    assert path.read_bytes() == before
    assert {one.name for one in tmp_path.rglob("*.json")} == set()
    with Image.open(other) as image:
        assert image.size == (30, 20)


def test_a_prediction_replaces_its_own_earlier_output(run, tmp_path):
    path = write(tmp_path / "pictures/a.jpg")
    for threshold in (0.6, 0.0):
        predict(run, [path], tmp_path / "out", PredictSettings(threshold=threshold))
    assert len(detections_in(tmp_path / "out")) == 3
    with pytest.raises(InputError, match="would be replaced"):  # made by us, but now an input
        predict(run, find_images([str(tmp_path / "out/a.jpg")]), tmp_path / "out")


def test_sub_folders_are_kept(run, tmp_path):
    for name in ("x.jpg", "cam0/x.jpg", "cam1/x.png"):
        write(tmp_path / "pictures" / name)
    images = find_images([str(tmp_path / "pictures")])
    predict(run, images, tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.jpg")) == [
        "cam0/x.jpg", "cam1/x.png.jpg", "x.jpg",
    ]  # fmt: skip


def test_an_output_that_is_a_file_is_named_before_the_model_is_loaded(run, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg")
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr(run, "load_model", lambda: pytest.fail("loaded"))
    with pytest.raises(InputError, match=rf"{tmp_path}/out is a file, where a folder is needed"):
        predict(run, [path], tmp_path / "out")
