"""A training step, compared with the same network's forward and backward pass with a plain softmax loss.

    python tests/benchmarks/training_step.py [--quick] [--width .125 --norm batch]

The baseline is what any detector of this network must pay; the difference is matching targets to the mined loss, the L2
term, the faster biases and the reports.
"""

import keras
import numpy as np
import tensorflow as tf
from _measuring import Size, in_turns, rate, read_arguments, report, wanted

from ssd300.model.ssd300 import SSD300
from ssd300.training.trainable import TrainableSSD300


def main() -> None:
    """Measures images per second."""
    arguments = read_arguments(
        __doc__,
        width=Size(1.0, 0.125, "of the network"),
        norm=Size("none", "none", "of the network: none or batch"),
        batch=Size(8, 2, "images per step"),
        seconds=Size(20.0, 0.1, "of each measurement"),
        rounds=Size(3, 1, "number of measurements, of which the median counts"),
    )
    size = arguments.batch
    random = np.random.default_rng(0)
    pixels = tf.constant(random.integers(0, 256, (size, 300, 300, 3)), tf.uint8)
    labels = tf.constant(
        np.where(random.random((size, 8732)) < 0.003, random.integers(1, 21, (size, 8732)), 0), tf.int32
    )
    offsets = tf.constant(random.normal(size=(size, 8732, 4)), tf.float32)

    network = SSD300(width=arguments.width, norm=arguments.norm)
    optimizer = keras.optimizers.SGD(1e-6, momentum=0.9)
    optimizer.build(network.trainable_variables)

    @tf.function
    def baseline() -> None:
        with tf.GradientTape() as tape:
            outputs = network(pixels, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs["logits"]))
            loss += tf.reduce_mean(tf.square(outputs["offsets"] - offsets))
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    model = TrainableSSD300(width=arguments.width, norm=arguments.norm)
    model.compile(keras.optimizers.SGD(1e-6, momentum=0.9), jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # or the step would be traced twice
    step = tf.function(lambda: model.train_step((pixels, {"labels": labels, "offsets": offsets})))
    works = {"forward, backward, SGD with a plain loss": baseline, "ssd300 training step": step}
    contenders = {
        name: lambda w=work: rate(lambda: (w(), size)[1], seconds=arguments.seconds) for name, work in works.items()
    }
    rates = in_turns(wanted(contenders, arguments.only), rounds=arguments.rounds)
    report(f"training step, width {arguments.width:g}, batch {size}", "images per second", rates)


if __name__ == "__main__":
    main()
