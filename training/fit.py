"""Training: from an encoded dataset and settings to a run directory."""

import importlib.metadata
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset, IncompleteDatasetError, whole_split
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import resolve_path, writable_folder
from ssd300.model.default_boxes import encoding_fields
from ssd300.model.losses import MultiBoxLoss
from ssd300.model.spec import Spec, spec_named
from ssd300.preprocessing.support.lease import lease
from ssd300.preprocessing.support.terminal import say
from ssd300.training.callbacks import (
    Recorder,
    SaveCheckpoints,
    StopAtStep,
    StopOnNaN,
    WarnRisingLoss,
    WarnWithoutMatches,
)
from ssd300.training.optimizer import make_optimizer, swap_averages
from ssd300.training.precision import fastest_precision
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.reader import training_batches, validation_batches
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import Precision, TrainSettings
from ssd300.training.start import Start, load_start, load_vgg16, rescale_new_layers, started_settings, started_spec
from ssd300.training.trainable import TrainableSSD300
from ssd300.training.validation import KeepBest, is_exhausted

_CHANGEABLE = {"steps", "data_service", "dataset"}  # settings that a resumed run may change


def train(settings: TrainSettings, output: str | Path) -> RunDirectory:
    """Trains a new model into the new run directory `output`.

    Raises:
        InputError: the dataset, its identity, the weights or the folder cannot be used, or there is nothing to learn.
        StorageError: the run cannot be written any more.
        TrainingError: a loss became NaN or infinite.
    """
    run = RunDirectory(output)
    run.check_free()
    # The run must find its dataset again from any folder.
    dataset = EncodedDataset.open(resolve_path(settings.dataset))
    identity = dataset.identity
    settings = replace(
        settings,
        dataset=dataset.folder,
        preset=settings.preset or identity.preset,
        precision=chosen_precision(settings.precision),
    )
    _refuse_negatives_alone(dataset, settings)
    start = _read_start(settings)
    spec = spec_named(settings.preset or identity.preset)
    if start is not None:
        settings, spec = started_settings(settings, start.config), started_spec(spec, start.config.spec)
    config = RunConfig(settings, identity.classes, identity.fingerprint, versions(), spec)
    model = _new_model(config, dataset, start)  # before the folder exists: what cannot be built leaves nothing behind
    _fit(model, config, run, dataset, first_step=0)
    return run


def resume(output: str | Path, **changes: Any) -> RunDirectory:
    """Resumes a run from its newest checkpoint; a run without one starts from the beginning.

    Args:
        output: its folder.
        **changes: settings to change: the total number of `steps`, the `data_service`, and the `dataset`'s folder if it
            was moved.

    Raises:
        InputError: another setting would change, the dataset is not the one that the run began with, or another
            process trains the run.
        StorageError: the run cannot be written any more.
        TrainingError: a loss became NaN or infinite.
    """
    run = RunDirectory(output)
    config = run.read_config()
    if config.imported is not None:
        raise InputError(
            f"{run.path} holds imported weights, which have no training to resume; start a new run from it"
        )
    stored = config.settings
    if "dataset" in changes:
        changes["dataset"] = resolve_path(changes["dataset"])
    config = replace(config, settings=replace(stored, **changes))
    refused = {name for name in changes if getattr(stored, name) != getattr(config.settings, name)} - _CHANGEABLE
    if refused:
        raise InputError(
            "a resumed run keeps its settings; only data_service, steps and a moved dataset's folder may change, "
            f"got {', '.join(sorted(refused))}"
        )
    dataset = _same_dataset(config)
    first_step = 0
    if run.checkpoints():
        keras.utils.set_random_seed(config.settings.seed)
        model = make_model(config, dataset)
        first_step = run.load_newest(model)
        swap_averages(model)  # a checkpoint's weights are the averaged ones
    else:
        model = _new_model(config, dataset, _read_start(config.settings))
    is_stopped = is_exhausted(run.read_best(), config.settings, first_step, _steps_per_epoch(dataset, config.settings))
    if first_step < config.settings.steps and not is_stopped:
        _fit(model, config, run, dataset, first_step=first_step, is_new=False)
    elif changes.get("data_service") is not None:
        raise InputError(f"the run has all its {config.settings.steps} steps, so a data service has nothing to do")
    return run


def _same_dataset(config: RunConfig) -> EncodedDataset:
    """The dataset of a run that is resumed; InputError if it is not there, or another one."""
    folder = config.settings.dataset
    try:
        dataset = EncodedDataset.open(folder)
    except IncompleteDatasetError as error:
        raise InputError(f"{error}; if the run's dataset was moved, give its new folder") from None
    current = dataset.identity.fingerprint
    if current != config.fingerprint:
        raise InputError(f"{folder} is another dataset than the run's: {current}, expected {config.fingerprint}")
    return dataset


