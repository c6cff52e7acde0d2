"""Training on several hosts: a loop in the place of `fit`, which fails there (Keras issue 20585)."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ssd300.datasets.errors import TrainingError
from ssd300.datasets.files import plain_message
from ssd300.training.stopping import Stop, TrainingStopped
from ssd300.training.trainable import TrainableSSD300, sum_over_replicas


def fit_on_workers(
    model: TrainableSSD300,
    batches: tf.data.Dataset,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    steps: int,
    stop: Stop,
) -> None:
    """Makes `steps` steps on all workers at once; every worker calls it.

    A signal to any worker, or ``model.stop_training`` of any, ends all of them after the same step.

    Args:
        model: made in the scope of a ``MultiWorkerMirroredStrategy``.
        batches: distributed by it.
        callbacks: of this worker; those that write belong to the chief alone.
        steps: number of steps.
        stop: of this worker.

    Raises:
        TrainingError: a worker no longer answers.
        TrainingStopped: a signal came, to this worker or another.
    """
    strategy = model.distribute_strategy

    @tf.function(autograph=False)
    def make_step(pixels: Any, targets: Any, ending: tf.Tensor) -> Any:
        def on_replica(pixels: tf.Tensor, targets: dict[str, tf.Tensor], ending: tf.Tensor) -> tf.Tensor:
            model.train_step((pixels, targets))
            return sum_over_replicas(ending)

        return strategy.run(on_replica, args=(pixels, targets, ending))

    listening = keras.callbacks.CallbackList(list(callbacks), model=model)
    model.stop_training = False
    listening.on_train_begin()
    try:
        iterator = iter(batches)
        for number in range(steps):
            # By signals and by early stopping: [2].
            ending = tf.constant([float(stop.number or 0), float(model.stop_training)])
            told = strategy.experimental_local_results(make_step(*next(iterator), ending))[0].numpy()
            if told[1]:
                break
            listening.on_train_batch_end(number)
            if told[0] and number < steps - 1:
                raise TrainingStopped(stop.number or int(told[0]))
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        raise TrainingError(f"{_lost_worker(str(error))} no longer answers: {plain_message(error)}") from None
    listening.on_train_end()


def _lost_worker(message: str) -> str:
    """The other worker that an error of a collective operation names, with its address."""
    cluster = json.loads(os.environ["TF_CONFIG"])
    own, addresses = int(cluster["task"]["index"]), cluster["cluster"]["worker"]
    others = {int(number) for number in re.findall(r"/job:worker/replica:\d+/task:(\d+)", message)} - {own}
    named = [f"worker {number} ({addresses[number]})" for number in sorted(others) if number < len(addresses)]
    return " or ".join(named) or "a worker"
