"""Replaying part of a run: whether it would come out again, bit for bit."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.training.callbacks import StepCallback
from ssd300.training.distribution import refuse_workers
from ssd300.training.optimizer import averaged_weights
from ssd300.training.preparation import load_for_training, read_batches, same_dataset
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.trainable import TrainableSSD300


@dataclass(frozen=True)
class Replayed:
    """What came of it: the steps that were made again, and the digests of weights and optimizer after the last."""

    first_step: int
    last_step: int
    expected: str  # of the run's checkpoint, or of a first replay if it has none there
    found: str
    against_checkpoint: bool

    @property
    def is_same(self) -> bool:
        """Whether the digests are the same."""
        return self.expected == self.found


def replay(run: RunDirectory, *, first_step: int | None = None, steps: int | None = None) -> Replayed:
    """Trains from one of a run's checkpoints on, as the run did, and compares the outcome with the run's own.

    Nothing of the run is changed. On a CPU the outcome should be the same to the last bit; GPUs add up in an order of
    their own.

    Args:
        run: a run that was trained.
        first_step: step of the checkpoint to start from; by default the last one that is followed by another.
        steps: number of steps to make; by default up to the next checkpoint. If there is no checkpoint at their end,
            they are made twice and compared with each other.

    Raises:
        InputError: the run has no such checkpoint, or no dataset.
    """
    refuse_workers("a replay")
    config = run.read_config()
    dataset = same_dataset(config)
    saved = [step for step, _ in run.checkpoints()]
    if not saved:
        run.newest_checkpoint()  # says so
    if first_step is None:
        first_step = saved[-2] if steps is None and len(saved) > 1 else saved[-1]
    later = [step for step in saved if step > first_step]
    if steps is None:
        if not later:
            raise InputError(
                f"{run.path} has no checkpoint after step {first_step:,} to compare with; name a number of steps, "
                "which are then made twice"
            )
        steps = later[0] - first_step
    last_step = first_step + steps
    if last_step in saved:
        expected = _digest_of_checkpoint(config, run, dataset, last_step)
    else:
        expected = _digest_of_replay(config, run, dataset, first_step, steps)
    found = _digest_of_replay(config, run, dataset, first_step, steps)
    return Replayed(first_step, last_step, expected, found, last_step in saved)


def _digest_of_checkpoint(config: RunConfig, run: RunDirectory, dataset: EncodedDataset, step: int) -> str:
    model, _ = load_for_training(config, run, dataset, step)
    return digest(model)


def _digest_of_replay(
    config: RunConfig, run: RunDirectory, dataset: EncodedDataset, first_step: int, steps: int
) -> str:
    model, _ = load_for_training(config, run, dataset, first_step)
    taken = _TakeDigest(first_step, first_step + steps)
    model.fit(
        read_batches(dataset, config.settings, model.spec, first_step),
        steps_per_epoch=steps,
        callbacks=[taken],
        verbose=0,
        shuffle=False,
    )
    return taken.digest


class _TakeDigest(StepCallback):
    """Takes the digest at the last step: after it Keras puts the averages in place of the weights."""

    def __init__(self, first_step: int, last_step: int) -> None:
        super().__init__(first_step)
        self._last_step, self.digest = last_step, ""

    def on_step(self, previous: int) -> None:
        if self.step >= self._last_step:
            self.digest = digest(self.model)


def digest(model: TrainableSSD300) -> str:
    """SHA-256 of a network's weights, as its checkpoints hold them, and of its optimizer's variables."""
    hashed = hashlib.sha256()
    with averaged_weights(model):
        for variable in (*model.variables, *model.optimizer.variables):
            hashed.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return hashed.hexdigest()
