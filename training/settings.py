"""The settings of a training run: the paper's solver by default."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import keras

from ssd300.preprocessing.augmentation.settings import PRESETS, Augmentation, augmentation_named

Optimizer = Literal["sgd", "adam"]
Schedule = Literal["step", "cosine", "constant"]
# Shares of the steps after which the schedule `step` divides by ten: 80,000 and 100,000 of 120,000.
_DROPS = (2 / 3, 5 / 6)
COPIES = "copies"
_CHOICES = {
    "norm": ("none", "batch"),
    "optimizer": ("sgd", "adam"),
    "schedule": ("step", "cosine", "constant"),
    "augmentation": (*PRESETS, COPIES),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
}


def named_augmentation(name: str, changes: Iterable[str] = ()) -> tuple[Augmentation, bool]:
    """The steps of a preset with `changes`, and whether they are for augmented copies.

    Raises:
        ValueError: there is no such preset or step, or copies would be expanded or cropped again.
    """
    copies = name == COPIES
    augmentation = augmentation_named("light" if copies else name).changed(changes)
    if copies and augmentation.has_geometry:
        raise ValueError(f"copies have been expanded and cropped already, got {', '.join(changes)}")
    return augmentation, copies


@keras.saving.register_keras_serializable("ssd300")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise over the first `steps` on top of another schedule (or a constant rate)."""

    def __init__(self, schedule: Any, steps: int) -> None:
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """The rate at a step, counted from 0."""
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        return rate * keras.ops.minimum((keras.ops.cast(step, "float32") + 1.0) / self.steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"schedule": self.schedule, "steps": self.steps}


@dataclass(frozen=True)
class TrainSettings:
    """How to train on an encoded dataset.

    Attributes:
        dataset: its folder.
        split: what to train on.
        validation_split: what to compute the loss of after each epoch, None for nothing.
        preset: None for the dataset's own.
        width: channels relative to the paper's.
        norm: ``none`` or ``batch``.
        weights: ``imagenet``, a Keras ``notop`` file of VGG16, or ``none``.
        steps: updates in all.
        batch_size: pictures an update.
        optimizer: ``sgd`` (momentum .9) or ``adam``.
        learning_rate: at the start.
        warmup_steps: the rate rises linearly from 0 over so many steps; for networks that begin from nothing.
        schedule: ``step`` (divided by ten at 2/3 and 5/6 of the steps), ``cosine`` (to zero) or ``constant``.
        weight_decay: coupled, of kernels alone.
        augmentation: ``paper``, ``light`` (mirror and photometric distortion), ``none``, or ``copies``: ``light`` on
            one of each picture's variants an epoch, itself and the dataset's augmented copies.
        augment: changes to it, as `Augmentation.changed` takes them: ``("expand=off", "hue=18")``.
        precision: Keras's dtype policy.
        seed: of weights, order and augmentation.
        checkpoint_steps: steps between two checkpoints, None for once an epoch.
        keep_checkpoints: newest checkpoints that stay.
        data_service: address of a `tf.data` service that reads and augments, such as ``grpc://host:5000``; None to do
            it in this process.
        jit_compile: whether XLA compiles the step; it helps on GPUs and slows CPUs down.
    """

    dataset: str
    split: str = "train"
    validation_split: str | None = None
    preset: str | None = None
    width: float = 1.0
    norm: str = "none"
    weights: str = "imagenet"
    steps: int = 120_000
    batch_size: int = 32
    optimizer: Optimizer = "sgd"
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: Schedule = "step"
    weight_decay: float = 5e-4
    augmentation: str = "paper"
    augment: tuple[str, ...] = ()
    precision: str = "float32"
    seed: int = 0
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 3
    data_service: str | None = None
    jit_compile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", tuple(self.augment))  # JSON has lists
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {self.warmup_steps}")
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise ValueError(f"checkpoint_steps must be at least 1, got {self.checkpoint_steps}")
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(
                "learning_rate must be positive and weight_decay not negative, "
                f"got {self.learning_rate} and {self.weight_decay}"
            )

        named_augmentation(self.augmentation, self.augment)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer with its schedule."""
        rate: Any = self.learning_rate
        if self.schedule == "step":
            boundaries = [round(share * self.steps) for share in _DROPS]
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [rate, rate / 10, rate / 100])
        elif self.schedule == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, self.steps)
        if self.warmup_steps:
            rate = WarmUp(rate, self.warmup_steps)
        return keras.optimizers.SGD(rate, momentum=0.9) if self.optimizer == "sgd" else keras.optimizers.Adam(rate)
