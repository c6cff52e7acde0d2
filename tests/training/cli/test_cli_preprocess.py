"""``ssd300 preprocess`` through the command line: exit codes, messages, and what is imported when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import exit_code

from ssd300.datasets.encoded_dataset import (
    EncodedDataset,
)
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.training.cli.main import main

BOX = (30, 20, 150, 100)
PICTURES = {f"{number:06d}": [("cat", *BOX), ("Person", number + 1, 50, 280, 190)] for number in range(5)}


@pytest.fixture
def tree(voc_tree) -> Path:
    return voc_tree(PICTURES, image_sets={"trainval": list(PICTURES)[:3], "test": list(PICTURES)[3:]})


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "dataset")


def preprocess(tree, output, *more: str) -> int:
    return exit_code(["preprocess", "--source", f"train={tree}:trainval", "--output", output, *more])


def test_a_job_ends_with_0_and_a_summary(tree, output, capsys):
    assert preprocess(tree, output, "--source", f"test={tree}:test") == 0
    shown = capsys.readouterr().out
    assert EncodedDataset.open(output).report["total"]["written"] == 5
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith(("train", "test", "total"))] == [
        ["train", "3", "3"],
        ["test", "2", "2"],
        ["total", "5", "5"],
    ]
    assert f"wrote {output}; open {output}/report.html" in shown
    assert "rejected.jsonl" not in shown


def test_every_option_reaches_the_dataset(tree, output, tmp_path):
    (tmp_path / "classes.txt").write_text("person\ncat\ndog\n")
    options = ["--classes", str(tmp_path / "classes.txt"), "--preset=article", "--coordinates=inclusive"]
    options += ["--verify=header", "--seed=7", "--shard-size=2", "--workers=1", "--max-rejected=0"]
    assert preprocess(tree, output, *options) == 0
    identity = EncodedDataset.open(output).identity
    assert identity.classes.names == ("person", "cat", "dog")
    assert identity.preset == "article"
    assert (identity.fields["coordinates"], identity.fields["verify"], identity.fields["seed"]) == (
        "inclusive",
        "header",
        7,
    )
    assert len(list(Path(output).glob("*.tfrecord-*"))) == 2


def test_augmented_copies_of_a_split(tree, output, capsys):
    options = ["--copies=2", "--copies-of", "test", "--augment", "expand=off", "--augment=crop=.5,.9"]
    assert preprocess(tree, output, "--source", f"test={tree}:test", *options, "--workers=1") == 0
    identity = EncodedDataset.open(output).identity
    assert identity.copies == {"test": 2}
    augmentation = identity.fields["copy_augmentation"]
    assert (augmentation["expand"], augmentation["crop"]) == (None, [0.5, 0.9])
    shown = capsys.readouterr().out
    assert "test, 2 copies" in shown
    assert "train, " not in shown
    assert {path.name for path in Path(output).glob("*.tfrecord-*")} == {
        f"ssd300-{split}.tfrecord-00000-of-00001" for split in ("train", "test", "test_copy1", "test_copy2")
    }


def test_copies_are_of_the_training_split_unless_told_otherwise(tree, output):
    assert preprocess(tree, output, "--copies=1", "--workers=1") == 0
    assert EncodedDataset.open(output).identity.copies == {"train": 1}
    assert EncodedDataset.open(output).report["total"]["copies"]["number"] == 1


def test_a_check_with_copies_writes_none(tree, output, capsys):
    assert preprocess(tree, output, "--check", "--copies=1", "--workers=1") == 0
    assert not list(Path(output).glob("*.tfrecord*"))
    assert "train, " not in capsys.readouterr().out


def test_classes_auto(tree, output):
    assert preprocess(tree, output, "--classes=auto") == 0
    assert EncodedDataset.open(output).identity.classes.names == ("cat", "Person")


@pytest.fixture
def unread(monkeypatch):
    """No pipeline runs in a test of refused arguments."""
    monkeypatch.setattr(beam_pipeline, "run_pipeline", lambda *_, **__: pytest.fail("a pipeline ran"))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=VOC2007"], "SPLIT=TREE:IMAGE_SET"),
        (["--source=test=nowhere:test"], "nowhere is not a folder"),
        (["--preset=papre"], "papre"),
        (["--coordinates=zero"], "zero"),
        (["--verify=maybe"], "maybe"),
        (["--classes=no_such_file.txt"], "no_such_file.txt"),
        (["--shard-size=0"], "shard_size"),
        (["--workers=0"], "workers"),
        (["--max-rejected=2"], "max_rejected"),
        (["--seed=-1"], "seed"),
        (["--sead=1"], "--sead"),
        (["--copies=-1"], "copies"),
        (["--copies=1", "--copies-of=test"], "copies are wanted of split test, there are: train"),
        (["--copies=1", "--source=train_copy1=nowhere:train"], "train_copy1 has the name of an augmented copy"),
        (["--copies=1", "--augment=hue=3"], "nothing else can be changed"),
        (["--copies=1", "--augment=expanse=3"], "expanse=3"),
        (["--runner=DirectRunner", "stray"], "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_input_that_cannot_be_used_ends_with_2_and_one_clear_message(tree, output, capsys, arguments, message):
    assert preprocess(tree, output, *arguments) == 2
    shown = capsys.readouterr().err
    assert "ssd300 preprocess: " in shown
    assert message in shown
    assert "Traceback" not in shown
    assert not Path(output).exists()


@pytest.mark.usefixtures("unread")
def test_an_empty_image_set_ends_with_2(voc_tree, output, capsys):
    root = voc_tree(PICTURES, image_sets={"trainval": []})
    assert preprocess(root, output) == 2
    assert "ImageSets/Main/trainval.txt lists no images" in capsys.readouterr().err


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "arguments", [["preprocess"], ["preprocess", "--output=x"], ["preprocess", "--seed=one"], ["no_command"], []]
)
def test_a_command_line_that_cannot_be_parsed_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_too_many_rejects_end_with_1_and_the_reasons(voc_tree, output, capsys):
    broken = voc_tree(PICTURES, image_sets={"trainval": PICTURES}, files={"JPEGImages/000001.jpg": b""})
    assert preprocess(broken, output) == 1
    shown = capsys.readouterr().err
    assert "1 of 5 images were rejected" in shown
    assert "empty_picture" in shown
    assert "JPEGImages/000001.jpg" in shown
    assert not Path(output, "COMPLETED").exists()


def test_rejects_below_the_limit_are_pointed_out(voc_tree, output, capsys):
    broken = voc_tree(PICTURES, image_sets={"trainval": PICTURES}, files={"JPEGImages/000001.jpg": b""})
    assert preprocess(broken, output, "--max-rejected=.5") == 0
    assert "1 rejected images are listed in rejected.jsonl" in capsys.readouterr().out


def test_options_of_beam_are_passed_on(tree, output, monkeypatch):
    from apache_beam.options.pipeline_options import DirectOptions

    run, seen = beam_pipeline.run_pipeline, []

    def spy(*args, options, **kwargs):
        seen.append(options.view_as(DirectOptions).direct_num_workers)
        run(*args, options=options, **kwargs)

    monkeypatch.setattr(beam_pipeline, "run_pipeline", spy)
    assert preprocess(tree, output, "--runner=DirectRunner", "--direct_num_workers", "1") == 0
    assert seen == [1]
    assert EncodedDataset.open(output).report["total"]["written"] == 3


def test_a_runner_that_beam_does_not_know_ends_with_2(tree, output, capsys):
    assert preprocess(tree, output, "--runner=NoSuchRunner") == 2
    assert "NoSuchRunner" in capsys.readouterr().err


def test_options_of_beam_are_not_passed_on_by_other_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "dataset", "--output=run", "--runner=DirectRunner"])
    assert ended.value.code == 2
    assert "--runner=DirectRunner" in capsys.readouterr().err


def python(*arguments: str) -> subprocess.CompletedProcess:
    """Runs Python as a user would, without the log level that the tests set."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=180, env=environment)


def test_the_module_runs_as_a_process_of_its_own_without_tensorflows_chatter(tree, output):
    command = ["-m", "ssd300.training.cli.main", "preprocess", "--source", f"train={tree}:trainval", "--output", output]
    done = python(*command)
    assert done.returncode == 0, done.stderr
    assert f"wrote {output}" in done.stdout
    assert "3/3" in done.stderr
    for noise in ("oneDNN", "cuda", "absl", "Traceback", "Warning"):
        assert noise not in done.stdout + done.stderr
    assert EncodedDataset.open(output).report["total"]["written"] == 3


@pytest.mark.parametrize("arguments", [["--help"], ["preprocess", "--help"]])
def test_help_imports_neither_tensorflow_nor_beam(arguments):
    script = f"""
import json, sys
from ssd300.training.cli.main import main
try:
    main({arguments!r})
except SystemExit as ended:
    heavy = ("tensorflow", "tensorflow_datasets", "keras", "apache_beam", "matplotlib")
    print(json.dumps([ended.code, [name for name in heavy if name in sys.modules]]))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
    assert "preprocess" in done.stdout
