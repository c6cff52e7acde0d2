"""PyTorch's ``.pth`` files without PyTorch, in both of its containers, and without running anything that they name.

A ``.pth`` file is a pickle, a program for a small stack machine that may call any function by name. Here it can call
none: the names of the few functions that rebuild tensors stand for functions of this module, which only note sizes, and
every other name becomes an inert object. The program's own operations are looked through before it runs, so that no
length that it claims is allocated; a tensor is read after its sizes were held against those of the file.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.stored import StoredTensors, as_float32

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a file of before 2020
# The beginning of such a file: protocol 2, then a whole number of ten bytes, the magic one.
LEGACY_SIGNATURE = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")

_DTYPES = {
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "DoubleStorage": "f8",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Operations that take objects from a registry of the process, or that only pickles of before Python 2.3 have.
_REFUSED_OPERATIONS = {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
_MOST_DIMENSIONS = 8
# Keys under which training scripts keep the weights next to other things.
_STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "weights", "ema")
_LARGEST_PICKLE = 256 << 20  # bytes; that of a real file has some kilobytes
# Tuples in tuples take C's stack where they are hashed; a real file has four per tensor.
_MOST_TUPLES = 20_000


class _FileError(Exception):
    """The file is not what it should be; the message says how."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    numel: int
    first: int = 0  # element of the stored data at which a view begins


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Inert:
    """Stands for whatever a file names and this module does not know; nothing happens, whatever is done with it."""

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, *_: Any) -> None:
        pass

    extend = add = append

    @staticmethod
    def __setstate__(*_: Any) -> None:
        pass


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise _FileError(f"a tensor has the size or place {_short(value)}")
    return value


def _short(value: Any) -> str:
    """A value of a file in a message: numbers and short texts as they are, anything else by its type."""
    is_plain = isinstance(value, int | float | str) and not (isinstance(value, int) and abs(value) >= 2**64)
    return ascii(value)[:60] if is_plain else type(value).__name__


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        raise _FileError(f"a tensor has a shape of type {type(value).__name__}")
    return tuple(map(_whole, value))


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise _FileError(f"a tensor lies in {_short(storage)} instead of a storage")
    tensor = _Tensor(storage, _whole(offset), _sizes(size), _sizes(stride))
    count = math.prod(tensor.size)
    if len(tensor.size) != len(tensor.stride) or count > storage.numel:
        raise _FileError(f"a tensor of {count} elements lies in a storage of {storage.numel}")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if count and last >= storage.numel:
        raise _FileError(f"a tensor reaches to element {last} of a storage of {storage.numel}")
    return tensor


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*arguments: Any) -> OrderedDict:
    return OrderedDict(*arguments)


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _ordered_dict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """A function of this module, the name of a kind of storage, or something inert; never what is named."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return type("StorageType", (_Inert,), {"dtype": _DTYPES[name]})
        return type("Inert", (_Inert,), {"named": f"{module}.{name}"})

    def persistent_load(self, identifier: Any) -> Any:
        """What the file keeps outside the pickle: a storage; anything else is inert."""
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            return _Inert()
        kind, key, numel = identifier[1], identifier[2], _whole(identifier[4])
        dtype = getattr(kind, "dtype", None)
        if not isinstance(key, str) or dtype is None:
            raise _FileError(f"a storage is of an unknown type, {_short(getattr(kind, 'named', kind))}")
        view = identifier[5] if len(identifier) > 5 else None
        if view is None:
            return _Storage(key, dtype, numel)
        if not isinstance(view, tuple) or len(view) != 3:
            raise _FileError("a storage is a view of unknown form")
        return _Storage(key, dtype, _whole(view[2]), first=_whole(view[1]))


class _Bounded:
    """A file from which no more is asked than it has: reading allocates what is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def read(self, count: int) -> bytes:
        left = self._size - self._file.tell()
        if count > left:
            raise _FileError(f"its pickle claims {count} more bytes, {left} are there")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline(1 << 20)

    def tell(self) -> int:
        return self._file.tell()


def _check_operations(file: BinaryIO) -> None:
    """Moves behind a pickle; _FileError if it claims more than is there or has operations that no such file has."""
    start = file.tell()
    bounded = _Bounded(file)
    file.seek(start)
    tuples = 0
    for count, (operation, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], bounded)), start=1):
        tuples += operation.name.startswith("TUPLE")
        if operation.name in _REFUSED_OPERATIONS:
            raise _FileError(f"its pickle has the operation {operation.name}")
        # The memo is an array: its length is the largest number.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= (argument or 0) <= count:
            raise _FileError(f"its pickle numbers {count} objects up to {_short(argument)}")
        if tuples > _MOST_TUPLES:
            raise _FileError(f"its pickle has more than {_MOST_TUPLES} tuples")
        if file.tell() - start > _LARGEST_PICKLE:
            raise _FileError("its pickle is too long")


