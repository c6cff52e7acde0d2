"""The precision that this machine computes fastest in."""

import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from ssd300.training.settings import Precision

# A layer of the network's size, on a small batch: long enough to time, short enough not to be noticed.
_BATCH, _CELLS, _CHANNELS = 2, 38, 128
_ROUNDS = 5
_GAIN = 0.9  # bfloat16 must take less than this share of float32's time to be worth its rounding


def fastest_precision() -> Precision:
    """Keras's dtype policy for the first GPU's generation, or the faster of two measured on the CPU.

    GPUs of compute capability 8 and higher have bfloat16, those of 7 float16; on a CPU bfloat16 is fast only where
    there are instructions for it, and many times slower elsewhere.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return gpu_precision(tf.config.experimental.get_device_details(gpus[0]).get("compute_capability"))
    return cpu_precision(_seconds)


def gpu_precision(capability: tuple[int, int] | None) -> Precision:
    """The policy for a GPU of this compute capability; None if it is unknown, as of other makers' GPUs."""
    generation = 0 if capability is None else capability[0]
    return "mixed_bfloat16" if generation >= 8 else "mixed_float16" if generation == 7 else "float32"


def cpu_precision(seconds: Callable[[tf.DType], float]) -> Precision:
    """The policy for a CPU on which a convolution and its gradients take `seconds` of a dtype."""
    return "mixed_bfloat16" if seconds(tf.bfloat16) < _GAIN * seconds(tf.float32) else "float32"


def _seconds(dtype: tf.DType) -> float:
    pixels = tf.cast(tf.random.stateless_normal([_BATCH, _CELLS, _CELLS, _CHANNELS], seed=(0, 0)), dtype)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, _CHANNELS, _CHANNELS], seed=(0, 1)), dtype)

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([pixels, kernel])
            total = tf.reduce_sum(tf.nn.conv2d(pixels, kernel, 1, "SAME"))
        return tape.gradient(total, [pixels, kernel])

    times = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        gradients()[0].numpy()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first is the function's tracing
