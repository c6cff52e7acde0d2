"""Files of Caffe, Keras and Chainer that claim more than they hold, or lead to other files."""

import io
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest
from weight_files import _field, _varint, write_keras_h5

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.read import read_tensors

VALUES = np.float32([1, 2, 3])


def network(folder, shape: tuple[int, ...], values: np.ndarray, name: bytes = b"c", *, field: int = 5):
    path = folder / "net"
    blob = _field(7, _field(1, b"".join(map(_varint, shape)))) + _field(field, values.tobytes())
    path.write_bytes(_field(1, b"net") + _field(100, _field(1, name) + _field(7, blob)))
    return path


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1,) * 70 + (3,), "71 dimensions"),
        ((0, 2**62), r"the shape \(0, 4611686018427387904\), but 3 values"),
        ((2**63 - 1, 3), "but 3 values"),
        ((4,), r"the shape \(4,\), but 3 values"),
        ((), r"the shape \(\), but 3 values"),
    ],
)
def test_shapes_of_caffe_that_do_not_fit(shape, message, tmp_path):
    with pytest.raises(InputError, match=rf"net: c\.0 has {message}" if "dim" in message else message):
        read_tensors(network(tmp_path, shape, VALUES))


def test_an_empty_shape_of_caffe_that_numpy_refuses(tmp_path):
    assert read_tensors(network(tmp_path, (0, 0), VALUES[:0])).tensors["c.0"].shape == (0, 0)
    with pytest.raises(InputError, match="but 0 values"):
        read_tensors(network(tmp_path, (0, 2**62, 8), VALUES[:0]))


def test_doubles_of_caffe_are_float32(tmp_path):
    found = read_tensors(network(tmp_path, (3,), VALUES.astype(np.float64), field=8)).tensors["c.0"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES)


def test_a_layer_of_caffe_whose_name_is_no_text(tmp_path):
    (name,) = read_tensors(network(tmp_path, (3,), VALUES, b"\xff\xfe")).tensors
    assert name.endswith(".0")
    assert name.isascii()


def test_a_file_too_large_for_protobuf_is_not_read(tmp_path):
    path = network(tmp_path, (3,), VALUES)
    with path.open("r+b") as file:
        file.truncate(3 << 30)  # a hole, which takes no space
    start = time.perf_counter()
    with pytest.raises(InputError, match="too large for a network of Caffe"):
        read_tensors(path)
    assert time.perf_counter() - start < 1


def keras(folder):
    path = folder / "weights.h5"
    write_keras_h5(path, {"conv": {"kernel:0": VALUES}})
    return path


@pytest.mark.parametrize("link", [h5py.ExternalLink("weights.h5", "/"), h5py.SoftLink("/conv")])
def test_a_whole_model_of_keras_that_is_a_link_is_refused(link, tmp_path):
    keras(tmp_path)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["model_weights"] = link
        file.create_group("conv")
    with pytest.raises(InputError, match="'model_weights' is no group in this file"):
        read_tensors(tmp_path / "model.h5")


def test_a_layer_of_keras_that_is_a_link_is_refused(tmp_path):
    with h5py.File(keras(tmp_path), "a") as file:
        file["other"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(InputError, match="expected a group per layer, but 'other' is none"):
        read_tensors(tmp_path / "weights.h5")


def test_a_virtual_array_of_keras_is_refused(tmp_path):
    keras(tmp_path)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "weights.h5", "conv/conv/kernel:0", (3,))
        file.create_group("conv").create_virtual_dataset("kernel:0", layout)
        file["conv"].attrs["weight_names"] = [b"kernel:0"]
    with pytest.raises(InputError, match="is no array of numbers in this file"):
        read_tensors(tmp_path / "virtual.h5")


def test_an_array_of_keras_that_was_never_written_is_refused(tmp_path):
    with h5py.File(keras(tmp_path), "a") as file:
        del file["conv/conv/kernel:0"]
        file["conv/conv"].create_dataset("kernel:0", (30_000, 30_000), "f4", chunks=(100, 100))  # 3.6 GB of zeros
    with pytest.raises(InputError, match=r"the shape \(30000, 30000\), but holds less"):
        read_tensors(tmp_path / "weights.h5")


def test_a_compressed_array_of_keras_is_read(tmp_path):
    zeros = np.zeros((1000, 1000), np.float32)  # which deflate makes a thousandth of
    with h5py.File(keras(tmp_path), "a") as file:
        del file["conv/conv/kernel:0"]
        file["conv/conv"].create_dataset(
            "kernel:0", data=zeros, compression="gzip", compression_opts=9, chunks=zeros.shape
        )
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.h5").tensors["conv/kernel"], zeros)


