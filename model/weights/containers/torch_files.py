"""PyTorch's ``.pth`` files without PyTorch, in both of its containers: a zip archive, and the older stream."""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.safe_pickle import Inert, Storage, Tensor, UnusableFileError, load, short, whole
from ssd300.model.weights.containers.stored import StoredTensors, as_float32

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a file of before 2020
# Near the beginning of such a file: a whole number of ten bytes, the magic one.
LEGACY_SIGNATURE = b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")
# Keys under which training scripts keep the weights next to other things.
_STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "weights", "ema")


def read_torch_zip(path: Path) -> StoredTensors:
    """The tensors of a ``.pth`` file of PyTorch 1.6 or later, a zip archive.

    Raises:
        InputError: it is damaged, hostile, or holds something else.
    """
    return _reading(path, _read_zip)


def read_torch_legacy(path: Path) -> StoredTensors:
    """The tensors of a ``.pth`` file of before PyTorch 1.6, a stream of pickles and raw data.

    Raises:
        InputError: it is damaged, hostile, or holds something else.
    """
    return _reading(path, _read_legacy)


def _reading(path: Path, read: Callable[[Path], StoredTensors]) -> StoredTensors:
    try:
        return read(path)
    except UnusableFileError as error:
        raise InputError(f"{path} is not a file of PyTorch weights that can be read: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        # What Python's own machinery says of a cut or senseless program.
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
        raise InputError(f"{path} is cut or damaged, or no file of PyTorch weights: {ascii(reason)[1:-1]}") from None


def _read_zip(path: Path) -> StoredTensors:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise UnusableFileError(f"expected one data.pkl in the archive, found {len(roots)}")
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise UnusableFileError("it is a TorchScript program; save the model's state_dict() instead")
        order = "<"
        if f"{root}byteorder" in names and _entry(archive, f"{root}byteorder").strip() == b"big":
            order = ">"
        content = load(io.BytesIO(_entry(archive, f"{root}data.pkl")))
        size = path.stat().st_size
        return _collect("torch", content, lambda key: _entry(archive, f"{root}data/{key}"), order, size)


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise UnusableFileError(f"it is cut: there is no {ascii(name)[:80]}") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise UnusableFileError("an entry is compressed, as PyTorch never writes it")
    # Reading asks for as many bytes as the archive claims at once.
    if info.file_size != info.compress_size or info.header_offset + info.file_size > archive.start_dir:
        raise UnusableFileError(f"{ascii(name)[:80]} claims {info.file_size} bytes, more than are there")
    data = archive.read(info)
    if len(data) != info.file_size:
        raise UnusableFileError(f"it is cut: {ascii(name)[:80]} has {len(data)} of {info.file_size} bytes")
    return data


def _read_legacy(path: Path) -> StoredTensors:
    with path.open("rb") as file:
        if load(file) != LEGACY_MAGIC:
            raise UnusableFileError("its magic number is another one")
        protocol = load(file)
        if protocol != 1001:
            raise UnusableFileError(f"its protocol is {short(protocol)}, expected 1001")
        system = load(file)
        if not isinstance(system, dict):
            raise UnusableFileError(f"expected a description of the system, found {short(system)}")
        storages: dict[str, Storage] = {}
        content, keys = load(file, storages), load(file)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise UnusableFileError("its list of storages cannot be read")
        places: dict[str, tuple[int, int]] = {}
        end = path.stat().st_size
        for key in keys:
            header = file.read(8)
            if len(header) != 8:
                raise UnusableFileError(f"it is cut: {len(places)} of {len(keys)} storages are there")
            # Little-endian whatever machine wrote it: `little_endian` of the system says nothing of the data.
            (numel,) = struct.unpack("<q", header)
            if key not in storages:
                raise UnusableFileError(f"its pickle does not name storage {len(places) + 1} of {len(keys)}")
            size = _item_size(storages[key].dtype) * whole(numel)
            places[key] = (file.tell(), size)
            if file.tell() + size > end:
                raise UnusableFileError(
                    f"it is cut: storage {len(places)} of {len(keys)} has {size} bytes, {end} has the file"
                )
            file.seek(size, io.SEEK_CUR)

        def data_of(key: str) -> bytes:
            if key not in places:
                raise UnusableFileError("a tensor's storage is not there")
            start, size = places[key]
            file.seek(start)
            return file.read(size)

        return _collect("torch (2017)", content, data_of, "<", end)


def _item_size(dtype: str) -> int:
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize


def _collect(
    container: str, content: Any, data_of: Callable[[str], bytes], order: str, file_size: int
) -> StoredTensors:
    state, passed_over = _state_dict(content)
    # Tensors may share a storage, but a thousand views of a large one are no weights.
    elements = sum(math.prod(tensor.size) for tensor in state.values())
    if elements > file_size:
        raise UnusableFileError(f"its tensors have {elements} elements together, and it has {file_size} bytes")
    raw: dict[str, bytes] = {}
    tensors = {}
    for name, tensor in state.items():
        key = tensor.storage.key
        if key not in raw:
            raw = {key: data_of(key)}  # one at a time: parameters seldom share a storage
        tensors[name] = _array(tensor, raw[key], order)
    return StoredTensors(container, tensors, passed_over)


def _state_dict(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The dictionary with the most tensors, at the top or under one of the usual keys, and the names of the rest."""
    if not isinstance(content, dict):
        kind = content.named if isinstance(content, Inert) else type(content).__name__
        raise UnusableFileError(f"expected a dictionary of tensors (a state_dict), found {ascii(kind)[1:-1][:60]}")
    options = {"": content}
    options |= {key: value for key in _STATE_KEYS if isinstance(value := content.get(key), dict)}
    counts = {key: sum(isinstance(value, Tensor) for value in one.values()) for key, one in options.items()}
    best = max(counts, key=lambda key: counts[key])
    if not counts[best]:
        raise UnusableFileError("expected a dictionary of tensors (a state_dict), found none")
    items = options[best].items()
    state = {str(name): value for name, value in items if isinstance(value, Tensor)}
    passed_over = [short(name).strip("'") for name, value in items if not isinstance(value, Tensor)]
    if best:
        passed_over += [short(name).strip("'") for name in content if name != best]
    if all(name.startswith("module.") for name in state):  # saved from a DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state, tuple(passed_over)


def _array(tensor: Tensor, data: bytes, order: str) -> np.ndarray:
    storage = tensor.storage
    size = _item_size(storage.dtype)
    end = storage.first + storage.numel
    if end * size > len(data):
        raise UnusableFileError(f"it is cut: a storage of {end * size} bytes has {len(data)}")
    if storage.dtype == "bf16":  # the upper half of a float32
        half = np.frombuffer(data, f"{order}u2")
        flat = (half.astype(np.uint32) << 16).view(np.float32)
    else:
        flat = np.frombuffer(data[: len(data) // size * size], f"{order}{storage.dtype}")
    flat = flat[storage.first : end]
    if not math.prod(tensor.size):
        return np.zeros(tensor.size, flat.dtype)
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :], tensor.size, [step * flat.itemsize for step in tensor.stride], writeable=False
    )
    return as_float32(np.array(view, view.dtype.newbyteorder("=")))
