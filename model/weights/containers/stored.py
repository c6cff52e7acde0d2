"""What every reader of a container returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of a file.

    Attributes:
        container: kind of the file: ``torch``, ``torch (2017)``, ``caffe``, ``keras`` or ``numpy``.
        tensors: arrays by name, in the file's order; floating-point ones as float32.
        passed_over: names of what is in the file and is no weight, such as the state of an optimizer.
    """

    container: str
    tensors: dict[str, np.ndarray]
    passed_over: tuple[str, ...] = ()


def as_float32(array: np.ndarray) -> np.ndarray:
    """A floating-point array as float32 in this machine's byte order, any other as it is."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array
