"""Keras's HDF5 files of weights, as Keras 1 and 2 wrote them: a group per layer, its arrays named in an attribute."""

import math
import mmap
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.stored import StoredTensors, as_float32

_MOST_BYTES = 4 << 30  # of all arrays; SSD300's have a tenth of it at most
# The beginning of a heap in the file. In float32 weights it would take one from 128 to 256 at least, so none has it.
_HEAP = b"GCOL\1"
_MOST_EXPANSION = 1100  # of compressed data: deflate makes at most 1032 bytes of one


def read_keras_h5(path: Path) -> StoredTensors:
    """The arrays of all layers as ``layer/kernel`` and the like.

    Raises:
        InputError: the file is damaged, or is not laid out as Keras does it.
    """
    _check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            is_whole_model = "model_weights" in file
            if is_whole_model and not _is_group(file, "model_weights"):
                raise InputError(f"{path}: 'model_weights' is no group in this file")
            root = file["model_weights"] if is_whole_model else file
            passed_over = tuple(name for name in file if is_whole_model and name != "model_weights")
            tensors = dict(_arrays(root, path))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [""])[0][:100]
        raise InputError(f"{path} is cut or damaged, or no HDF5 file of Keras: {reason}") from None
    if not tensors:
        raise InputError(f"{path} holds no layers with weights in the layout of Keras 2 (attribute weight_names)")
    return StoredTensors("keras", tensors, passed_over)


def _arrays(root: Any, path: Path) -> Any:
    total = 0
    for layer in root:
        if not _is_group(root, layer):
            raise InputError(f"{path}: expected a group per layer, but {layer!r} is none")
        for stored in _weight_names(root[layer], path):
            dataset = _dataset(root[layer], stored, path)
            total += dataset.size * max(4, dataset.dtype.itemsize)
            if total > _MOST_BYTES:
                raise InputError(f"{path} claims arrays of more than {_MOST_BYTES >> 30} GiB")
            # What was never written reads as zeros, as many as the file claims.
            held = min(dataset.id.get_storage_size(), path.stat().st_size) * (
                _MOST_EXPANSION if dataset.compression else 1
            )
            if dataset.size * dataset.dtype.itemsize > held:
                raise InputError(f"{path}: {stored!r} has the shape {dataset.shape}, but holds less")
            kind = stored.split("/")[-1].removesuffix(":0")
            # Keras 1: conv1_1_W:0 and conv1_1_b:0.
            kind = {"W": "kernel", "b": "bias"}.get(kind.removeprefix(f"{layer}_"), kind.removeprefix(f"{layer}_"))
            yield f"{layer}/{kind}", as_float32(np.asarray(dataset[()]))


def _number(content: mmap.mmap, place: int) -> int:
    return int.from_bytes(content[place : place + 8], "little")


def _check_heaps(path: Path) -> None:
    """Refuses a file whose heaps of texts are damaged: HDF5 would look for a text in them forever."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            is_whole = content[start + 5 : start + 8] == bytes(3)  # HDF5 itself does not look
            place, end = start + 16, start + _number(content, start + 8)
            # Each object has a head of 16 bytes: a number, and its size; number 0 is what is left, with its head.
            while place + 16 <= end <= len(content):
                size = _number(content, place + 8)
                is_left = content[place : place + 2] == b"\0\0"
                place += max(size, 1) if is_left else 16 + -(-size // 8) * 8
                if is_left and place != end:
                    place = end + 1
            if not is_whole or place > end or not start + 16 < end <= len(content):
                raise InputError(f"{path} is cut or damaged: a heap of texts is not as HDF5 writes it")
            start = content.find(_HEAP, start + 16)


def _weight_names(group: Any, path: Path) -> list[str]:
    if "weight_names" not in group.attrs:
        return []
    attribute = group.attrs.get_id("weight_names")
    if not math.prod(attribute.shape):
        return []
    is_text = h5py.check_string_dtype(attribute.dtype) is not None  # HDF5 has lists of numbers of variable length, too
    if not is_text or math.prod(attribute.shape) * attribute.dtype.itemsize > path.stat().st_size:
        raise InputError(f"{path}: weight_names of {group.name!a} is no list of texts")
    names = [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for name in np.ravel(group.attrs["weight_names"])
    ]
    if len(set(names)) != len(names):
        raise InputError(f"{path}: weight_names of {group.name!a} has a name twice")
    return names


def _is_group(parent: Any, name: str) -> bool:
    """Whether a name leads to a group of this file: a link may lead to another file of this machine."""
    return isinstance(parent.get(name, getlink=True), h5py.HardLink) and isinstance(parent[name], h5py.Group)


def _dataset(group: Any, name: str, path: Path) -> Any:
    """An array in a group, reached by no link, stored in this file alone."""
    current = group
    for part in name.strip("/").split("/"):
        if not isinstance(current, h5py.Group) or not isinstance(current.get(part, getlink=True), h5py.HardLink):
            raise InputError(f"{path}: the array {name!r} is not there")
        current = current[part]
    if (
        not isinstance(current, h5py.Dataset)
        or current.is_virtual
        or current.external
        or current.dtype.kind not in "fiu"
    ):
        raise InputError(f"{path}: {name!r} is no array of numbers in this file")
    return current
