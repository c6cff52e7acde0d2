"""The commands from train to predict, as a user calls them, on a run of a few steps."""

import importlib.metadata
import json
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, NO_AUGMENTATION
from ssd300.training import fit
from ssd300.training.cli.commands import COMMANDS
from ssd300.training.cli.main import main
from ssd300.training.run_directory import RunDirectory

SMALL = ["--width=0.02", "--weights=none", "--batch-size=4", "--augmentation=none"]


@pytest.fixture(scope="module")
def run(shapes_dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", shapes_dataset, "--output", str(output), "--steps", "3", *SMALL]) == 0
    return output


def test_train_says_where_the_checkpoint_is(run, capsys):
    assert main(["train", "--output", str(run), "--resume", "--steps", "4"]) == 0
    out = capsys.readouterr().out
    assert "step 4" in out
    assert "step-00000004.weights.h5" in out


def test_resume_refuses_other_settings(run, capsys):
    assert main(["train", "--output", str(run), "--resume", "--batch-size", "7"]) == 2
    assert "a resumed run keeps its settings; " in capsys.readouterr().err


def test_train_without_a_dataset(tmp_path, capsys):
    assert main(["train", "--output", str(tmp_path / "r")]) == 2
    assert "expected the folder of an encoded dataset, --config or --resume" in capsys.readouterr().err


def test_train_on_what_is_not_a_dataset(tmp_path, capsys):
    assert main(["train", str(tmp_path), "--output", str(tmp_path / "r"), "--weights", "none"]) == 2
    assert "COMPLETED" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_missing_weights_file_is_named(shapes_dataset, tmp_path, capsys):
    arguments = ["train", shapes_dataset, "--output", str(tmp_path / "r"), "--weights", "/nowhere/vgg.h5"]
    assert main(arguments) == 2
    assert "/nowhere/vgg.h5" in capsys.readouterr().err


def test_a_diverged_run_ends_with_1_and_a_line(shapes_dataset, tmp_path, capsys):
    arguments = ["train", shapes_dataset, "--output", str(tmp_path / "r"), "--steps", "50", *SMALL]
    assert main([*arguments, "--optimizer", "sgd", "--learning-rate", "1e30"]) == 1
    assert "NaN or infinite at step" in capsys.readouterr().err
    assert not RunDirectory(tmp_path / "r").checkpoints()  # none of a diverged model


def test_evaluate_writes_metrics_and_a_plot(run, capsys, tmp_path):
    assert main(["evaluate", str(run), "--output", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert set(metrics["classes"]) == {"disc", "star", "triangle"}
    assert 0 <= metrics["mAP"]["voc2007"] <= 1
    assert 0 <= metrics["mAP"]["voc2010"] <= 1
    with Image.open(tmp_path / "precision_recall.png") as plot:
        assert plot.width > 300
    assert "mean" in capsys.readouterr().out


def test_evaluate_names_the_splits_there_are(run, capsys):
    assert main(["evaluate", str(run), "--split", "val"]) == 2
    assert "no split 'val'" in capsys.readouterr().err


def test_predict_draws_and_writes_coco_results(run, tmp_path, capsys):
    pictures = tmp_path / "in"
    pictures.mkdir()
    Image.fromarray(np.full((200, 300, 3), 120, np.uint8)).save(pictures / "wide.jpg")
    Image.fromarray(np.full((90, 40), 60, np.uint8)).save(pictures / "gray.png")
    (pictures / "broken.jpg").write_bytes(b"no picture")
    (pictures / "notes.txt").write_text("not looked at")
    # At threshold 0 an untrained network detects anything.
    arguments = ["predict", str(run), str(pictures), "--output", str(tmp_path / "out"), "--threshold", "0"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "broken.jpg" in printed
    assert "on 2 images" in printed
    assert "ignored 1 file: 1 not images" in printed
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["detections.json", "gray.png.jpg", "wide.jpg"]
    detections = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert detections
    sizes = {"wide.jpg": (300, 200), "gray.png": (40, 90)}
    for detection in detections:
        assert set(detection) == {"image_id", "file_name", "category_id", "category_name", "bbox", "score"}
        assert detection["category_name"] == ["disc", "star", "triangle"][detection["category_id"] - 1]
        x, y, width, height = detection["bbox"]
        limit = sizes[detection["file_name"].rsplit("/", 1)[-1]]
        assert x >= 0
        assert y >= 0
        assert x + width <= limit[0] + 0.02
        assert y + height <= limit[1] + 0.02
    with Image.open(tmp_path / "out" / "wide.jpg") as annotated:
        assert annotated.size == (300, 200)


def test_predict_takes_globs_and_keeps_equal_names_apart(run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (30, 20)).save(tmp_path / folder / "same.jpg")
    assert main(["predict", str(run), f"{tmp_path}/*/same.jpg", "--output", str(tmp_path / "out")]) == 0
    found = (str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.jpg"))
    assert sorted(found) == ["a/same.jpg", "b/same.jpg"]


def test_predict_of_nothing(run, tmp_path, capsys):
    assert main(["predict", str(run), str(tmp_path / "*.jpg"), "--output", str(tmp_path / "out")]) == 2
    assert "names no image" in capsys.readouterr().err


def test_predict_of_images_that_cannot_be_read(run, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert main(["predict", str(run), str(tmp_path / "broken.jpg"), "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert f"left out {tmp_path}/broken.jpg: " in printed.out
    assert "ssd300 predict: no image could be read, of 1\n" in printed.err


def test_a_folder_without_a_run(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_unknown_arguments_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "run", "--spilt", "test"])
    assert stopped.value.code == 2
    assert "--spilt" in capsys.readouterr().err


def test_checkpoints_survive_a_reader(run):
    model, config, step = RunDirectory(run).load_model()
    assert (model.num_classes, config.settings.width) == (4, 0.02)
    assert step >= 3


def test_a_config_file_repeats_a_run(run, tmp_path):
    again = tmp_path / "again"
    assert main(["train", "--config", str(run / "config.json"), "--output", str(again), "--steps", "3"]) == 0
    first, second = (RunDirectory(path).read_config().settings for path in (run, again))
    assert second == replace(first, steps=3)


@pytest.fixture
def trained(monkeypatch):
    """The settings of trainings that are not really run."""
    settings = []
    checkpoint = SimpleNamespace(newest_checkpoint=lambda: (1, "checkpoint"))
    monkeypatch.setattr(fit, "train", lambda given, output: settings.append(given) or checkpoint)
    return settings


def test_a_config_file_is_varied_by_options(run, tmp_path, trained):
    options = ["--steps", "1", "--augmentation", "light", "--augment", "hue=18", "--jit-compile"]
    assert main(["train", "--config", str(run / "config.json"), "--output", str(tmp_path), *options]) == 0
    light = replace(LIGHT_AUGMENTATION, hue=18.0)
    stored = RunDirectory(run).read_config().settings
    assert trained == [replace(stored, steps=1, augmentation=light, jit_compile=True)]


def test_a_change_of_the_augmentation_starts_from_the_config_file(run, tmp_path, trained):
    arguments = ["train", "--config", str(run / "config.json"), "--output", str(tmp_path)]
    assert main([*arguments, "--augment", "brightness=8"]) == 0
    assert main([*arguments, "--augmentation", "copies"]) == 0
    assert [one.augmentation for one in trained] == [replace(NO_AUGMENTATION, brightness=8.0), LIGHT_AUGMENTATION]
    assert [one.copies for one in trained] == [False, True]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"settings": {"width": 1}}'])
def test_a_config_file_that_is_not_one_is_named(tmp_path, capsys, content):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    assert main(["train", "--config", str(path), "--output", str(tmp_path / "r")]) == 2
    assert str(path) in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"ssd300 {importlib.metadata.version('ssd300')}\n"


def test_errors_of_the_system_are_one_line_with_the_files_name(run, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file, not a folder")
    assert main(["evaluate", str(run), "--output", str(tmp_path / "taken")]) == 2
    shown = capsys.readouterr().err
    assert str(tmp_path / "taken") in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_groups_the_options_and_shows_every_default(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in COMMANDS[command].parts:
        for one in fields(part):
            if one.metadata.get("help") is None:
                continue
            if one.metadata.get("group"):
                assert f"{one.metadata['group']}: " in shown
            if isinstance(one.default, int | float | str) and not isinstance(one.default, bool):
                assert f"(default: {one.default})" in shown
