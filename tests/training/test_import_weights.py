"""An imported file as a run: predict, evaluate and train take it, and what stops halfway leaves no run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_jpeg
from layouts import PEERS
from weight_files import write_caffemodel, write_keras_h5, write_peer, write_torch_legacy, write_torch_zip

from ssd300.training import import_weights as module
from ssd300.training.cli.main import main
from ssd300.training.run_directory import RunDirectory

CLASSES = ("disc", "star", "triangle")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of ssd.pytorch with the classes of the drawn shapes."""
    path = tmp_path_factory.mktemp("weights") / "shapes.pth"
    peer = replace(PEERS["ssd.pytorch"], classes=4)
    write_peer(path, peer, peer.random_tensors(seed=5))
    path.with_name("classes.txt").write_text("\n".join(CLASSES))
    return path


def import_arguments(weights, output):
    classes = str(weights.with_name("classes.txt"))
    return ["import-weights", str(weights), "--output", str(output), "--classes", classes]


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "imported"
    assert main(import_arguments(weights, output)) == 0
    return output


def test_the_passport_says_what_was_imported(run, capsys, weights, tmp_path):
    passport = json.loads((run / "passport.json").read_text())
    assert passport["file"]["format"] == "ssd.pytorch"
    assert len(passport["file"]["sha256"]) == 64
    assert passport["classes"]["names"] == list(CLASSES)
    assert passport["pixels"] == {
        "channels": "rgb",
        "mean": [123.0, 117.0, 104.0],
        "scale": 1.0,
        "decided_by": "as ssd.pytorch trains",
    }
    assert passport["default_boxes"]["clamp"] == "center"
    assert passport["default_boxes"]["smallest_sides"] == [30, 60, 111, 162, 213, 264]
    origins = {row["layer"]: row["from"] for row in passport["tensors"]}
    assert len(origins) == 71
    assert origins["conv10_2/kernel"] == "extras.5.weight"
    assert origins["conv4_3_norm/scale"] == "L2Norm.weight"
    assert main(import_arguments(weights, tmp_path / "again")) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if " " in line)
    assert lines["format"] == "ssd.pytorch (torch), 71 tensors"
    assert lines["pixels"] == "RGB minus 123, 117, 104; as ssd.pytorch trains"
    assert lines["classes"] == "3 (given), disc to triangle"


def test_the_run_has_the_file_s_weights_and_its_specification(run, weights):
    model, config, step = RunDirectory(run).load_model()
    assert (step, config.imported, config.classes.names) == (0, "ssd.pytorch", CLASSES)
    assert (config.spec.clamp, config.spec.suppression.candidates, config.spec.pixels.channels) == (
        "center",
        200,
        "rgb",
    )
    tensors = replace(PEERS["ssd.pytorch"], classes=4).random_tensors(seed=5)
    np.testing.assert_array_equal(model.get_layer("fc6").kernel, tensors["vgg.31.weight"].transpose(2, 3, 1, 0))


def test_predict_and_evaluate_take_it(run, shapes_dataset, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(make_jpeg(300, 200))
    assert (
        main(["predict", str(run), str(tmp_path / "a.jpg"), "--output", str(tmp_path / "out"), "--threshold=.1"]) == 0
    )
    assert json.loads((tmp_path / "out" / "detections.json").read_text())
    output = ["--output", str(tmp_path / "evaluation")]
    assert main(["evaluate", str(run), shapes_dataset, "--split", "test", *output]) == 0
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["step"] == 0


def test_training_starts_from_it(run, shapes_dataset, tmp_path, capsys, caplog):
    arguments = ["train", shapes_dataset, "--init-from", str(run), "--output", str(tmp_path / "tuned"), "--steps", "1"]
    assert main([*arguments, "--batch-size", "2", "--augmentation", "none", "--learning-rate", "1e-9"]) == 0
    assert "classes carried over: 3 of 3" in capsys.readouterr().err
    assert "default boxes of clamped, the dataset those of paper" in caplog.text
    config = RunDirectory(tmp_path / "tuned").read_config()
    assert (config.spec.pixels.channels, config.spec.clamp, config.imported) == ("rgb", "none", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "RUN"], "has no dataset of its own; name one"),
        (["train", "--resume", "--output", "RUN"], "no training to resume; start a new run from it"),
        (["train", "--config", "RUN/config.json", "--output", "OTHER"], "has no dataset of its own; name one"),
    ],
)
def test_what_needs_a_dataset_says_so(arguments, message, run, tmp_path, capsys):
    named = {"RUN": str(run), "OTHER": str(tmp_path / "other"), "RUN/config.json": str(run / "config.json")}
    assert main([named.get(one, one) for one in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_another_run_is_not_replaced(run, weights, capsys):
    assert main(import_arguments(weights, run)) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_an_import_that_stops_halfway_leaves_no_run(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(import_arguments(weights, tmp_path / "half")) == 130
    assert not (tmp_path / "half" / "config.json").exists()
    monkeypatch.undo()
    assert main(import_arguments(weights, tmp_path / "half")) == 0


SMALL = {"a": np.arange(400, dtype=np.float32)}
WRITERS = {
    "caffe": lambda path: write_caffemodel(path, [("a", "Convolution", [SMALL["a"]])]),
    "keras": lambda path: write_keras_h5(path, {"a": {"kernel:0": SMALL["a"]}}),
    "numpy": lambda path: np.savez(path, **SMALL),
    "torch": lambda path: write_torch_zip(path, SMALL),
    "torch of 2017": lambda path: write_torch_legacy(path, SMALL),
}


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize(
    ("part", "message"), [(0, "is empty"), (0.6, "cut"), (1, "expected an SSD300-VGG16 in the layout of")]
)
def test_what_cannot_be_imported_is_one_line_and_no_folder(container, part, message, tmp_path, capsys):
    path = tmp_path / "weights.npz"
    WRITERS[container](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    assert main(["import-weights", str(path), "--output", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "weights.npz" in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