def _refuse_negatives_alone(dataset: EncodedDataset, settings: TrainSettings) -> None:
    objects = dataset.report["splits"].get(whole_split(settings.split), {}).get("objects")
    if objects is not None and not sum(objects.values()) and not settings.negatives_per_empty_image:
        raise InputError(
            f"split {settings.split} of {dataset.folder} has no object, so there is nothing to learn; images without "
            "objects teach only where negatives_per_empty_image is more than 0"
        )


def make_model(config: RunConfig, dataset: EncodedDataset) -> TrainableSSD300:
    """The network of a run, ready to train, with new weights; InputError if the dataset is for another one."""
    settings = config.settings
    keras.mixed_precision.set_dtype_policy(settings.precision)
    model = TrainableSSD300(**config.model_arguments())
    dataset.identity.check(encoding_fields(model.spec), num_classes=model.num_classes)
    model.freeze(settings.freeze)
    model.compile(
        make_optimizer(settings),
        weight_decay=settings.weight_decay,
        multibox_loss=MultiBoxLoss(
            negatives_per_empty_image=settings.negatives_per_empty_image,
            label_smoothing=settings.label_smoothing,
            localization=settings.localization_loss,
            spec=model.spec,
        ),
        jit_compile=settings.jit_compile,
    )
    model.optimizer.build(model.trainable_variables)  # now, or the step would be traced twice
    return model


def _read_start(settings: TrainSettings) -> Start | None:
    return None if settings.init_from is None else Start.read(settings.init_from)


def _new_model(config: RunConfig, dataset: EncodedDataset, start: Start | None) -> TrainableSSD300:
    """The network at step 0, with the weights that it starts from."""
    keras.utils.set_random_seed(config.settings.seed)
    model = make_model(config, dataset)
    if start is None:
        load_vgg16(model, config.settings.weights)
    else:
        say(load_start(model, config.classes, start), file=sys.stderr)
    if config.settings.rescale:
        rescale_new_layers(model, next(iter(_batches(dataset, config.settings, model.spec)))[0])
    return model


def _steps_per_epoch(dataset: EncodedDataset, settings: TrainSettings) -> int:
    return max(1, math.ceil(dataset.files(settings.split).records / settings.batch_size))


def chosen_precision(precision: Precision) -> Precision:
    """The dtype policy of a setting; what ``auto`` became is said."""
    if precision != "auto":
        return precision
    chosen = fastest_precision()
    say(f"precision: {chosen}, the fastest on this machine", file=sys.stderr)
    return chosen


def _batches(dataset: EncodedDataset, settings: TrainSettings, spec: Spec, first_step: int = 0) -> tf.data.Dataset:
    return training_batches(
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
    spec = model.spec
    batches = _batches(dataset, settings, spec, first_step)
    splits = [settings.split]
    validation = validation_steps = None
    if settings.validation_split is not None:
        splits.append(settings.validation_split)
        records = dataset.files(
            settings.validation_split
        ).records  # an unknown split is refused before the folder exists
        if not settings.keep_best:
            validation = validation_batches(
                dataset, settings.validation_split, spec=spec, batch_size=settings.batch_size
            )
            validation_steps = math.ceil(records / settings.batch_size)
    steps_per_epoch = _steps_per_epoch(dataset, settings)
    with ExitStack() as stack:
        stack.enter_context(_naming_files(run))
        writable_folder(str(run.path))
        stack.enter_context(lease(str(run.path), what="train"))
        if is_new:
            run.create(config)
        else:
            run.write_config(config)  # the number of steps may have changed
        rising = WarnRisingLoss()
        recorder = Recorder(
            run,
            settings,
            first_step=first_step,
            steps_per_epoch=steps_per_epoch,
            on_means_reset=rising.on_means_reset,
        )
        stack.enter_context(closing(recorder))
        stack.enter_context(naming_broken_records(dataset, *splits, copies=settings.copies))
        model.fit(
            batches,
            steps_per_epoch=steps_per_epoch,
            initial_epoch=first_step // steps_per_epoch,
            epochs=math.ceil(settings.steps / steps_per_epoch) + 1,  # StopAtStep ends it
            validation_data=validation,
            validation_steps=validation_steps,
            callbacks=[
                StopOnNaN(),  # first: neither a row nor a checkpoint holds a NaN
                rising,
                *(
                    [KeepBest(run, dataset, settings, recorder, steps_per_epoch=steps_per_epoch)]
                    if settings.keep_best
                    else []
                ),
                recorder,
                WarnWithoutMatches(),
                SaveCheckpoints(run, settings, first_step=first_step),
                StopAtStep(settings.steps),
            ],
            verbose=0,
            shuffle=False,  # the reader has done it
        )


@contextmanager
def _naming_files(run: RunDirectory) -> Iterator[None]:
    """Gives an error of the disk, which may name no file, the name of the run."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(str(error.filename or run.path), error.strerror or str(error), "written") from None


def versions() -> dict[str, str]:
    """The versions of the packages that decide what a run computes."""
    return {
        "ssd300": importlib.metadata.version("ssd300"),
        "tensorflow": tf.__version__,  # several distributions bring it
        "keras": keras.__version__,
    }
