"""The device that a model runs on, in words."""

from pathlib import Path

import tensorflow as tf


def describe_device() -> str:
    """The GPUs that TensorFlow uses, or that it uses the CPU, and what to do where it misses a GPU that is there."""
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in _gpus()]
    if names:
        return f"{len(names)} GPU{'s' * (len(names) > 1)}: {', '.join(names)}"
    if Path("/proc/driver/nvidia/version").exists():
        if not tf.test.is_built_with_cuda():
            return "the CPU: this TensorFlow is built without CUDA, although there is an NVIDIA driver"
        return (
            "the CPU: TensorFlow finds no CUDA libraries, although there is an NVIDIA driver; the extra gpu brings them"
        )
    return "the CPU; there is no GPU"


def _gpus() -> list[tf.config.PhysicalDevice]:
    return tf.config.list_physical_devices("GPU")
