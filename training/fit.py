"""Training: from an encoded dataset and settings to a run directory."""

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.files import resolve_path, writable_folder
from ssd300.model.spec import Spec, spec_named
from ssd300.preprocessing.support.lease import lease
from ssd300.preprocessing.support.terminal import say
from ssd300.training.callbacks import Recorder, WarnRisingLoss, WarnWaiting, WarnWithoutMatches
from ssd300.training.checkpointing import SaveCheckpoints
from ssd300.training.distribution import is_chief, is_multi_worker, join_workers, refuse_workers
from ssd300.training.preparation import (
    chosen_precision,
    load_for_training,
    new_model,
    read_batches,
    read_start,
    refuse_negatives_alone,
    same_dataset,
    steps_in_epoch,
    versions,
)
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.reader import BatchShare, validation_batches
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.start import started_settings, started_spec
from ssd300.training.stopping import Stop, TrainingStopped, catching_signals
from ssd300.training.trainable import TrainableSSD300
from ssd300.training.validation import KeepBest, ValidateLoss, Validation, is_exhausted
from ssd300.training.workers import fit_on_workers

_CHANGEABLE = {"steps", "data_service", "dataset"}  # settings that a resumed run may change


def train(settings: TrainSettings, output: str | Path) -> RunDirectory:
    """Trains a new model into the run directory `output`; a run with the same settings there resumes instead.

    Raises:
        InputError: the dataset, its identity, the weights or the folder cannot be used, there is nothing to learn, or
            the folder holds another run.
        StorageError: the run cannot be written any more.
        TrainingError: a loss or a weight became NaN or infinite.
        TrainingStopped: SIGTERM or SIGINT came; the run has a checkpoint of its last step.
    """
    join_workers()
    run = RunDirectory(output)
    if run.config_path.exists():
        _check_same(run, settings)
        return resume(run.path)
    if is_chief():
        run.check_free()
    # The run must find its dataset again from any folder.
    dataset = EncodedDataset.open(resolve_path(settings.dataset))
    identity = dataset.identity
    settings = replace(
        settings,
        dataset=dataset.folder,
        preset=settings.preset or identity.preset,
        precision=chosen_precision(settings.precision),
        schedule_steps=settings.schedule_steps or settings.steps,
    )
    refuse_negatives_alone(dataset, settings)
    start = read_start(settings)
    spec = spec_named(settings.preset or identity.preset)
    if start is not None:
        settings, spec = started_settings(settings, start.config), started_spec(spec, start.config.spec)
    config = RunConfig(settings, identity.classes, identity.fingerprint, versions(), spec)
    model = new_model(config, dataset, start)  # before the folder exists: what cannot be built leaves nothing behind
    _fit(model, config, run, dataset, first_step=0)
    return run


def _check_same(run: RunDirectory, settings: TrainSettings) -> None:
    """Checks that a run has these settings; what they left open may have become anything."""
    config = run.read_config()
    stored = _with_schedule(config.settings)
    asked = replace(
        settings,
        dataset=resolve_path(settings.dataset),
        preset=settings.preset or stored.preset,
        precision=stored.precision if settings.precision == "auto" else settings.precision,
        schedule_steps=settings.schedule_steps or stored.schedule_steps,
    )
    names = [one.name for one in fields(TrainSettings)]
    differing = [name for name in names if getattr(asked, name) != getattr(stored, name)]
    if settings.init_from is not None:  # the start decides these
        differing = [name for name in differing if name not in ("width", "norm")]
    if differing or config.imported is not None:
        which = f" with other settings ({', '.join(differing)})" if differing else " of imported weights"
        raise InputError(f"{run.path} already holds a run{which}; resume it, or choose another folder")


def _with_schedule(settings: TrainSettings) -> TrainSettings:
    """The settings of a stored run; those of earlier versions had a schedule as long as the run."""
    return replace(settings, schedule_steps=settings.schedule_steps or settings.steps)


def resume(output: str | Path, *, extend_schedule: bool = False, **changes: Any) -> RunDirectory:
    """Resumes a run from its newest checkpoint; a run without one starts from the beginning.

    Args:
        output: its folder.
        extend_schedule: whether the learning rate's schedule is stretched to the new number of steps; otherwise it
            stays as long as it was, and the rate after it is its last.
        **changes: settings to change: the total number of `steps`, the `data_service`, and the `dataset`'s folder if it
            was moved.

    Raises:
        InputError: another setting would change, the dataset is not the one that the run began with, or another
            process trains the run.
        StorageError: the run cannot be written any more.
        TrainingError: a loss or a weight became NaN or infinite.
        TrainingStopped: SIGTERM or SIGINT came; the run has a checkpoint of its last step.
    """
    join_workers()
    run = RunDirectory(output)
    config = run.read_config()
    if config.imported is not None:
        raise InputError(
            f"{run.path} holds imported weights, which have no training to resume; start a new run from it"
        )
    stored = _with_schedule(config.settings)
    if "dataset" in changes:
        changes["dataset"] = resolve_path(changes["dataset"])
    refused = {name for name in changes if getattr(stored, name) != changes[name]} - _CHANGEABLE
    if refused:
        raise InputError(
            "a resumed run keeps its settings; only data_service, steps and a moved dataset's folder may change, "
            f"got {', '.join(sorted(refused))}"
        )
    config = replace(config, settings=_scheduled(replace(stored, **changes), extend_schedule))
    dataset = same_dataset(config)
    model, first_step = load_for_training(config, run, dataset)
    is_stopped = is_exhausted(run.read_best(), config.settings, first_step, steps_in_epoch(dataset, config.settings))
    if first_step < config.settings.steps and not is_stopped:
        _fit(model, config, run, dataset, first_step=first_step, is_new=False)
    elif changes.get("data_service") is not None:
        raise InputError(f"the run has all its {config.settings.steps} steps, so a data service has nothing to do")
    return run


