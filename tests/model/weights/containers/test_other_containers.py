"""Caffe's, Keras's and Chainer's files, foreign files, and what each reader refuses."""

import struct
import zipfile

import h5py
import numpy as np
import pytest
from weight_files import write_caffemodel, write_keras_h5, write_torch_legacy, write_torch_zip

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.read import read_tensors

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BIAS = np.float32([1, 2])


def write_h5(path):
    write_keras_h5(path, {"input_1": {}, "conv": {"kernel:0": KERNEL, "bias:0": BIAS}, "norm": {"norm_gamma:0": BIAS}})


def write_npz(path):
    with path.open("wb") as file:
        np.savez(file, **{"extractor/conv1_1/W": KERNEL, "extractor/conv1_1/b": BIAS})


def write_caffe(path):
    write_caffemodel(path, [("data", "Input", []), ("conv", "Convolution", [KERNEL, BIAS])])


@pytest.mark.parametrize("v1", [False, True], ids=["layer", "layers (V1)"])
def test_caffe(v1, tmp_path):
    path = tmp_path / "net"
    write_caffemodel(path, [("data", "Input", []), ("conv", "Convolution", [KERNEL, BIAS])], v1=v1)
    found = read_tensors(path)
    assert found.container == "caffe"
    assert list(found.tensors) == ["conv.0", "conv.1"]
    np.testing.assert_array_equal(found.tensors["conv.0"], KERNEL)
    np.testing.assert_array_equal(found.tensors["conv.1"], BIAS)


def test_caffe_shape_that_does_not_fit(tmp_path):
    blob = b"\x3a\x02\x0a\x00" + b"\x2a\x04" + struct.pack("<f", 1)  # an empty shape would be one number
    good = b"\xa2\x06" + bytes([len(blob) + 5]) + b"\x0a\x01c" + b"\x3a" + bytes([len(blob)]) + blob
    path = tmp_path / "net"
    path.write_bytes(good)
    assert read_tensors(path).tensors["c.0"].shape == ()
    path.write_bytes(good.replace(b"\x3a\x02\x0a\x00", b"\x3a\x02\x08\x05"))  # dim: 5
    with pytest.raises(InputError, match=r"c\.0 has the shape \(5,\), but 1 values"):
        read_tensors(path)


def test_a_layer_twice_is_refused(tmp_path):
    write_caffemodel(tmp_path / "net", [("conv", "Convolution", [BIAS])] * 2)
    with pytest.raises(InputError, match="the layer 'conv' is there twice"):
        read_tensors(tmp_path / "net")


@pytest.mark.parametrize("is_whole_model", [False, True])
def test_keras(is_whole_model, tmp_path):
    path = tmp_path / "weights"
    write_h5(path)
    if is_whole_model:
        with h5py.File(path, "a") as file:
            file.create_group("model_weights")
            for name in ("conv", "norm"):
                file.move(name, f"model_weights/{name}")
            file.create_group("optimizer_weights")
            del file["input_1"]
    found = read_tensors(path)
    assert found.container == "keras"
    assert found.passed_over == (("optimizer_weights",) if is_whole_model else ())
    assert sorted(found.tensors) == ["conv/bias", "conv/kernel", "norm/gamma"]
    np.testing.assert_array_equal(found.tensors["conv/kernel"], KERNEL)


def link_to_another_file(file):
    del file["conv/conv/kernel:0"]
    file["conv/conv/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/")


def store_outside(file):
    del file["conv/conv/kernel:0"]
    file["conv/conv"].create_dataset("kernel:0", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def claim_too_much(file):
    del file["conv/conv/kernel:0"]
    file["conv/conv"].create_dataset("kernel:0", (10**6, 10**5), "f4", chunks=(100, 100))


def name_a_missing_array(file):
    del file["conv/conv/kernel:0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link_to_another_file, "is not there"),
        (store_outside, "is no array of numbers in this file"),
        (claim_too_much, "claims arrays of more than 4 GiB"),
        (name_a_missing_array, "'conv/kernel:0' is not there"),
    ],
)
def test_keras_files_that_are_refused(change, message, tmp_path):
    path = tmp_path / "weights.h5"
    write_h5(path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        read_tensors(path)


def test_npz(tmp_path):
    write_npz(tmp_path / "weights")
    found = read_tensors(tmp_path / "weights")
    assert found.container == "numpy"
    np.testing.assert_array_equal(found.tensors["extractor/conv1_1/W"], KERNEL)
    np.testing.assert_array_equal(found.tensors["extractor/conv1_1/b"], BIAS)


def test_npz_in_columns_and_big_endian(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.asfortranarray(KERNEL[0, 0]), b=BIAS.astype(">f4"), c=np.float64(3))
    found = read_tensors(tmp_path / "weights.npz").tensors
    np.testing.assert_array_equal(found["a"], KERNEL[0, 0])
    np.testing.assert_array_equal(found["b"], BIAS)
    assert found["c"] == 3


def test_npz_of_objects_and_of_false_claims(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"no \.npz of plain arrays"):
        read_tensors(tmp_path / "objects.npz")
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as archive:
        archive.writestr("a.npy", header + bytes(8))
    with pytest.raises(InputError, match="1000000000000 times float32"):
        read_tensors(tmp_path / "claims.npz")


FOREIGN = {
    "is empty": b"",
    "is a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "is a JPEG image": b"\xff\xd8\xff\xe0" + bytes(40),
    "is a web page": b"\n<!DOCTYPE html><html></html>",
    "is a safetensors file": struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}}',
    "is a pickle, but not one of PyTorch": b"\x80\x04N.",
    "is a gzip archive": b"\x1f\x8b\x08" + bytes(20),
    "is a tar archive": bytes(257) + b"ustar" + bytes(250),
    "is no file of weights that is known": b"name: 'SSD'\nlayer {}\n",
    "cut or damaged, or no file of weights": b"\x0a\xffnot protobuf",
    "but without weights": b"\x0a\x03net",
    "a zip archive that is cut": b"PK\x03\x04" + bytes(40),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_foreign_files_are_named(message, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(FOREIGN[message])
    with pytest.raises(InputError, match=message) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_folders_missing_files_and_other_archives(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(InputError, match=r"nothing\.pth cannot be read: No such file"):
        read_tensors(tmp_path / "nothing.pth")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(InputError, match="neither PyTorch's nor NumPy's"):
        read_tensors(tmp_path / "pictures.zip")


def refusal(path):
    """What is said of a file that is refused, None if it is read; anything else that happens is a fault."""
    try:
        read_tensors(path)
    except InputError as error:
        return str(error)
    return None


def write_torch(path):
    write_torch_zip(path, {"a": KERNEL, "b": BIAS})


def write_legacy(path):
    write_torch_legacy(path, {"a": KERNEL, "b": BIAS})


@pytest.mark.parametrize("write", [write_caffe, write_h5, write_npz, write_torch, write_legacy])
def test_cut_or_flipped_no_reader_does_more_than_refuse(write, tmp_path):
    write(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    path, random = tmp_path / "changed", np.random.default_rng(0)
    refused = 0
    for number in range(300):
        changed = bytearray(content)
        if number % 2:
            changed = changed[: random.integers(len(changed))]
        else:
            for place in random.integers(len(changed), size=3):
                changed[place] = random.integers(256)
        path.write_bytes(changed)
        message = refusal(path)
        refused += message is not None
        assert "\n" not in (message or "")
    assert refused > 75
