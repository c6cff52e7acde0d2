"""Every command with each of its paths and numbers wrong: a right result, or one line that names what is wrong."""

import math
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from helpers import make_jpeg
from layouts import PEERS
from outcomes import DAMAGES, outcome, unchanged
from weight_files import write_peer

from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.training.cli.commands import COMMANDS
from ssd300.training.cli.main import main
from ssd300.training.cli.options import _plain

# Good arguments by command: the paths by their options' names, and what keeps the command small.
PATHS = {
    "demo": {"output": "{out}"},
    "preprocess": {"sources": "train={tree}", "classes": "{names}", "output": "{out}"},
    "inspect": {"dataset": "{dataset}", "output": "{out}.jpg"},
    "train": {"dataset": "{dataset}", "output": "{out}", "config": "{config}", "weights": "none", "init_from": "{run}"},
    "import-weights": {"file": "{weights}", "classes": "{names}", "output": "{out}"},
    "finetune": {"dataset": "{dataset}", "start": "{run}", "output": "{out}"},
    "verify": {"run": "{run}"},
    "evaluate": {"run": "{run}", "dataset": "{dataset}", "output": "{out}"},
    "predict": {"run": "{run}", "images": "{photo}", "output": "{out}"},
}
SMALL = {
    "preprocess": "--workers 1 --copies 1",
    "inspect": "--images 1 --seconds 0",
    "finetune": "--steps 1 --batch-size 2",
    "verify": "--steps 1",
    "train": "--steps 1 --width .02 --batch-size 2 --augmentation none",
}
FLAGS = {"sources": "--source", "output": "--output", "classes": "--classes", "config": "--config"} | {
    "weights": "--weights",
    "init_from": "--init-from",
    "start": "--from",
}
FILES = {("inspect", "output"), ("train", "config"), ("preprocess", "classes"), ("train", "weights")} | {
    ("import-weights", "file"),
    ("import-weights", "classes"),
}


