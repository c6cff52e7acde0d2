import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import IdentityMismatchError
from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.support.lease import lease
from ssd300.training import fit as train_module
from ssd300.training.fit import resume, train
from ssd300.training.optimizer import make_optimizer
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings


def settings_for(dataset, **changes):
    small = {"width": 0.02, "weights": "none", "steps": 4, "batch_size": 4, "augmentation": NO_AUGMENTATION}
    return TrainSettings(dataset, **{**small, **changes})


def rows_of(run):
    with run.history_path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(shapes_dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "run"
    return train(settings_for(shapes_dataset, steps=12, checkpoint_steps=5, validation_split="test"), output)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run of 12 steps, to change."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def test_a_run_directory_holds_all_that_happened(finished, shapes_dataset):
    content = json.loads(finished.config_path.read_text())
    assert content["settings"]["dataset"] == shapes_dataset
    assert content["settings"]["preset"] == "paper"  # the dataset's own, filled in
    assert content["classes"]["names"] == ["disc", "star", "triangle"]
    assert set(content["versions"]) == {"ssd300", "tensorflow", "keras"}
    assert [step for step, _ in finished.checkpoints()] == [5, 10, 12]
    assert list(finished.logs_path.glob("events.*"))


def test_a_run_finds_its_dataset_from_any_folder(shapes_dataset, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(train_module, "_fit", lambda model, config, *_, **__: found.append(config.settings.dataset))
    monkeypatch.chdir(Path(shapes_dataset).parent)
    train(settings_for(Path(shapes_dataset).name, steps=1), tmp_path / "run")
    assert found == [str(Path(shapes_dataset).resolve())]


def test_the_history_has_every_number(finished):
    training = [row for row in rows_of(finished) if row["loss"]]
    assert [int(row["step"]) for row in training] == [10, 12]
    for name in ("confidence", "localization", "l2", "matches", "learning_rate", "images_per_second"):
        assert all(float(row[name]) > 0 for row in training)
    assert any(row["val_loss"] for row in rows_of(finished))


def test_tensorboard_gets_the_same_scalars(finished):
    tags = set()
    for path in finished.logs_path.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    assert {"loss", "confidence", "localization", "matches", "learning_rate", "images_per_second", "val_loss"} <= tags


def test_resume_starts_from_the_newest_checkpoint(copied):
    resume(copied.path, steps=14)
    assert [step for step, _ in copied.checkpoints()] == [10, 12, 14]
    assert copied.read_config().settings.steps == 14
    steps = [int(row["step"]) for row in rows_of(copied)]
    assert steps == sorted(steps)
    assert steps[-1] == 14


def test_resume_restores_weights_and_optimizer(copied, monkeypatch):
    saved = copied.load_model()[0].get_weights()
    seen = {}

    def look(model, config, run, dataset, *, first_step, is_new=True):
        seen.update(step=first_step, weights=model.get_weights(), slots=[v.numpy() for v in model.optimizer.variables])

    monkeypatch.setattr(train_module, "_fit", look)
    resume(copied.path, steps=15)
    assert seen["step"] == 12
    for new, old in zip(seen["weights"], saved, strict=True):
        np.testing.assert_array_equal(new, old)
    assert seen["slots"][0] == 12  # iterations
    assert any(np.abs(slot).max() > 0 for slot in seen["slots"][2:])  # moments


def test_resume_of_a_finished_run_trains_no_further(copied):
    before = copied.history_path.read_bytes()
    resume(copied.path)
    assert copied.history_path.read_bytes() == before


def test_a_run_that_died_before_its_first_checkpoint_starts_from_the_beginning(copied):
    for _, path in copied.checkpoints():
        path.unlink()
    config = copied.read_config()
    copied.write_config(replace(config, settings=replace(config.settings, steps=2)))
    resume(copied.path)
    assert [step for step, _ in copied.checkpoints()] == [2]


def test_a_second_run_in_a_folder_is_refused(finished, shapes_dataset):
    with pytest.raises(ValueError, match="already holds a run"):
        train(settings_for(shapes_dataset), finished.path)


def test_a_model_of_another_preset_is_refused_with_the_field(shapes_dataset, tmp_path):
    with pytest.raises(
        IdentityMismatchError, match="matching: the model expects 'threshold', the dataset has 'bipartite'"
    ):
        train(settings_for(shapes_dataset, preset="article"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_of_a_folder_without_a_run(tmp_path):
    with pytest.raises(ValueError, match=r"not the folder of a run.*config\.json"):
        resume(tmp_path)


def test_resume_with_another_dataset_in_its_place_is_refused(copied):
    copied.write_config(replace(copied.read_config(), fingerprint="0" * 64))
    with pytest.raises(ValueError, match="is another dataset than the run's"):
        resume(copied.path)


def test_a_dataset_that_was_moved_is_given_anew(copied, shapes_dataset, tmp_path):
    moved = shutil.copytree(shapes_dataset, tmp_path / "moved")
    config = copied.read_config()
    copied.write_config(replace(config, settings=replace(config.settings, dataset=str(tmp_path / "gone"))))
    with pytest.raises(InputError, match=r"gone is not a finished .*; if the run's dataset was moved, give"):
        resume(copied.path)
    resume(copied.path, dataset=str(moved), steps=12)
    assert [step for step, _ in copied.checkpoints()] == [5, 10, 12]


def test_an_option_that_is_not_used_is_refused(copied):
    with pytest.raises(InputError, match="has all its 12 steps, so a data service has nothing to do"):
        resume(copied.path, data_service="grpc://127.0.0.1:9")


def test_a_second_process_on_a_run_is_refused(copied):
    before = copied.history_path.read_bytes()
    with lease(str(copied.path), what="train"), pytest.raises(InputError, match="is in use by train, process"):
        resume(copied.path, steps=13)
    assert copied.history_path.read_bytes() == before


def test_a_split_without_an_object_is_refused_unless_its_negatives_teach(voc_tree, tmp_path):
    root = voc_tree({"a": [], "b": [], "c": [("ant", 30, 20, 150, 100)]}, image_sets={"train": "ab", "test": "c"})
    sources = tuple(FolderSource(split, str(root), split) for split in ("train", "test"))
    preprocess(PreprocessSettings(sources, ClassList(("ant",))), str(tmp_path / "ds"), Execution(workers=1))
    settings = settings_for(str(tmp_path / "ds"), steps=2, batch_size=2)
    with pytest.raises(InputError, match=r"split train of .*ds has no object, so there is nothing to learn"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = train(replace(settings, negatives_per_empty_image=3), tmp_path / "run")
    (row,) = rows_of(run)
    assert float(row["confidence"]) > 0
    assert float(row["matches"]) == 0


def test_the_paper_s_schedule_drops_at_80000_and_100000():
    rate = make_optimizer(TrainSettings("d"))._learning_rate
    # Caffe's multistep: the iteration, counted from 0, reaches the step value.
    values = [float(rate(step)) for step in (0, 79_999, 80_000, 99_999, 100_000, 119_999)]
    np.testing.assert_allclose(values, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)


def test_warm_up_rises_linearly_into_the_schedule():
    settings = TrainSettings("d", learning_rate=1e-2, warmup_steps=4, schedule="cosine", steps=100)
    rate = make_optimizer(settings)._learning_rate
    cosine = [0.5 * (1 + np.cos(np.pi * step / 100)) * 1e-2 for step in (0, 1, 3, 50, 100)]
    expected = np.array(cosine) * [1 / 4, 2 / 4, 1, 1, 1]
    np.testing.assert_allclose([float(rate(step)) for step in (0, 1, 3, 50, 100)], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm", "group"),
        ("optimizer", "lamb"),
        ("schedule", "x"),
        ("precision", "int8"),
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("keep_checkpoints", 0),
        ("checkpoint_steps", 0),
        ("warmup_steps", -1),
    ],
)
def test_settings_refuse_what_makes_no_sense(name, value):
    with pytest.raises(ValueError, match=name):
        TrainSettings("d", **{name: value})
