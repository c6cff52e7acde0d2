"""A training step beside the same network's forward and backward pass with a plain softmax loss.

    python tests/benchmarks/training_step.py [--width 1] [--norm none] [--batch-size 8]

The baseline is what any detector of this network must pay; the difference is matching targets to the mined loss, the L2
term, the faster biases and the reports.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf
from timing import rate, report

from ssd300.model.ssd300 import SSD300
from ssd300.training.trainable import TrainableSSD300


def main() -> None:
    """Measures pictures a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--norm", default="none")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    size = arguments.batch_size
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
    step = tf.function(lambda: model.train_step((pixels, {"labels": labels, "offsets": offsets})))
    options = {"seconds": arguments.seconds, "repeats": 3}
    rates = {
        "forward, backward, SGD with a plain loss": rate(lambda: (baseline(), size)[1], **options),
        "ssd300 training step": rate(lambda: (step(), size)[1], **options),
    }
    report(f"training step, width {arguments.width:g}, batch {size}", "pictures a second", rates)


if __name__ == "__main__":
    main()