def _load(file: BinaryIO) -> Any:
    """The next pickled object of a file, with inert objects and descriptions of tensors; nothing is called."""
    start = file.tell()
    _check_operations(file)
    end = file.tell()
    file.seek(start)
    result = _Unpickler(io.BytesIO(file.read(end - start)), encoding="utf-8", errors="replace").load()
    file.seek(end)
    return result


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
    except _FileError as error:
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
            raise _FileError(f"expected one data.pkl in the archive, found {len(roots)}")
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise _FileError("it is a TorchScript program; save the model's state_dict() instead")
        order = "<"
        if f"{root}byteorder" in names and _entry(archive, f"{root}byteorder").strip() == b"big":
            order = ">"
        content = _load(io.BytesIO(_entry(archive, f"{root}data.pkl")))
        return _collect("torch", content, lambda key: _entry(archive, f"{root}data/{key}"), order)


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise _FileError(f"it is cut: there is no {ascii(name)[:80]}") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise _FileError("an entry is compressed, as PyTorch never writes it")
    data = archive.read(info)
    if len(data) != info.file_size:
        raise _FileError(f"it is cut: {ascii(name)[:80]} has {len(data)} of {info.file_size} bytes")
    return data


def _read_legacy(path: Path) -> StoredTensors:
    with path.open("rb") as file:
        if _load(file) != LEGACY_MAGIC:
            raise _FileError("its magic number is another one")
        protocol = _load(file)
        if protocol != 1001:
            raise _FileError(f"its protocol is {_short(protocol)}, expected 1001")
        system = _load(file)
        order = ">" if isinstance(system, dict) and system.get("little_endian") is False else "<"
        content, keys = _load(file), _load(file)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise _FileError("its list of storages cannot be read")
        storages = {one.storage.key: one.storage for one in _tensors_in(content)}
        places: dict[str, tuple[int, int]] = {}
        end = path.stat().st_size
        for key in keys:
            header = file.read(8)
            if len(header) != 8:
                raise _FileError(f"it is cut: {len(places)} of {len(keys)} storages are there")
            (numel,) = struct.unpack(f"{order}q", header)
            if key not in storages and file.tell() < end:
                # Only an optimizer's: of what type is known from the tensors alone.
                raise _FileError("a storage belongs to no tensor")
            size = _item_size(storages[key].dtype) * _whole(numel) if key in storages else 0
            places[key] = (file.tell(), size)
            if file.tell() + size > end:
                raise _FileError(
                    f"it is cut: storage {len(places)} of {len(keys)} has {size} bytes, {end} has the file"
                )
            file.seek(size, io.SEEK_CUR)

        def data_of(key: str) -> bytes:
            if key not in places:
                raise _FileError("a tensor's storage is not there")
            start, size = places[key]
            file.seek(start)
            return file.read(size)

        return _collect("torch (2017)", content, data_of, order)


def _tensors_in(content: Any) -> list[_Tensor]:
    """All tensors of nested plain containers; each container is looked at once, however often it occurs."""
    found, seen, pending = [], set(), [content]
    while pending:
        one = pending.pop()
        if isinstance(one, _Tensor):
            found.append(one)
        elif isinstance(one, dict | list | tuple | set) and id(one) not in seen:
            seen.add(id(one))
            pending += dict.values(one) if isinstance(one, dict) else one
    return found


def _item_size(dtype: str) -> int:
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize


def _collect(container: str, content: Any, data_of: Callable[[str], bytes], order: str) -> StoredTensors:
    state, passed_over = _state_dict(content)
    raw: dict[str, bytes] = {}
    tensors = {}
    for name, tensor in state.items():
        key = tensor.storage.key
        if key not in raw:
            raw = {key: data_of(key)}  # one at a time: parameters seldom share a storage
        tensors[name] = _array(tensor, raw[key], order)
    return StoredTensors(container, tensors, passed_over)


def _state_dict(content: Any) -> tuple[dict[str, _Tensor], tuple[str, ...]]:
    """The dictionary with the most tensors, at the top or under one of the usual keys, and the names of the rest."""
    if not isinstance(content, dict):
        kind = str(getattr(type(content), "named", type(content).__name__))
        raise _FileError(f"expected a dictionary of tensors (a state_dict), found {ascii(kind)[1:-1][:60]}")
    options = {"": content}
    options |= {key: value for key in _STATE_KEYS if isinstance(value := dict.get(content, key), dict)}
    counts = {key: sum(isinstance(value, _Tensor) for value in dict.values(one)) for key, one in options.items()}
    best = max(counts, key=lambda key: counts[key])
    if not counts[best]:
        raise _FileError("expected a dictionary of tensors (a state_dict), found none")
    items = dict.items(options[best])
    state = {str(name): value for name, value in items if isinstance(value, _Tensor)}
    passed_over = [_short(name).strip("'") for name, value in items if not isinstance(value, _Tensor)]
    if best:
        passed_over += [_short(name).strip("'") for name in dict.keys(content) if name != best]
    if all(name.startswith("module.") for name in state):  # saved from a DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state, tuple(passed_over)


def _array(tensor: _Tensor, data: bytes, order: str) -> np.ndarray:
    storage = tensor.storage
    size = _item_size(storage.dtype)
    end = storage.first + storage.numel
    if end * size > len(data):
        raise _FileError(f"it is cut: a storage of {end * size} bytes has {len(data)}")
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
