"""NumPy's ``.npz``, as Chainer writes it."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.stored import StoredTensors, as_float32

_MOST_BYTES = 4 << 30  # of all arrays, unpacked


def read_npz(path: Path) -> StoredTensors:
    """The arrays of a ``.npz`` by name; nothing in it is unpickled.

    Raises:
        InputError: it is damaged, or holds Python objects.
    """
    tensors = {}
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > _MOST_BYTES:
                raise InputError(f"{path} claims arrays of more than {_MOST_BYTES >> 30} GiB")
            for info in infos:
                with archive.open(info) as entry:
                    array = _read_array(entry, info.file_size)
                tensors[info.filename.removesuffix(".npy")] = as_float32(array)
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is cut or damaged, or no .npz of plain arrays: {_first_line(error)}") from None
    except Exception as error:
        if not isinstance(error, zipfile.BadZipFile) and type(error).__module__ != "zlib":
            raise
        raise InputError(f"{path} is cut or damaged: {_first_line(error)}") from None
    return StoredTensors("numpy", tensors)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _read_array(entry: IO[bytes], size: int) -> np.ndarray:
    """An array of the format ``.npy`` whose header claims no more than the `size` bytes that there are."""
    version = np.lib.format.read_magic(entry)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = header(entry)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject or dtype.kind not in "fiub" or count * dtype.itemsize > size:
        raise ValueError(f"an array of {count} times {dtype} in {size} bytes")
    data = entry.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError("an array ends too early")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="))
