"""What a run trains: its data and its network, new or as a checkpoint left it."""

import importlib.metadata
import math
import sys
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.encoded_dataset import EncodedDataset, IncompleteDatasetError, whole_split
from ssd300.datasets.errors import InputError
from ssd300.model.default_boxes import encoding_fields
from ssd300.model.losses import MultiBoxLoss
from ssd300.model.spec import Spec
from ssd300.preprocessing.support.terminal import say
from ssd300.training.distribution import make_strategy, refuse_workers
from ssd300.training.optimizer import make_optimizer, swap_averages
from ssd300.training.precision import fastest_precision
from ssd300.training.reading.reader import training_batches
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import Precision, TrainSettings
from ssd300.training.start import Start, load_start, load_vgg16, rescale_new_layers
from ssd300.training.trainable import TrainableSSD300


def steps_in_epoch(dataset: EncodedDataset, settings: TrainSettings) -> int:
    """Steps of an epoch of a run's training split, at least 1."""
    return max(1, math.ceil(dataset.files(settings.split).records / settings.images_per_step))


def read_batches(
    dataset: EncodedDataset, settings: TrainSettings, spec: Spec, first_step: int = 0, **options: Any
) -> tf.data.Dataset:
    """A run's batches from a step on; further options are those of `training_batches`."""
    return training_batches(
        dataset,
        settings.split,
        spec=spec,
        batch_size=settings.images_per_step,
        augmentation=settings.augmentation,
        copies=settings.copies,
        seed=settings.seed,
        first_step=first_step,
        data_service=settings.data_service,
        **options,
    )


def same_dataset(config: RunConfig) -> EncodedDataset:
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


def refuse_negatives_alone(dataset: EncodedDataset, settings: TrainSettings) -> None:
    """Raises InputError if a split has no object and images without objects teach nothing."""
    objects = dataset.report["splits"].get(whole_split(settings.split), {}).get("objects")
    if objects is not None and not sum(objects.values()) and not settings.negatives_per_empty_image:
        raise InputError(
            f"split {settings.split} of {dataset.folder} has no object, so there is nothing to learn; images without "
            "objects teach only where negatives_per_empty_image is more than 0"
        )


def chosen_precision(precision: Precision) -> Precision:
    """The dtype policy of a setting; what ``auto`` became is said."""
    if precision != "auto":
        return precision
    refuse_workers("the precision auto, which is measured,")
    chosen = fastest_precision()
    say(f"precision: {chosen}, the fastest on this machine", file=sys.stderr)
    return chosen


def versions() -> dict[str, str]:
    """The versions of the packages that decide what a run computes."""
    return {
        "ssd300": importlib.metadata.version("ssd300"),
        "tensorflow": tf.__version__,  # several distributions bring it
        "keras": keras.__version__,
    }


def read_start(settings: TrainSettings) -> Start | None:
    """The run that a run starts from, if it does."""
    return None if settings.init_from is None else Start.read(settings.init_from)


def make_model(config: RunConfig, dataset: EncodedDataset) -> TrainableSSD300:
    """The network of a run, ready to train, with new weights; InputError if the dataset is for another one."""
    settings = config.settings
    keras.mixed_precision.set_dtype_policy(settings.precision)
    with make_strategy(settings.devices, settings.batch_size).scope():
        return _make_model(config, dataset)


def _make_model(config: RunConfig, dataset: EncodedDataset) -> TrainableSSD300:
    settings = config.settings
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
        clip_norm=settings.clip_norm,
        accumulate=settings.accumulate,
        report_steps=False,
        steps_per_execution=settings.steps_per_execution,
        jit_compile=settings.jit_compile,
    )
    model.optimizer.build(model.trainable_variables)  # now, or the step would be traced twice
    return model


def new_model(config: RunConfig, dataset: EncodedDataset, start: Start | None) -> TrainableSSD300:
    """The network at step 0, with the weights that it starts from."""
    keras.utils.set_random_seed(config.settings.seed)
    model = make_model(config, dataset)
    with model.distribute_strategy.scope():
        if start is None:
            load_vgg16(model, config.settings.weights)
        else:
            say(load_start(model, config.classes, start), file=sys.stderr)
        if config.settings.rescale:
            rescale_new_layers(model, next(iter(read_batches(dataset, config.settings, model.spec)))[0])
    return model


def load_for_training(
    config: RunConfig, run: RunDirectory, dataset: EncodedDataset, step: int | None = None
) -> tuple[TrainableSSD300, int]:
    """The network of a run with its optimizer, as they were at a checkpoint, and the step.

    Args:
        config: of the run.
        run: its folder.
        dataset: that it is trained on.
        step: of the checkpoint; by default the newest that can be loaded, or the start if there is none.
    """
    if not run.checkpoints():
        return new_model(config, dataset, read_start(config.settings)), 0
    keras.utils.set_random_seed(config.settings.seed)
    model = make_model(config, dataset)
    with model.distribute_strategy.scope():
        step = run.load_newest(model) if step is None else run.load_step(model, step)
        swap_averages(model)  # a checkpoint's weights are the averaged ones
    return model, step
