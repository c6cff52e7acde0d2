"""Weight files as other projects' libraries write them, made without those libraries."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from layouts import Peer

_STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Global:
    """A name that a pickle holds: ``torch.FloatStorage`` and the like."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """What a pickle makes by calling a name with arguments."""

    def __init__(self, function: Global, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Build:
    """An object whose attributes a pickle sets after it made it."""

    def __init__(self, made: Any, state: dict[str, Any]) -> None:
        self.made, self.state = made, state


class _Pickler(pickle._Pickler):
    """Writes arrays as torch writes tensors, and names without looking for them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, file: Any, *, legacy: bool) -> None:
        super().__init__(file, protocol=2)
        self.legacy, self.storages = legacy, {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        end = (None,) if self.legacy else ()
        return (
            "storage",
            Global("torch", _STORAGES[value.data.dtype.str[1:]]),
            value.key,
            "cpu",
            value.data.size,
            *end,
        )

    def _save_array(self, array: np.ndarray) -> None:
        # A view shares its base's storage, with an offset and strides.
        base = array if array.base is None or not isinstance(array.base, np.ndarray) else array.base
        key = self.storages.setdefault(id(base), (str(len(self.storages)), base))[0]
        start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        strides = tuple(step // array.itemsize for step in array.strides)
        call = Global("torch._utils", "_rebuild_tensor_v2")
        storage = _Storage(key, base.reshape(-1))
        self.save(Call(call, storage, start // array.itemsize, array.shape, strides, False, OrderedDict()))

    def _save_global(self, value: Global) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def _save_call(self, call: Call) -> None:
        self.save(call.function)
        self.save(call.arguments)
        self.write(pickle.REDUCE)

    def _save_build(self, build: Build) -> None:
        self.save(build.made)
        self.save(build.state)
        self.write(pickle.BUILD)

    dispatch[Build] = _save_build
    dispatch[np.ndarray] = _save_array
    dispatch[Global] = _save_global
    dispatch[Call] = _save_call


class _Storage:
    def __init__(self, key: str, data: np.ndarray) -> None:
        self.key, self.data = key, data


def _pickled(value: Any, *, legacy: bool) -> tuple[bytes, dict]:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, legacy=legacy)
    pickler.dump(value)
    return buffer.getvalue(), dict(pickler.storages.values())


def write_torch_zip(path: Path, value: Any, *, root: str = "archive") -> None:
    """As ``torch.save`` does it since 1.6."""
    content, storages = _pickled(value, legacy=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", content)
        archive.writestr(f"{root}/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"{root}/data/{key}", data.tobytes())
        archive.writestr(f"{root}/version", "3\n")


def write_torch_legacy(path: Path, value: Any) -> None:
    """As ``torch.save`` did it in 2017."""
    content, storages = _pickled(value, legacy=True)
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for one in (MAGIC, PROTOCOL, system):
            file.write(pickle.dumps(one, protocol=2))
        file.write(content)
        file.write(pickle.dumps(sorted(storages), protocol=2))
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _blob(array: np.ndarray, *, v1: bool) -> bytes:
    data = _field(5, array.astype("<f4").tobytes())
    if not v1:
        return _field(7, _field(1, b"".join(map(_varint, array.shape)))) + data
    shape = (1,) * (4 - array.ndim) + array.shape
    return b"".join(_varint(number << 3) + _varint(side) for number, side in enumerate(shape, start=1)) + data


def write_caffemodel(path: Path, layers: list[tuple[str, str, list[np.ndarray]]], *, v1: bool = False) -> None:
    """Name, type and blobs of each layer, as Caffe's protobuf has them, or its first version (V1); bytes by hand."""
    parts = [_field(1, b"VGG_VOC0712_SSD_300x300_train")]
    for name, kind, blobs in layers:
        numbers = (4, None, 6, 2) if v1 else (1, 2, 7, 100)  # name, type (in V1 a number), blobs, layer
        layer = _field(numbers[0], name.encode())
        if numbers[1] is not None:
            layer += _field(numbers[1], kind.encode())
        layer += b"".join(_field(numbers[2], _blob(blob, v1=v1)) for blob in blobs)
        parts.append(_field(numbers[3], layer))
    path.write_bytes(b"".join(parts))


def write_keras_h5(path: Path, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """As Keras 2's ``save_weights``: a group per layer, its arrays listed in ``weight_names``."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["backend"] = b"tensorflow"
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}".encode() for name in arrays]
            for name, array in arrays.items():
                group.create_dataset(f"{layer}/{name}", data=array)


def write_peer(path: Path, peer: Peer, tensors: dict[str, np.ndarray], *, old: bool = False) -> None:
    """The file of a project with these tensors; `old`: in the earlier form of its container, where there is one."""
    if peer.project in ("caffe", "ssd_keras"):
        layers: dict[str, dict[str, np.ndarray]] = {name: {} for name, _ in peer.file_layers()}
        for name, array in tensors.items():
            layer, _, end = name.partition("/")
            layers[layer][end] = array
        if peer.project == "ssd_keras":
            write_keras_h5(path, layers)
        else:
            kinds = dict(peer.file_layers())
            write_caffemodel(path, [(n, kinds[n], list(arrays.values())) for n, arrays in layers.items()], v1=old)
    elif peer.project == "chainercv":
        np.savez(path, **tensors)
    elif old:
        write_torch_legacy(path, OrderedDict(peer.contents(tensors)))
    else:
        write_torch_zip(path, OrderedDict(peer.contents(tensors)))
