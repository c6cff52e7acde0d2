"""Fine-tuning: a detector of one's own images in the time that there is, without choosing any setting."""

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import keras
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import resolve_path
from ssd300.model.spec import IMAGE_SIZE, spec_named
from ssd300.preprocessing.support.terminal import say
from ssd300.training.distribution import refuse_workers
from ssd300.training.fit import train
from ssd300.training.preparation import chosen_precision, make_model, versions
from ssd300.training.run_directory import Best, RunConfig, RunDirectory
from ssd300.training.settings import VGG16_WEIGHTS, FinetuneSettings, TrainSettings
from ssd300.training.start import started_settings

# Splits that are made to choose the best weights by, if a dataset has one; a test split is for the final figure.
_VALIDATION_SPLITS = ("validation", "valid", "val")
_HELD_OUT = "[80%:]"
_KEPT = "[:80%]"
_EPOCHS, _FEWEST_STEPS = 40, 1_000  # what the number of steps follows from, where time is no limit
_FROZEN_BLOCKS = 3  # of VGG16: edges and textures; a step on a CPU takes two fifths less time
_WARMUP_STEPS = 60
_PATIENCE_EPOCHS, _PATIENCE_SHARE = 10, 0.2  # of epochs, or of all steps, whichever is longer
_TIMED_STEPS = 2


@dataclass(frozen=True)
class Finetuned:
    """What came of it: the run, its best weights, the images that these were chosen on, and the seconds."""

    run: RunDirectory
    best: Best
    split: str
    images: int
    seconds: float


def finetune(settings: FinetuneSettings, output: str) -> Finetuned:
    """Trains on a dataset with a recipe for few images, into the run directory `output`; a run begun there resumes.

    Adam at 1e-4 with a warm-up and a cosine to zero, VGG16's first three blocks frozen, a moving average of the
    weights, the layers that begin at random rescaled, and after each epoch the validation mAP, by which the best
    weights are kept and the training may stop early. The number of steps follows from the number of images and from
    the time that there is: the speed is measured before the start, so a run is repeated exactly by its
    ``config.json``, not by its minutes.

    Raises:
        InputError: the dataset or the start cannot be used.
        StorageError: the run cannot be written.
        TrainingError: a loss became NaN or infinite.
    """
    begin = time.perf_counter()
    refuse_workers("fine-tuning")
    run = RunDirectory(output)
    if run.config_path.exists():  # what was measured for it then holds
        stored = run.read_config().settings
        settings = replace(settings, steps=settings.steps or stored.steps, precision=stored.precision)
    else:
        run.check_free()
    dataset = EncodedDataset.open(resolve_path(settings.dataset))
    recipe, seconds = plan(settings, dataset)
    if seconds is not None:
        say(f"measured: {seconds.step:.2g} s per step, {seconds.image:.2g} s per validation image", file=sys.stderr)
    training, validation = (dataset.files(split).records for split in (recipe.split, recipe.validation_split or ""))
    say(
        f"{recipe.steps:,} steps of {recipe.batch_size} on {training:,} images of {recipe.split}, about "
        f"{recipe.steps * recipe.batch_size / training:.1f} epochs; validation on {validation:,} images of "
        f"{recipe.validation_split}",
        file=sys.stderr,
    )
    run = train(recipe, output)
    best = run.read_best()
    if best is None:
        raise InputError(f"{run.path}: best.json is gone or damaged")
    return Finetuned(run, best, recipe.validation_split or "", validation, time.perf_counter() - begin)


@dataclass(frozen=True)
class Seconds:
    """What a training step and the validation of an image take on this machine."""

    step: float
    image: float


