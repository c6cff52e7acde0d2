"""Recognizing a file of weights by its content, and reading it."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.caffemodel import read_caffemodel
from ssd300.model.weights.containers.keras_h5 import read_keras_h5
from ssd300.model.weights.containers.npz import read_npz
from ssd300.model.weights.containers.stored import StoredTensors
from ssd300.model.weights.containers.torch_files import LEGACY_SIGNATURE, read_torch_legacy, read_torch_zip

EXPECTED = "expected trained weights: .caffemodel, Keras's .h5, PyTorch's .pth or Chainer's .npz"

# What people have by mistake, by its first bytes.
_FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer; the file itself was not downloaded",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"PK\x05\x06": "an empty zip archive",
}


def read_tensors(path: str | Path) -> StoredTensors:
    """The tensors in a file of trained weights, whose kind is recognized by its content, whatever its name ends in.

    Raises:
        InputError: the file is not there, empty, cut, damaged, hostile, or of another kind; it says what was found.
    """
    path = Path(path)
    try:
        return _reader(path)(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _reader(path: Path) -> Callable[[Path], StoredTensors]:
    if path.is_dir():
        raise InputError(f"{path} is a folder; {EXPECTED}")
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise InputError(f"{path} is empty; {EXPECTED}")
    for signature, what in _FOREIGN.items():
        if start.startswith(signature):
            raise InputError(f"{path} is {what}; {EXPECTED}")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return read_keras_h5
    if start.startswith(b"PK\x03\x04"):
        return _zip_reader(path)
    if start[:1] == b"\x80" and LEGACY_SIGNATURE in start[:32]:  # behind the pickle's protocol, and its frame
        return read_torch_legacy
    if start[257:262] == b"ustar":
        raise InputError(f"{path} is a tar archive; unpack it first")
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 1 << 30:
        raise InputError(f"{path} is a safetensors file, which is not supported; {EXPECTED}")
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        raise InputError(f"{path} is a pickle, but not one of PyTorch; {EXPECTED}")
    if start.lstrip()[:1] == b"<":
        raise InputError(f"{path} is a web page or XML, not the file itself; {EXPECTED}")
    if _is_text(start):
        raise InputError(f"{path} is no file of weights that is known, but text; {EXPECTED}")
    # Protobuf has no signature: NetParameter's name, its layers, or its layers of the earlier kind.
    if start.startswith((b"\x0a", b"\xa2\x06", b"\x12")):
        return read_caffemodel
    raise InputError(f"{path} is no file of weights that is known; {EXPECTED}")


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", "replace").removesuffix("\ufffd")  # a letter may be cut
    return all(one.isprintable() or one.isspace() for one in text) and "\ufffd" not in text


def _zip_reader(path: Path) -> Callable[[Path], StoredTensors]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (
        ArithmeticError,
        EOFError,
        LookupError,
        NotImplementedError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as e:
        raise InputError(f"{path} is a zip archive that is cut or damaged: {ascii(str(e))[1:-1][:100]}") from None
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return read_torch_zip
    if names and all(name.endswith(".npy") for name in names):
        return read_npz
    raise InputError(f"{path} is a zip archive, but neither PyTorch's nor NumPy's; {EXPECTED}")