def _scheduled(settings: TrainSettings, extend: bool) -> TrainSettings:
    """The settings with the schedule's length, which changes only on demand; what that means is said."""
    length, steps = settings.schedule_steps or settings.steps, settings.steps
    if settings.schedule == "constant" or steps == length or (steps < length and not extend):
        return settings
    if extend:
        say(f"the schedule of {length:,} steps is stretched to {steps:,}", file=sys.stderr)
        return replace(settings, schedule_steps=steps)
    if settings.schedule == "cosine":
        raise InputError(
            f"the schedule cosine has ended at a learning rate of zero after its {length:,} steps, so {steps:,} steps "
            "would learn no more; extend the schedule, or start a new run from this one"
        )
    say(
        f"the schedule has ended after its {length:,} steps: the learning rate stays at its last value, unless the "
        "schedule is extended",
        file=sys.stderr,
    )
    return settings


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
    steps_per_epoch = steps_in_epoch(dataset, settings)
    splits = [settings.split, *([] if settings.validation_split is None else [settings.validation_split])]
    for split in splits:
        dataset.files(split)  # an unknown one is refused before the folder exists
    if settings.validation_split is not None and not settings.keep_best:
        refuse_workers("a validation split without keep_best")
    if settings.data_service is not None:
        refuse_workers("a data service")
    if settings.steps_per_execution > 1:
        refuse_workers("steps_per_execution")
    with ExitStack() as stack:
        stack.enter_context(_naming_files(run))
        if is_chief():
            writable_folder(str(run.path))
            stack.enter_context(lease(str(run.path), what="train"))
            if is_new:
                run.create(config)
            else:
                run.write_config(config)  # the number of steps may have changed
        stop = stack.enter_context(catching_signals())
        stack.enter_context(naming_broken_records(dataset, *splits, copies=settings.copies))
        if not is_chief():
            _fit_worker(model, settings, dataset, first_step, [], stop)
            return
        progress: dict[str, Any] = {"first_step": first_step, "steps_per_epoch": steps_per_epoch}
        is_timed = model.distribute_strategy.num_replicas_in_sync == 1
        recorder = Recorder(
            run,
            settings,
            **progress,
            listeners=[WarnRisingLoss(), WarnWithoutMatches(), WarnWaiting()],
            waiting_is_known=is_timed,
        )
        stack.enter_context(closing(recorder))
        # Several workers end together, so it is not for these to end the chief.
        progress["stop"] = Stop() if is_multi_worker() else stop
        checkpoints = SaveCheckpoints(run, settings, **progress)
        callbacks = [
            recorder,  # first: a loss of NaN ends the run before a checkpoint is written
            *_validation(run, dataset, settings, recorder, spec=model.spec, **progress),
            checkpoints,
        ]
        try:
            if is_multi_worker():
                _fit_worker(model, settings, dataset, first_step, callbacks, stop)
            else:
                model.fit(
                    read_batches(dataset, settings, model.spec, first_step, time_waiting=is_timed),
                    steps_per_epoch=settings.steps - first_step,
                    callbacks=callbacks,
                    verbose=0,
                    shuffle=False,  # the reader has done it
                )
        except TrainingStopped as stopped:
            checkpoints.save(recorder.step)  # which counts first: a validation may have been cut short
            raise TrainingStopped(stopped.number, recorder.step) from None


def _fit_worker(
    model: TrainableSSD300,
    settings: TrainSettings,
    dataset: EncodedDataset,
    first_step: int,
    callbacks: list[keras.callbacks.Callback],
    stop: Stop,
) -> None:
    """This worker's part of a training on several."""

    def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        share = BatchShare(context.input_pipeline_id, workers, context.num_replicas_in_sync // workers)
        return read_batches(dataset, settings, model.spec, first_step, share=share)

    batches = model.distribute_strategy.distribute_datasets_from_function(read)
    fit_on_workers(model, batches, callbacks, steps=settings.steps - first_step, stop=stop)


def _validation(
    run: RunDirectory,
    dataset: EncodedDataset,
    settings: TrainSettings,
    recorder: Recorder,
    *,
    spec: Spec,
    **options: Any,
) -> list[Validation]:
    """What validates a run, if anything does."""
    if settings.validation_split is None:
        return []
    if settings.keep_best:
        return [KeepBest(run, dataset, settings, recorder, **options)]
    if is_multi_worker():
        raise InputError(
            "several workers validate by keep_best alone, which the chief does; the loss needs all of them"
        )
    batches = validation_batches(dataset, settings.validation_split, spec=spec, batch_size=settings.batch_size)
    steps = math.ceil(dataset.files(settings.validation_split).records / settings.batch_size)
    return [ValidateLoss(batches, steps, settings, recorder, **options)]


@contextmanager
def _naming_files(run: RunDirectory) -> Iterator[None]:
    """Gives an error of the disk, which may name no file, the name of the run."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(str(error.filename or run.path), error.strerror or str(error), "written") from None
