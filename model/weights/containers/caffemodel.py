"""Caffe's ``.caffemodel``, read with protobuf and a descriptor of the few fields that hold weights.

Field numbers are those of ``caffe.proto`` on Caffe's branch ``ssd``, for today's layers and the earlier kind (V1).
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.stored import StoredTensors

_MOST_BYTES = (1 << 31) - 1  # of a file; protobuf reads no more
_MOST_DIMENSIONS = 8
_KINDS = descriptor_pb2.FieldDescriptorProto
# Message: fields of (name, number, type, or the message that it is, and whether it repeats).
_MESSAGES: dict[str, tuple[tuple[str, int, Any, bool], ...]] = {
    "BlobShape": (("dim", 1, _KINDS.TYPE_INT64, True),),
    "BlobProto": (
        ("num", 1, _KINDS.TYPE_INT32, False),
        ("channels", 2, _KINDS.TYPE_INT32, False),
        ("height", 3, _KINDS.TYPE_INT32, False),
        ("width", 4, _KINDS.TYPE_INT32, False),
        ("data", 5, _KINDS.TYPE_BYTES, True),  # packed floats, whose bytes NumPy reads a hundred times faster
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, _KINDS.TYPE_BYTES, True),  # the same of doubles
    ),
    "LayerParameter": (("name", 1, _KINDS.TYPE_STRING, False), ("blobs", 7, "BlobProto", True)),
    "V1LayerParameter": (("name", 4, _KINDS.TYPE_STRING, False), ("blobs", 6, "BlobProto", True)),
    "NetParameter": (
        ("name", 1, _KINDS.TYPE_STRING, False),
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ),
}


@cache
def net_parameter() -> type:
    """The message class of a network."""
    file = descriptor_pb2.FileDescriptorProto(name="ssd300/caffe.proto", package="ssd300.caffe", syntax="proto2")
    for message, entries in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in entries:
            one = described.field.add(name=name, number=number)
            one.label = _KINDS.LABEL_REPEATED if repeated else _KINDS.LABEL_OPTIONAL
            if isinstance(kind, str):
                one.type, one.type_name = _KINDS.TYPE_MESSAGE, f".ssd300.caffe.{kind}"
            else:
                one.type = kind
                one.options.packed = repeated and kind != _KINDS.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ssd300.caffe.NetParameter"))


def read_caffemodel(path: Path) -> StoredTensors:
    """The blobs of all layers, as ``layer.0`` (kernel) and ``layer.1`` (bias).

    Raises:
        InputError: the file is damaged, or no network of Caffe.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} is no file of weights that is known, and too large for a network of Caffe")
    try:
        net = net_parameter().FromString(path.read_bytes())  # type: ignore[attr-defined]
    except (DecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is cut or damaged, or no file of weights that is known") from None
    tensors: dict[str, np.ndarray] = {}
    for layer in [*net.layer, *net.layers]:
        label = str(layer.name)  # bytes, if it is no UTF-8
        for index, blob in enumerate(layer.blobs):
            name = f"{label}.{index}"
            if name in tensors:
                raise InputError(f"{path}: the layer {label!a} is there twice")
            tensors[name] = _array(blob, f"{path}: {ascii(name)[1:-1]}")
    if not tensors:
        raise InputError(
            f"{path} is no file of weights that is known: it may be a network of Caffe, but without weights"
        )
    return StoredTensors("caffe", tensors)


def _array(blob: Any, where: str) -> np.ndarray:
    content, dtype = (b"".join(blob.data), "<f4") if len(blob.data) else (b"".join(blob.double_data), "<f8")
    if len(content) % np.dtype(dtype).itemsize:
        raise InputError(f"{where} has {len(content)} bytes, no whole number of values")
    array = np.frombuffer(content, dtype).astype(np.float32)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    if len(shape) > _MOST_DIMENSIONS:
        raise InputError(f"{where} has {len(shape)} dimensions")
    # NumPy refuses some shapes of no elements, too.
    if any(not 0 <= side <= len(content) for side in shape) or math.prod(shape) != array.size:
        raise InputError(f"{where} has the shape {shape}, but {array.size} values")
    array = array.reshape(shape)
    # A vector of the earlier kind has four dimensions, too.
    return array.reshape(-1) if len(shape) == 4 and shape[:3] == (1, 1, 1) else array
