"""The folder of a run: its configuration, its checkpoints, and what is refused."""

import json

import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError, StorageError
from ssd300.model.spec import PAPER
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION
from ssd300.training.run_directory import RunConfig, RunDirectory, read_config
from ssd300.training.settings import TrainSettings

SETTINGS = TrainSettings("data/set", preset="paper", width=0.02, weights="none", augmentation=LIGHT_AUGMENTATION)
CONFIG = RunConfig(SETTINGS, ClassList(("ant", "bee")), "f" * 64, {"keras": "3"})


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "a" / "run")
    run.create(CONFIG)
    return run


class Weights:
    """A model whose weights are a text."""

    def __init__(self, text="weights", fails=False):
        self.text, self.fails = text, fails

    def save_weights(self, path):
        path.write_text(self.text[:3])
        if self.fails:
            raise OSError("no space left")
        path.write_text(self.text)


def test_a_configuration_goes_through_its_file(run):
    assert run.read_config() == CONFIG
    assert read_config(run.config_path).settings.augmentation == LIGHT_AUGMENTATION


def test_the_model_s_arguments_come_from_settings_and_classes():
    assert CONFIG.model_arguments() == {"num_classes": 3, "preset": PAPER, "width": 0.02, "norm": "none"}


def test_a_second_run_in_a_folder_is_refused(run):
    before = run.config_path.read_bytes()
    with pytest.raises(InputError, match="already holds a run; resume it, or choose another folder"):
        run.create(RunConfig(TrainSettings("other"), CONFIG.classes, "0", {}))
    assert run.config_path.read_bytes() == before


def test_a_folder_without_a_run_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"is not the folder of a run: there is no config\.json"):
        RunDirectory(tmp_path).read_config()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"dataset": "d", "depth": 3}}, "unknown settings: depth"),
        ({"settings": {"dataset": "d", "steps": "many"}}, "steps must be a whole number, got 'many'"),
        ({"settings": 7}, "expected the fields of TrainSettings, got 7"),
        ({"classes": {"names": []}}, "at least one class"),
        ({"settings": {"dataset": "d", "width": 0.5}}, "was edited or is damaged"),
        ({"fingerprint": None}, "was edited or is damaged"),
    ],
)
def test_a_configuration_that_was_edited_is_read_or_refused_with_the_file(run, change, message):
    content = json.loads(run.config_path.read_text())
    run.config_path.write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=message) as refused:
        run.read_config()
    assert str(run.config_path) in str(refused.value)


def test_a_configuration_that_was_edited_serves_a_new_run_and_an_old_one_has_no_checksum(run):
    content = json.loads(run.config_path.read_text())
    content["settings"]["width"] = 0.5
    run.config_path.write_text(json.dumps(content))
    assert read_config(run.config_path).settings.width == 0.5
    del content["checksum"]
    run.config_path.write_text(json.dumps(content))
    assert run.read_config().settings.width == 0.5


@pytest.mark.parametrize("inside", ["checkpoints", "checkpoints/step-00000001.weights.h5"])
def test_the_run_of_a_checkpoint_is_named(run, inside):
    run.save_checkpoint(Weights(), 1, keep=1)
    with pytest.raises(InputError, match=rf"is not the folder of a run.*; {run.path} is one"):
        RunDirectory(run.path / inside).read_config()


def test_a_folder_that_is_a_url_or_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="the folder of a run must be a path on this machine's disks"):
        RunDirectory("gs://bucket/run")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written: .*not a folder"):
        RunDirectory(tmp_path / "file").check_free()
    RunDirectory(tmp_path / "new").check_free()
    assert not (tmp_path / "new").exists()


def test_checkpoints_are_in_the_order_of_their_steps(run):
    for step in (9, 100_000_000, 20):
        run.save_checkpoint(Weights(f"{step}"), step, keep=9)
    (run.path / "checkpoints/step-00000001.weights.h5.old").touch()
    (run.path / "checkpoints/notes.txt").touch()
    assert [step for step, _ in run.checkpoints()] == [9, 20, 100_000_000]
    step, path = run.newest_checkpoint()
    assert (step, path.read_text()) == (100_000_000, "100000000")


def test_only_the_newest_checkpoints_are_kept(run):
    for step in range(1, 6):
        run.save_checkpoint(Weights(), step, keep=2)
    assert [step for step, _ in run.checkpoints()] == [4, 5]


def test_a_checkpoint_that_could_not_be_written_hides_none_before_it(run):
    run.save_checkpoint(Weights("good"), 1, keep=1)
    with pytest.raises(StorageError, match=r"step-00000002.* could not be written: no space left"):
        run.save_checkpoint(Weights(fails=True), 2, keep=1)
    assert run.newest_checkpoint()[1].read_text() == "good"
    assert [step for step, _ in run.checkpoints()] == [1]


def test_a_run_without_a_checkpoint_says_so(run):
    with pytest.raises(InputError, match="has no checkpoint yet"):
        run.newest_checkpoint()


def test_the_model_comes_back_with_its_weights(run):
    model = SSD300(**CONFIG.model_arguments())
    model.get_layer("fc7").bias.assign(model.get_layer("fc7").bias + 0.5)
    run.save_checkpoint(model, 7, keep=1)
    loaded, config, step = run.load_model()
    assert (config, step) == (CONFIG, 7)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert (one == other).all()
