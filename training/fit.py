"""Training: from an encoded dataset and settings to a run directory."""

import importlib.metadata
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.model import vgg16
from ssd300.model.default_boxes import encoding_fields
from ssd300.model.spec import spec_named
from ssd300.training.callbacks import Recorder, SaveCheckpoints, StopAtStep, StopOnNaN
from ssd300.training.optimizer import make_optimizer
from ssd300.training.reading.reader import training_batches, validation_batches
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.trainable import TrainableSSD300

_CHANGEABLE = {"steps", "data_service"}  # settings that a resumed run may change


def train(settings: TrainSettings, output: str | Path) -> RunDirectory:
    """Trains a new model into the new run directory `output`.

    Raises:
        InputError: the dataset, its identity, the weights or the folder cannot be used.
        TrainingError: a loss became NaN or infinite.
    """
    run = RunDirectory(output)
    run.check_free()
    dataset = EncodedDataset.open(settings.dataset)
    identity = dataset.identity
    # The run must find its dataset again from any folder.
    folder = settings.dataset if "://" in settings.dataset else str(Path(settings.dataset).resolve())
    settings = replace(settings, dataset=folder, preset=settings.preset or identity.preset)
    config = RunConfig(settings, identity.classes, identity.fingerprint, _versions())
    keras.utils.set_random_seed(settings.seed)
    model = _make_model(config, dataset)  # before the folder exists: what cannot be built leaves nothing behind
    _load_vgg16(model, settings)
    _fit(model, config, run, dataset, first_step=0)
    return run


def resume(output: str | Path, **changes: Any) -> RunDirectory:
    """Resumes a run from its newest checkpoint; a run without one starts from the beginning.

    Args:
        output: its folder.
        **changes: settings to change: the total number of `steps`, the `data_service`.

    Raises:
        InputError: another setting would change, or the dataset is not the one that the run began with.
        TrainingError: a loss became NaN or infinite.
    """
    run = RunDirectory(output)
    config = run.read_config()
    stored = config.settings
    config = replace(config, settings=replace(stored, **changes))
    refused = {name for name in changes if getattr(stored, name) != getattr(config.settings, name)} - _CHANGEABLE
    if refused:
        raise InputError(
            f"a resumed run keeps its settings; only {' and '.join(sorted(_CHANGEABLE))} may change, "
            f"got {', '.join(sorted(refused))}"
        )
    dataset = EncodedDataset.open(config.settings.dataset)
    current = dataset.identity.fingerprint
    if current != config.fingerprint:
        raise InputError(
            f"the run was made with the dataset {config.fingerprint}, but {config.settings.dataset} is now {current}"
        )
    keras.utils.set_random_seed(config.settings.seed)
    model = _make_model(config, dataset)
    first_step = 0
    if run.checkpoints():
        first_step, path = run.newest_checkpoint()
        model.load_weights(path)
    else:
        _load_vgg16(model, config.settings)
    if first_step < config.settings.steps:
        _fit(model, config, run, dataset, first_step=first_step, is_new=False)
    return run


def _make_model(config: RunConfig, dataset: EncodedDataset) -> TrainableSSD300:
    settings = config.settings
    keras.mixed_precision.set_dtype_policy(settings.precision)
    model = TrainableSSD300(**config.model_arguments())
    dataset.identity.check(encoding_fields(model.spec), num_classes=model.num_classes)
    model.compile(make_optimizer(settings), weight_decay=settings.weight_decay, jit_compile=settings.jit_compile)
    model.optimizer.build(model.trainable_variables)  # now, or the step would be traced twice
    return model


def _load_vgg16(model: TrainableSSD300, settings: TrainSettings) -> None:
    if settings.weights == "none":
        return
    try:
        vgg16.load_weights(model, settings.weights)
    except ValueError as error:
        raise InputError(str(error)) from None


def _fit(
    model: TrainableSSD300,
    config: RunConfig,
    run: RunDirectory,
    dataset: EncodedDataset,
    *,
    first_step: int,
    is_new: bool = True,
) -> None:
    settings = config.settings
    spec = spec_named(model.preset)
    batches = training_batches(
        dataset,
        settings.split,
        spec=spec,
        batch_size=settings.batch_size,
        augmentation=settings.augmentation,
        copies=settings.copies,
        seed=settings.seed,
        first_step=first_step,
        data_service=settings.data_service,
    )
    sizes = dataset.splits
    validation = validation_steps = None
    if settings.validation_split is not None:
        validation = validation_batches(dataset, settings.validation_split, spec=spec, batch_size=settings.batch_size)
        validation_steps = math.ceil(sizes[settings.validation_split] / settings.batch_size)
    steps_per_epoch = max(1, math.ceil(sizes[settings.split] / settings.batch_size))
    if is_new:
        run.create(config)
    else:
        run.write_config(config)  # the number of steps may have changed
    recorder = Recorder(run, settings, first_step=first_step, steps_per_epoch=steps_per_epoch)
    with closing(recorder):
        model.fit(
            batches,
            steps_per_epoch=steps_per_epoch,
            initial_epoch=first_step // steps_per_epoch,
            epochs=math.ceil(settings.steps / steps_per_epoch) + 1,  # StopAtStep ends it
            validation_data=validation,
            validation_steps=validation_steps,
            callbacks=[
                StopOnNaN(),  # first: neither a row nor a checkpoint holds a NaN
                recorder,
                SaveCheckpoints(run, settings),
                StopAtStep(settings.steps),
            ],
            verbose=0,
            shuffle=False,  # the reader has done it
        )


def _versions() -> dict[str, str]:
    return {
        "ssd300": importlib.metadata.version("ssd300"),
        "tensorflow": tf.__version__,  # several distributions bring it
        "keras": keras.__version__,
    }
