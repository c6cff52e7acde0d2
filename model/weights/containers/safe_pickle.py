"""Loading the pickle of a PyTorch file without running anything that it names.

A ``.pth`` file is a pickle, a program for a small stack machine that may call any function by name. Here it can call
none: the names of the few functions that rebuild tensors stand for functions of this module, which only note sizes, and
every other name becomes an inert object. The program's own operations are looked through before it runs, so that no
length that it claims is allocated; a tensor is read after its sizes were held against those of the file.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

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
_LARGEST_PICKLE = 256 << 20  # bytes; that of a real file has some kilobytes
# Tuples in tuples take C's stack where they are hashed; a real file has four per tensor.
_MOST_TUPLES = 20_000


class UnusableFileError(Exception):
    """The file is not what it should be; the message says how."""


@dataclass(frozen=True)
class Storage:
    """Numbers that the file keeps outside the pickle, under a key."""

    key: str
    dtype: str
    numel: int
    first: int = 0  # element of the stored data at which a view begins


@dataclass(frozen=True)
class Tensor:
    """Where in a storage a tensor's elements lie; nothing of it has been read."""

    storage: Storage
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


def whole(value: Any) -> int:
    """A length or place that a file claims; UnusableFileError if it is none."""
    if type(value) is not int or not 0 <= value < 2**62:
        raise UnusableFileError(f"a tensor has the size or place {short(value)}")
    return value


def short(value: Any) -> str:
    """A value of a file in a message: numbers and short texts as they are, anything else by its type."""
    is_plain = isinstance(value, int | float | str) and not (isinstance(value, int) and abs(value) >= 2**64)
    return ascii(value)[:60] if is_plain else type(value).__name__


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS:
        raise UnusableFileError(f"a tensor has a shape of type {type(value).__name__}")
    return tuple(map(whole, value))


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise UnusableFileError(f"a tensor lies in {short(storage)} instead of a storage")
    tensor = Tensor(storage, whole(offset), _sizes(size), _sizes(stride))
    count = math.prod(tensor.size)
    if len(tensor.size) != len(tensor.stride) or count > storage.numel:
        raise UnusableFileError(f"a tensor of {count} elements lies in a storage of {storage.numel}")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if count and last >= storage.numel:
        raise UnusableFileError(f"a tensor reaches to element {last} of a storage of {storage.numel}")
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
        kind, key, numel = identifier[1], identifier[2], whole(identifier[4])
        dtype = getattr(kind, "dtype", None)
        if not isinstance(key, str) or dtype is None:
            raise UnusableFileError(f"a storage is of an unknown type, {short(getattr(kind, 'named', kind))}")
        view = identifier[5] if len(identifier) > 5 else None
        if view is None:
            return Storage(key, dtype, numel)
        if not isinstance(view, tuple) or len(view) != 3:
            raise UnusableFileError("a storage is a view of unknown form")
        return Storage(key, dtype, whole(view[2]), first=whole(view[1]))


class _Bounded:
    """A file from which no more is asked than it has: reading allocates what is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def read(self, count: int) -> bytes:
        left = self._size - self._file.tell()
        if count > left:
            raise UnusableFileError(f"its pickle claims {count} more bytes, {left} are there")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline(1 << 20)

    def tell(self) -> int:
        return self._file.tell()


def _check_operations(file: BinaryIO) -> None:
    """Moves behind a pickle; UnusableFileError if it claims more than is there or has unknown operations."""
    start = file.tell()
    bounded = _Bounded(file)
    file.seek(start)
    tuples = 0
    for count, (operation, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], bounded)), start=1):
        tuples += operation.name.startswith("TUPLE")
        if operation.name in _REFUSED_OPERATIONS:
            raise UnusableFileError(f"its pickle has the operation {operation.name}")
        # The memo is an array: its length is the largest number.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= (argument or 0) <= count:
            raise UnusableFileError(f"its pickle numbers {count} objects up to {short(argument)}")
        if tuples > _MOST_TUPLES:
            raise UnusableFileError(f"its pickle has more than {_MOST_TUPLES} tuples")
        if file.tell() - start > _LARGEST_PICKLE:
            raise UnusableFileError("its pickle is too long")


def load(file: BinaryIO) -> Any:
    """The next pickled object of a file, with inert objects and descriptions of tensors; nothing it names is called.

    Raises:
        UnusableFileError: it claims what the file does not have, or is no pickle of tensors; Python's own errors of a
            cut or senseless pickle come through as they are.
    """
    start = file.tell()
    _check_operations(file)
    end = file.tell()
    file.seek(start)
    result = _Unpickler(io.BytesIO(file.read(end - start)), encoding="utf-8", errors="replace").load()
    file.seek(end)
    return result