def plan(settings: FinetuneSettings, dataset: EncodedDataset) -> tuple[TrainSettings, Seconds | None]:
    """The recipe for a dataset on this machine, and what was measured for it; nothing is, if the steps are given.

    Raises:
        InputError: the dataset or the start cannot be used.
    """
    is_run = _is_run(settings.start)
    split, validation = choose_splits(dataset, settings)
    images = dataset.files(split).records
    recipe = TrainSettings(
        dataset.folder,
        split=split,
        validation_split=validation,
        batch_size=min(settings.batch_size, images),
        seed=settings.seed,
        precision=chosen_precision(settings.precision),
        optimizer="adam",
        learning_rate=1e-4,
        schedule="cosine",
        weight_decay=0.0,
        keep_best=True,
        keep_checkpoints=1,
    )
    if is_run:
        start = RunDirectory(settings.start).read_config()
        recipe = started_settings(replace(recipe, init_from=settings.start, freeze=_FROZEN_BLOCKS), start)
    else:
        freeze = 0 if settings.start == "none" else _FROZEN_BLOCKS
        recipe = replace(recipe, weights=settings.start, freeze=freeze, rescale=True)
    steps, measured = settings.steps or steps_for(images, recipe.batch_size), None
    if settings.minutes and not settings.steps:
        measured = _measure(recipe, dataset)
        per_epoch = math.ceil(images / recipe.batch_size)
        per_step = measured.step + measured.image * dataset.files(validation).records / per_epoch
        steps = max(min(steps, int(60 * settings.minutes / per_step)), 1)
    epochs_in_all = steps * recipe.batch_size / images
    return replace(
        recipe,
        steps=steps,
        warmup_steps=min(_WARMUP_STEPS, steps // 10),
        # An average over about a twentieth of the run: it is long enough to be smooth, and forgets the start.
        ema=round(1 - 1 / max(steps / 20, 2), 5),
        patience=max(_PATIENCE_EPOCHS, math.ceil(_PATIENCE_SHARE * epochs_in_all)),
    ), measured


def _is_run(start: str) -> bool:
    """Whether a start is the folder of a run, rather than VGG16's weights; InputError if it is neither."""
    if start in VGG16_WEIGHTS:
        return False
    path = Path(start)
    if not path.is_dir() and not (path.is_file() and h5py.is_hdf5(path)):
        raise InputError(f"{start} is neither the folder of a run nor a file of VGG16's weights (HDF5)")
    return path.is_dir()


def choose_splits(dataset: EncodedDataset, settings: FinetuneSettings) -> tuple[str, str]:
    """The splits to train and to validate on: where the dataset has no validation split, a fifth is held out."""
    if settings.validation_split is not None:
        return settings.split, settings.validation_split
    found = [name for name in _VALIDATION_SPLITS if dataset.splits.get(name) and name != settings.split]
    if found:
        return settings.split, found[0]
    if "[" in settings.split or dataset.splits.get(settings.split, 5) < 5:
        raise InputError(f"no part of {settings.split} can be held out for validation; name a validation split")
    return settings.split + _KEPT, settings.split + _HELD_OUT


def steps_for(images: int, batch_size: int) -> int:
    """Steps for so many images, where time is no limit: forty epochs, and no fewer than a thousand steps."""
    return max(math.ceil(_EPOCHS * images / batch_size), _FEWEST_STEPS)


def _measure(recipe: TrainSettings, dataset: EncodedDataset) -> Seconds:
    """Times the recipe's network on noise, the loss of which costs the same."""
    identity, spec = dataset.identity, spec_named(dataset.identity.preset)
    model = make_model(RunConfig(recipe, identity.classes, identity.fingerprint, versions(), spec), dataset)
    size = recipe.batch_size
    pixels = tf.cast(tf.random.stateless_uniform([size, IMAGE_SIZE, IMAGE_SIZE, 3], (0, 0), 0, 256, tf.int32), tf.uint8)
    targets = {"labels": tf.one_hot(tf.zeros([size], tf.int32), spec.boxes, dtype=tf.int32)}
    targets["offsets"] = tf.zeros([size, spec.boxes, 4])
    step = tf.function(model.train_step)
    validate = tf.function(model.test_step)
    taken = []
    for function, repeated in ((step, _TIMED_STEPS), (validate, 1)):
        function((pixels, targets))["loss"].numpy()  # its tracing
        begin = time.perf_counter()
        for _ in range(repeated):
            function((pixels, targets))["loss"].numpy()
        taken.append((time.perf_counter() - begin) / repeated)
    keras.backend.clear_session()
    return Seconds(taken[0], taken[1] / size)