@pytest.fixture(scope="module")
def mine(shapes_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a user has, by name: paths of a dataset, a run, a tree, a photo and a list of classes."""
    folder = tmp_path_factory.mktemp("mine")
    small = ["--steps", "1", "--width", ".02", "--batch-size", "4", "--weights", "none", "--augmentation", "none"]
    assert main(["train", shapes_dataset, "--output", f"{folder}/run", *small]) == 0
    (folder / "photo.jpg").write_bytes(make_jpeg())
    peer = replace(PEERS["ssd.pytorch"], classes=4)
    write_peer(folder / "weights.pth", peer, peer.random_tensors(seed=0))
    (folder / "names.txt").write_text("disc\nstar\ntriangle\n")
    (folder / "notes").mkdir()
    (folder / "notes/thesis.txt").write_text("years of work")
    return {
        "folder": f"{folder}", "run": f"{folder}/run", "config": f"{folder}/run/config.json",
        "weights": f"{folder}/weights.pth", "photo": f"{folder}/photo.jpg", "names": f"{folder}/names.txt",
        "dataset": shapes_dataset, "tree": f"{Path(shapes_dataset).parent}/tree",
    }  # fmt: skip


def arguments_of(command: str, given: dict[str, str]) -> list[str]:
    """The command line with these paths."""
    words = [command]
    for name, path in given.items():
        words += [FLAGS[name], path] if name in FLAGS else [path]
    return [*words, *shlex.split(SMALL.get(command, ""))]


def good(command: str, mine: dict[str, str], out: Path) -> dict[str, str]:
    """Paths that can be used."""
    return {name: path.format(**mine, out=out) for name, path in PATHS[command].items()}


def test_all_paths_are_swept() -> None:
    for name, command in COMMANDS.items():
        paths = {
            one.name
            for part in command.parts
            for one in fields(part)
            if one.metadata.get("path", one.metadata.get("local"))
        }
        assert paths <= PATHS[name].keys()


def test_all_commands_are_swept() -> None:
    assert PATHS.keys() == COMMANDS.keys()


WRONG_INPUTS = [(command, name) for command, paths in PATHS.items() for name in paths if name != "output"]


@pytest.mark.parametrize("wrong", ["missing", "wrong kind", "unreadable"])
@pytest.mark.parametrize(("command", "name"), WRONG_INPUTS)
def test_an_input_that_cannot_be_used_is_named(
    command: str, name: str, wrong: str, mine: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong"
    if wrong == "unreadable" and os.geteuid() == 0:
        pytest.skip("root can read everything")
    if wrong != "missing":
        # A file where a folder is wanted; a folder where a file is wanted, and one without images for `predict`.
        path.mkdir() if (command, name) in FILES or name == "images" else path.write_text("text")
    if wrong == "unreadable":
        path.chmod(0)
    given = good(command, mine, tmp_path / "out")
    given[name] = f"train={path}" if name == "sources" else str(path)
    with unchanged(mine["folder"], mine["dataset"], mine["tree"]):
        outcome(arguments_of(command, given), capsys).check_refused(str(path))
    path.chmod(0o700) if path.exists() else None
    assert not (tmp_path / "out").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


WRITING = [command for command, paths in PATHS.items() if "output" in paths]


@pytest.mark.parametrize("state", ["read-only", "full"])
@pytest.mark.parametrize("command", WRITING)
def test_a_disk_that_cannot_be_written_is_named(
    command: str, state: str, mine: dict[str, str], disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if state == "full":
        fill = subprocess.run(["dd", "if=/dev/zero", f"of={disk}/fill"], capture_output=True, text=True)
        assert "No space left" in fill.stderr
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with unchanged(mine["folder"], mine["dataset"], mine["tree"], disk):
        done = outcome(arguments_of(command, without_config(command, good(command, mine, disk / "out"))), capsys)
    done.check_refused(str(disk))
    assert "No space left" in done.errors[0] if state == "full" else "Read-only" in done.errors[0]
    assert [path.name for path in disk.iterdir()] == (["fill"] if state == "full" else [])


def without_config(command: str, given: dict[str, str]) -> dict[str, str]:
    return {name: path for name, path in given.items() if (command, name) != ("train", "config")}


@pytest.mark.parametrize("taken", ["a file", "below a file", "a URL", "nothing"])
@pytest.mark.parametrize("command", WRITING)
def test_an_output_that_cannot_be_made_is_named(
    command: str, taken: str, mine: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.jpg").write_bytes(make_jpeg())
    (tmp_path / "photos.jpg").mkdir()
    output = {
        "a file": tmp_path / ("photos.jpg" if command == "inspect" else "taken.jpg"),  # for a file a folder
        "below a file": tmp_path / "taken.jpg/below.jpg",
        "a URL": "s3://bucket/taken.jpg",
        "nothing": "",
    }[taken]
    given = without_config(command, good(command, mine, tmp_path)) | {"output": str(output)}
    with unchanged(mine["folder"], mine["dataset"], mine["tree"], tmp_path):
        outcome(arguments_of(command, given), capsys).check_refused(
            str(output) or "--output must be a path", f"{tmp_path}/taken.jpg"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.jpg", "taken.jpg"]


@pytest.mark.parametrize("command", WRITING)
def test_what_others_have_made_is_never_replaced(
    command: str, mine: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["config.json", "detections.json", "metrics.json", "photo.jpg", "precision_recall.png", "report.html"]
    for name in names:
        (tmp_path / name).write_text("mine")
    given = without_config(command, good(command, mine, tmp_path))
    given["output"] = str(tmp_path / "photo.jpg" if command == "inspect" else tmp_path)
    with unchanged(mine["folder"], mine["dataset"], mine["tree"], tmp_path):
        outcome(arguments_of(command, given), capsys).check_refused(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_image_is_named_or_used(
    damage: str, mine: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(DAMAGES[damage](Path(mine["photo"]).read_bytes()))
    arguments = ["predict", mine["run"], str(tmp_path), "--output", str(tmp_path / "out")]
    with unchanged(mine["folder"], tmp_path):
        done = outcome(arguments, capsys)
    assert (done.code, f"left out {tmp_path}/photo.jpg: " in done.printed) in ((0, False), (2, True))


VALUES = ("0", "-1", "nan", "inf", "-inf", "9" * 30, "1e3x")
WORDS = ("tree", "names", "dataset", "config", "run", "photo")


def numbers() -> Iterator[Any]:
    """Each numeric option of each command, and each numeric change of the augmentation, with each wrong value."""
    for command, about in COMMANDS.items():
        for part in about.parts:
            for one in fields(part):
                kind, _ = _plain(one.type)
                if one.metadata.get("help") is None or kind not in (int, float):
                    continue
                flag = "--" + one.metadata.get("flag", one.name).replace("_", "-")
                for text in VALUES:
                    yield pytest.param(command, one.name, [f"{flag}={text}"], kind, id=f"{command} {flag}={text}")
            if "changes" not in {one.name for one in fields(part)}:
                continue
            for one in fields(Augmentation):
                kind, several = _plain(one.type)
                for text in VALUES:
                    change = f"--augment={one.name}={text},{text}" if several else f"--augment={one.name}={text}"
                    yield pytest.param(command, one.name, [change], kind, id=f"{command} {change}")


@pytest.mark.parametrize(("command", "name", "options", "kind"), list(numbers()))
def test_a_number_that_cannot_be_used_is_named(
    command: str, name: str, options: list[str], kind: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that can be used meets paths that cannot, so that no command begins its work."""
    (tmp_path / "out").write_text("mine")
    nowhere = good(command, dict.fromkeys(WORDS, "/nowhere/x"), tmp_path / "out")
    given = without_config(command, nowhere)
    done = outcome([*arguments_of(command, given), *options], capsys)
    assert done.code == 2
    text = options[0].rsplit("=", 1)[1].split(",")[0]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    is_refused = not math.isfinite(value) or value < 0 or (kind is int and value > 2**63)
    done.check_refused(*((name, options[0].split("=")[0]) if is_refused else (name, "/nowhere", f"{tmp_path}")))
    assert (tmp_path / "out").read_text() == "mine"
