"""Loading the pickle of a PyTorch file without running anything that it names.

A ``.pth`` file is a pickle, a program for a small stack machine that may call any function by name. Here it can call
none: the names of the few functions that rebuild tensors stand for functions of this module, which only note sizes, and
every other name becomes an inert object. Nor can it change an object that was checked: what Python's machine does with
the attributes of objects, this one leaves out. The program's own operations are looked through before it runs, so that
no length that it claims is allocated; a tensor is read after its sizes were held against those of the file.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, ClassVar, cast

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
# Operations that take objects from a registry of the process, that only pickles of before Python 2.3 have, or that make
# whole numbers of more than 255 bytes.
_REFUSED_OPERATIONS = {"EXT1", "EXT2", "EXT4", "INST", "OBJ", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "LONG4"}
_REMOVED_CODES = {ord(one.code) for one in pickletools.opcodes if one.name in _REFUSED_OPERATIONS}
_MOST_DIMENSIONS = 8
_LARGEST_PICKLE = 64 << 20  # bytes; that of a real file has some kilobytes
# A byte of the file may become a list of a hundred; the optimizer of a large network takes a tenth of this.
_MOST_OPERATIONS = 2_000_000
# Tuples in tuples take C's stack where they are freed, and a set takes two hundred bytes; a real file has four tuples
# per tensor.
_MOST_TUPLES = 20_000
_LARGEST_KEY = 2**60  # whole numbers from 2**61 on can be chosen so that all have one hash


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


class Inert:
    """Stands for whatever a file names and this module does not know, and for what would be made with it."""

    __slots__ = ("named",)

    def __init__(self, named: str) -> None:
        self.named = named


class _StorageType:
    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class _Known:
    """A function of this module that a file may call by another name."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


def whole(value: Any) -> int:
    """A length or place that a file claims; UnusableFileError if it is none."""
    if type(value) is not int or not 0 <= value < 2**62:
        raise UnusableFileError(f"a tensor has the size or place {short(value)}")
    return value


def short(value: Any) -> str:
    """A value of a file in a message: numbers and short texts as they are, anything else by its name or type."""
    if isinstance(value, Inert):
        return ascii(value.named)[1:-1][:60]
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


def _ordered_dict(items: Any = (), *_: Any) -> dict[Any, Any]:
    # Python 2 gives the items here, as a list of lists.
    return {_checked_key(key): value for key, value in items}


_KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _Known(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor"): _Known(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Known(_rebuild_parameter),
    ("torch.nn.parameter", "Parameter"): _Known(_rebuild_parameter),
    ("collections", "OrderedDict"): _Known(_ordered_dict),
}


def _made(function: Any, arguments: Any) -> Any:
    """What a file makes by calling something."""
    if isinstance(function, _Known) and isinstance(arguments, tuple):
        return function.call(*arguments)
    return function if isinstance(function, Inert) else Inert(short(function))


def _checked_key(key: Any) -> Any:
    """A key of a dictionary or a member of a set, whose hash and comparison take no long time.

    Tuples do not remember their hash: a tuple of one tuple twice, and so on, would be hashed forever.
    """
    for one in key if isinstance(key, tuple) else (key,):
        is_small = isinstance(one, int) and abs(one) < _LARGEST_KEY
        if not is_small and not isinstance(one, str | bytes | float | Inert | _StorageType | None):
            raise UnusableFileError(f"its pickle has {short(one)} as a key")
    return key


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python, without all that calls a file's objects or sets their attributes."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _REMOVED_CODES
    }

    def __init__(self, file: BinaryIO, storages: dict[str, Storage]) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """A function of this module, a kind of storage, or something inert; never what is named."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        return Inert(f"{module}.{name}")

    def persistent_load(self, identifier: Any) -> Any:
        """What the file keeps outside the pickle: a storage, or something inert, such as a class with its source."""
        if isinstance(identifier, tuple) and len(identifier) == 4 and isinstance(identifier[1], Inert):
            return identifier[1]
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            return Inert("persistent")
        kind, key, numel = identifier[1], identifier[2], whole(identifier[4])
        if not isinstance(key, str) or not isinstance(kind, _StorageType):
            raise UnusableFileError(f"a storage is of an unknown type, {short(kind)}")
        view = identifier[5] if len(identifier) > 5 else None
        if view is None:
            storage = Storage(key, kind.dtype, numel)
        elif isinstance(view, tuple) and len(view) == 3:
            storage = Storage(key, kind.dtype, whole(view[2]), first=whole(view[1]))
        else:
            raise UnusableFileError("a storage is a view of unknown form")
        if self.storages.setdefault(key, storage).dtype != kind.dtype:
            raise UnusableFileError("a storage is of two types")
        return storage

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], arguments)

    def _load_newobj_ex(self) -> None:
        self.stack.pop()  # named arguments, which no function of this module has
        self._load_reduce()

    def _load_build(self) -> None:
        # The state of an object: for an OrderedDict torch's versions of its layers, for others attributes.
        self.stack.pop()

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise UnusableFileError(f"its pickle appends to {short(target)}")

    def _load_append(self) -> None:
        self._fill([self.stack.pop()])

    def _load_appends(self) -> None:
        self._fill(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_checked_key(key)] = value
        elif not isinstance(target, Inert):
            raise UnusableFileError(f"its pickle sets items of {short(target)}")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set(items)

    def _load_additems(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if isinstance(target, set):
            target.update(map(_checked_key, items))
        elif not isinstance(target, Inert):
            raise UnusableFileError(f"its pickle adds to {short(target)}")

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(_checked_key, items)))

    dispatch |= {
        pickle.REDUCE[0]: _load_reduce,
        pickle.NEWOBJ[0]: _load_reduce,
        pickle.NEWOBJ_EX[0]: _load_newobj_ex,
        pickle.BUILD[0]: _load_build,
        pickle.APPEND[0]: _load_append,
        pickle.APPENDS[0]: _load_appends,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
    }


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
        tuples += operation.name.startswith("TUPLE") or operation.name in ("EMPTY_SET", "FROZENSET")
        if operation.name in _REFUSED_OPERATIONS:
            raise UnusableFileError(f"its pickle has the operation {operation.name}")
        # Some unpicklers keep an array of them, as long as the largest number.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= (argument or 0) <= count:
            raise UnusableFileError(f"its pickle numbers {count} objects up to {short(argument)}")
        if tuples > _MOST_TUPLES:
            raise UnusableFileError(f"its pickle has more than {_MOST_TUPLES} tuples and sets")
        if count > _MOST_OPERATIONS or file.tell() - start > _LARGEST_PICKLE:
            raise UnusableFileError("its pickle is too long")


def load(file: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
    """The next pickled object of a file, with inert objects and descriptions of tensors; nothing it names is called.

    Args:
        file: at the beginning of a pickle; afterwards behind it.
        storages: gets all storages that the pickle names, by key, also those in objects that are inert.

    Raises:
        UnusableFileError: it claims what the file does not have, or is no pickle of tensors; Python's own errors of a
            cut or senseless pickle come through as they are.
    """
    start = file.tell()
    _check_operations(file)
    end = file.tell()
    file.seek(start)
    content = io.BytesIO(file.read(end - start))
    result = _Unpickler(content, {} if storages is None else storages).load()
    file.seek(end)
    return result