@pytest.mark.parametrize("names", [3, [1, 2], ["conv/kernel:0"] * 2])
def test_names_of_weights_that_are_none(names, tmp_path):
    with h5py.File(keras(tmp_path), "a") as file:
        file["conv"].attrs["weight_names"] = names
    with pytest.raises(InputError, match="weight_names of '/conv'"):
        read_tensors(tmp_path / "weights.h5")


def test_names_of_weights_that_are_lists_of_numbers(tmp_path):
    with h5py.File(keras(tmp_path), "a") as file:
        names = np.empty(1, object)
        names[0] = np.frombuffer(b"conv", np.uint8)
        file["conv"].attrs.create("weight_names", names, (1,), h5py.vlen_dtype(np.uint8))
    with pytest.raises(InputError, match="weight_names of '/conv' is no list of texts"):
        read_tensors(tmp_path / "weights.h5")


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def test_a_large_compressed_npz_takes_a_time_that_grows_with_its_size(tmp_path):
    values = np.random.default_rng(0).random(5_000_000, np.float32)
    with (tmp_path / "weights.npz").open("wb") as file:
        np.savez_compressed(file, a=values)
    start = time.perf_counter()
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.npz").tensors["a"], values)
    assert time.perf_counter() - start < 10


def test_an_npz_that_claims_more_than_deflate_can_hold(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(VALUES))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 2**31)  # size of the entry
    path.write_bytes(content)
    with pytest.raises(InputError, match="claims arrays of more bytes than it can hold"):
        read_tensors(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_npz_compressed_otherwise_is_refused(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w", method) as archive:
        archive.writestr("a.npy", npy(VALUES))
    with pytest.raises(InputError, match="'a' is compressed as NumPy does not do it"):
        read_tensors(tmp_path / "weights.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_of_an_npz_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", npy(VALUES))
        archive.writestr("a.npy", npy(VALUES))
    with pytest.raises(InputError, match="'a' is there twice"):
        read_tensors(tmp_path / "weights.npz")


@pytest.mark.parametrize("shape", ["(-1,)", "(-3, -1)", "(2, 3", "(1.0,)", "(" + "1," * 70 + ")", "(99999999999,)"])
def test_shapes_of_an_npz_that_are_none(shape, tmp_path):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + VALUES.tobytes()
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match="cut or damaged"):
        read_tensors(tmp_path / "weights.npz")


@pytest.mark.parametrize("content", [b"\x80", b"PK\x03\x04", b"\x0a", b"<", b"\x89HDF\r\n\x1a\n", b"\xff", b"\x00"])
def test_a_file_of_few_bytes_is_refused(content, tmp_path):
    (tmp_path / "short").write_bytes(content)
    with pytest.raises(InputError, match="short"):
        read_tensors(tmp_path / "short")


@pytest.mark.parametrize("content", ["# SSD\n\nWeights: …\n", "\n{}\n", "404: Not Found", "é" * 3000])
def test_text_is_named(content, tmp_path):
    (tmp_path / "weights.caffemodel").write_bytes(content.encode())
    with pytest.raises(InputError, match="is no file of weights that is known, but text"):
        read_tensors(tmp_path / "weights.caffemodel")


def with_many_names(folder):
    """A file with several heaps of texts of variable length, as h5py 3 writes lists of names."""
    path = folder / "many.h5"
    write_keras_h5(path, {f"a_long_name_of_layer_{number}": {"kernel:0": VALUES} for number in range(300)})
    assert path.read_bytes().count(b"GCOL\1") > 3
    return path


def test_heaps_of_names_are_read(tmp_path):
    assert len(read_tensors(with_many_names(tmp_path)).tensors) == 300


@pytest.mark.parametrize(
    ("place", "number"),
    [(8, 4096 + 195), (8, 0), (8, 2**63), (8, 2**64 - 1), (24, 2**64 - 1), (24, 2**40)],
    ids=["longer", "empty", "beyond the file", "as long as can be", "a text to wrap around", "a long text"],
)
def test_a_damaged_heap_of_names_is_refused(place, number, tmp_path):
    path = with_many_names(tmp_path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL\1")
    content[heap + place : heap + place + 8] = struct.pack("<Q", number)
    path.write_bytes(content)
    with pytest.raises(InputError, match="a heap of texts is not as HDF5 writes it"):
        read_tensors(path)
