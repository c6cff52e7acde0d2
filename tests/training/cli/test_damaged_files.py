"""Datasets and runs with a file that is cut, empty or has a flipped byte: the right result, or a line naming it."""

import shutil
from pathlib import Path

import pytest
from helpers import content, exit_code, write_voc_tree
from outcomes import DAMAGES

BOX = (30, 20, 150, 100)
NARROW = ["--width", ".03", "--norm", "batch", "--weights", "none", "--batch-size", "2", "--augmentation", "none"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tree, its dataset and a run of two checkpoints."""
    folder = tmp_path_factory.mktemp("made")
    write_voc_tree(
        folder / "VOC", {name: [("ant", *BOX)] for name in "abcd"}, image_sets={"train": "abcd", "test": "ab"}
    )
    assert exit_code(preprocess(folder)) == 0
    assert (
        exit_code(
            ["train", f"{folder}/ds", "--output", f"{folder}/run", "--steps", "2", "--checkpoint-steps", "1", *NARROW]
        )
        == 0
    )
    return folder


def preprocess(folder: Path) -> list[str]:
    sources = [text for split in ("train", "test") for text in ("--source", f"{split}={folder}/VOC:{split}")]
    return ["preprocess", *sources, "--classes", "auto", "--output", f"{folder}/ds", "--workers", "1"]


def commands(folder: Path) -> dict[str, list[str]]:
    return {
        "preprocess": preprocess(folder),
        "inspect": ["inspect", f"{folder}/ds", "--output", f"{folder}/sheet.png", "--seconds", "0", "--images", "1"],
        "train": ["train", f"{folder}/ds", "--output", f"{folder}/new", "--steps", "1", *NARROW],
        "evaluate": ["evaluate", f"{folder}/run", f"{folder}/ds", "--output", f"{folder}/evaluation"],
        "predict": ["predict", f"{folder}/run", f"{folder}/VOC/JPEGImages/a.jpg", "--output", f"{folder}/predicted"],
    }


CASES = [(where, name, command) for where, names, users in (
    ("ds", ["COMPLETED", "identity.json"], ["preprocess", "inspect"]),
    ("ds", ["dataset_info.json"], ["inspect", "train"]),
    ("ds", ["report.json"], ["preprocess"]),
    ("ds", ["features.json"], ["inspect"]),
    ("ds", ["ssd300-train.tfrecord-00000-of-00001"], ["inspect", "train"]),
    ("ds", ["ssd300-test.tfrecord-00000-of-00001"], ["evaluate"]),
    ("run", ["config.json"], ["evaluate"]),
    ("run", ["checkpoints/step-00000002.weights.h5"], ["predict"]),
) for name in names for command in users]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("where", "name", "command"), CASES)
def test_a_damaged_file_is_named_or_does_no_harm(
    made: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    where: str,
    name: str,
    command: str,
    damage: str,
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    victim = folder / where / name
    victim.write_bytes(DAMAGES[damage](victim.read_bytes()))
    before = content(folder)
    capfd.readouterr()
    code = exit_code(commands(folder)[command])
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    lines = [line for line in printed.splitlines() if line.startswith("ssd300 ")]
    if code == 0:
        assert not lines
        assert "step-00000002" not in name or "step-00000002" in caplog.text  # an older one was used, and it says so
    else:
        assert code in (1, 2)
        assert len(lines) == 1, printed
        assert Path(name).name in printed, printed
    after = content(folder)
    ours = {"new", "sheet.png", "evaluation", "predicted", "run", "ds"}
    assert {path for path in before if before[path] != after.get(path)} <= {
        path for path in before if path.split("/")[0] in ours
    }
