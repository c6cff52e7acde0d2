"""Fine-tuning: the plan that it makes of a dataset, and the run that comes of it."""

import json

import numpy as np
import pytest

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION, PAPER_AUGMENTATION
from ssd300.training import finetuning
from ssd300.training.finetuning import Seconds, finetune, steps_for
from ssd300.training.fit import train
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import FinetuneSettings, TrainSettings


@pytest.fixture(scope="module")
def narrow_run(shapes_dataset, tmp_path_factory):
    """Folder of a run of one step to start from."""
    settings = TrainSettings(
        shapes_dataset, width=0.02, weights="none", steps=1, batch_size=2, augmentation=NO_AUGMENTATION
    )
    return str(train(settings, tmp_path_factory.mktemp("runs") / "narrow").path)


def plan(settings):
    return finetuning.plan(settings, EncodedDataset.open(settings.dataset))


@pytest.mark.parametrize(("images", "steps"), [(50, 1000), (200, 1000), (400, 2000), (5000, 25_000)])
def test_steps_are_forty_epochs_and_at_least_a_thousand(images, steps):
    assert steps_for(images, 8) == steps


def test_a_fifth_is_held_out_where_there_is_no_validation_split(shapes_dataset, narrow_run):
    recipe, measured = plan(FinetuneSettings(shapes_dataset, narrow_run, minutes=0, precision="float32"))
    assert measured is None
    assert (recipe.split, recipe.validation_split) == ("train[:80%]", "train[80%:]")
    assert (recipe.steps, recipe.warmup_steps, recipe.batch_size) == (1000, 60, 8)
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule, recipe.weight_decay) == ("adam", 1e-4, "cosine", 0)
    assert (recipe.freeze, recipe.ema, recipe.keep_best, recipe.width) == (3, 0.98, True, 0.02)
    assert recipe.patience == 85  # a fifth of 1000 * 8 / 19 epochs
    assert not recipe.rescale  # layers of a run do not begin at random
    assert recipe.augmentation == PAPER_AUGMENTATION


def test_a_validation_split_is_used_and_a_test_split_is_not(encode_shapes, narrow_run):
    dataset = encode_shapes({"train": 6, "test": 4, "val": 3})
    recipe, _ = plan(FinetuneSettings(dataset, "none", minutes=0, precision="float32"))
    assert (recipe.split, recipe.validation_split) == ("train", "val")
    assert (recipe.rescale, recipe.freeze, recipe.init_from) == (True, 0, None)
    assert recipe.batch_size == 6  # no more than there are images


def test_the_minutes_shorten_the_training(shapes_dataset, monkeypatch):
    monkeypatch.setattr(finetuning, "_measure", lambda *_: Seconds(step=2.0, image=0.6))
    recipe, measured = plan(FinetuneSettings(shapes_dataset, "none", minutes=10, precision="float32"))
    assert measured == Seconds(2.0, 0.6)
    # 19 images in 3 steps per epoch, 5 to validate on: 2 + 5 * .6 / 3 = 3 s per step.
    assert (recipe.steps, recipe.warmup_steps) == (200, 20)


def test_the_machine_is_measured_on_the_recipes_own_network(encode_shapes, narrow_run):
    dataset = encode_shapes({"train": 5})
    settings = FinetuneSettings(dataset, narrow_run, minutes=1000, batch_size=2, precision="float32")
    recipe, measured = plan(settings)
    assert 0 < measured.step < 60
    assert 0 < measured.image < 60
    assert recipe.steps == 1000


def test_too_few_images_to_hold_out_are_refused(encode_shapes, narrow_run):
    with pytest.raises(InputError, match="no part of train can be held out"):
        plan(FinetuneSettings(encode_shapes({"train": 4}), narrow_run, precision="float32"))


def test_the_run_has_the_best_weights_and_all_commands_use_them(shapes_dataset, narrow_run, tmp_path):
    done = finetune(FinetuneSettings(shapes_dataset, narrow_run, steps=6, batch_size=8, precision="float32"), tmp_path)
    assert (done.split, done.images) == ("train[80%:]", 5)
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": done.best.step, "mAP": done.best.mAP}
    model, _, step = done.run.load_model()
    assert step == done.best.step
    before = [array.copy() for array in model.get_weights()]
    (tmp_path / "best.weights.h5").write_bytes(b"damaged")
    newest, _, step = done.run.load_model()
    assert step == 6
    assert len(newest.get_weights()) == len(before)
    frozen, start = newest.get_layer("conv3_3"), done.run.read_config().settings
    assert start.freeze == 3
    first = RunDirectory(narrow_run).load_model()[0]
    np.testing.assert_array_equal(frozen.get_weights()[0], first.get_layer("conv3_3").get_weights()[0])
    assert not np.array_equal(newest.get_layer("conv4_1").get_weights()[0], first.get_layer("conv4_1").get_weights()[0])
