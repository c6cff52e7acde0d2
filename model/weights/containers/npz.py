"""NumPy's ``.npz``, as Chainer writes it."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.stored import StoredTensors, as_float32

_MOST_BYTES = 4 << 30  # of all arrays, unpacked
_MOST_EXPANSION = 1100  # deflate makes at most 1032 bytes of one
_CHUNK = 1 << 20


def read_npz(path: Path) -> StoredTensors:
    """The arrays of a ``.npz`` by name; nothing in it is unpickled.

    Raises:
        InputError: it is damaged, or holds Python objects.
    """
    tensors: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > min(_MOST_BYTES, path.stat().st_size * _MOST_EXPANSION):
                raise InputError(
                    f"{path} claims arrays of more bytes than it can hold, or than {_MOST_BYTES >> 30} GiB"
                )
            for info in infos:
                name = info.filename.removesuffix(".npy")
                if name in tensors:
                    raise InputError(f"{path}: the array {ascii(name)[:80]} is there twice")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{path}: the array {ascii(name)[:80]} is compressed as NumPy does not do it")
                with archive.open(info) as entry:
                    array = _read_array(entry, info.file_size)
                tensors[name] = as_float32(array)
    except (
        ArithmeticError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        OSError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        tokenize.TokenError,  # NumPy's, of a header that ends in a bracket
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is cut or damaged, or no .npz of plain arrays: {_first_line(error)}") from None
    return StoredTensors("numpy", tensors)


def _first_line(error: Exception) -> str:
    return ascii((str(error).splitlines() or [type(error).__name__])[0][:100])[1:-1]


def _read_array(entry: IO[bytes], size: int) -> np.ndarray:
    """An array of the format ``.npy`` whose header claims no more than the `size` bytes that there are."""
    version = np.lib.format.read_magic(entry)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = header(entry)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject or dtype.kind not in "fiub" or any(side < 0 for side in shape) or count * dtype.itemsize > size:
        raise ValueError(f"an array of {count} times {dtype} in {size} bytes")
    # In parts: a zip entry puts what it is asked for together from small pieces, in a time that grows with the square.
    parts, left = [], count * dtype.itemsize
    while left:
        parts.append(entry.read(min(left, _CHUNK)))
        if not parts[-1]:
            raise ValueError("an array ends too early")
        left -= len(parts[-1])
    array = np.frombuffer(b"".join(parts), dtype).reshape(shape, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="))
