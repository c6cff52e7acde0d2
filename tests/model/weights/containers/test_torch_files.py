"""PyTorch's files without PyTorch: both containers, views, types, and files that try to do harm."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest
from weight_files import MAGIC, PROTOCOL, Build, Call, Global, _pickled, write_torch_legacy, write_torch_zip

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.read import read_tensors

WRITERS = {"torch": write_torch_zip, "torch (2017)": write_torch_legacy}
CONTAINERS = pytest.mark.parametrize("container", WRITERS)


def saved(folder, value, container="torch"):
    path = folder / "weights.pth"
    WRITERS[container](path, value)
    return path


def raw_pickle(folder, content, container="torch"):
    """A file whose main pickle is these bytes."""
    path = folder / "raw.pth"
    if container == "torch":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        head = b"".join(pickle.dumps(one, protocol=2) for one in (MAGIC, PROTOCOL, {"little_endian": True}))
        path.write_bytes(head + content + pickle.dumps([], protocol=2))
    return path


@CONTAINERS
def test_tensors_come_back_in_their_order(container, tmp_path):
    random = np.random.default_rng(0)
    tensors = OrderedDict(
        b=random.normal(size=(3, 2, 1, 4)).astype(np.float32), a=np.float32([1.5]), c=np.zeros((0, 3), np.float32)
    )
    found = read_tensors(saved(tmp_path, tensors, container))
    assert found.container == container
    assert list(found.tensors) == ["b", "a", "c"]
    for name, array in tensors.items():
        assert found.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(found.tensors[name], array)


@CONTAINERS
def test_views_and_types(container, tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    values = {
        "transposed": base.T,
        "part": base[1:3, 2:4],
        "every other": base[:, ::2],
        "half": np.array([0.5, -2], np.float16),
        "double": np.array([0.1, 3e-5]),
        "count": np.array([7, 9], np.int64),
    }
    found = read_tensors(saved(tmp_path, values, container)).tensors
    for name, array in values.items():
        wanted = np.int64 if name == "count" else np.float32
        assert found[name].dtype == wanted
        np.testing.assert_array_equal(found[name], array.astype(wanted))


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path):
    path = saved(tmp_path, {"a": np.array([0, 0], np.float16)})
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["archive/data.pkl"] = content["archive/data.pkl"].replace(b"HalfStorage", b"BFloat16Storage")
    content["archive/data/0"] = struct.pack("<HH", 0x3FC0, 0xC000)  # 1.5 is 3FC00000, -2 is C0000000
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], [1.5, -2])


@CONTAINERS
def test_the_weights_are_found_among_other_things(container, tmp_path):
    weights = {"module.x": np.float32([1]), "module.y": np.float32([2])}
    other = {"state": {0: {"momentum": np.float32([9])}}, "args": Call(Global("argparse", "Namespace"), 1)}
    found = read_tensors(saved(tmp_path, {"epoch": 3, "optimizer": other, "state_dict": weights}, container))
    assert list(found.tensors) == ["x", "y"]  # without DataParallel's prefix
    assert found.passed_over == ("epoch", "optimizer")


class Harm:
    """A pickle of it calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def harmful(marker):
    """Pickles that would make the file `marker`, if anything in them were called."""
    touch = f"open({str(marker)!r}, 'w').close()"
    name = str(marker).encode()
    yield "os.system", pickle.dumps({"a": Harm(os.system, f"touch {marker}")}, protocol=2)
    yield "exec", pickle.dumps({"a": Harm(exec, touch)}, protocol=4)
    yield "nested", pickle.dumps(Harm(eval, Harm(str, touch)), protocol=2)
    yield "getattr", pickle.dumps(Harm(getattr, Harm(__import__, "os"), "system"), protocol=3)
    yield "build", b"cposix\nsystem\n)\x81}(X\x01\x00\x00\x00aX\x07\x00\x00\x00touch a" + b"ub."
    yield "instance", b"(S'touch " + name + b"'\nios\nsystem\n."
    yield "object", b"(cos\nsystem\nS'touch " + name + b"'\no."
    yield "extension", b"\x82\x01."
    yield "dictionary", b"ccollections\nOrderedDict\n(cos\nsystem\nS'touch " + name + b"'\ntR."


@CONTAINERS
@pytest.mark.parametrize("kind", [kind for kind, _ in harmful("")])
def test_nothing_that_a_file_names_is_called(container, kind, tmp_path):
    marker = tmp_path / "harm"
    content = dict(harmful(marker))[kind]
    with pytest.raises(InputError):
        read_tensors(raw_pickle(tmp_path, content, container))
    assert not marker.exists()


def test_the_harm_would_be_done_by_an_unpickler(tmp_path):
    marker = tmp_path / "harm"
    pickle.loads(dict(harmful(marker))["os.system"])  # so that the test above can fail
    assert marker.exists()


def test_harm_next_to_good_weights_is_inert(tmp_path):
    value = {"a": np.float32([1]), "b": Call(Global("os", "system"), f"touch {tmp_path}/harm")}
    assert list(read_tensors(saved(tmp_path, value)).tensors) == ["a"]
    assert not (tmp_path / "harm").exists()


def rebuilt(folder, *arguments, numel=4):
    """A file with one tensor, rebuilt with these arguments after the storage's."""
    path = saved(folder, {"a": np.zeros(numel, np.float32)})
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    kind = Global("torch", "FloatStorage")

    class Pickler(pickle._Pickler):
        dispatch: ClassVar = dict(pickle._Pickler.dispatch)

        def persistent_id(self, value):
            return ("storage", kind, "0", "cpu", numel) if value == "STORAGE" else None

    Pickler.dispatch[Global] = lambda self, one: self.write(pickle.GLOBAL + f"{one.module}\n{one.name}\n".encode())
    Pickler.dispatch[Call] = lambda self, call: (
        self.save(call.function),
        self.save(call.arguments),
        self.write(pickle.REDUCE),
    )
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"a": Call(Global("torch._utils", "_rebuild_tensor_v2"), "STORAGE", *arguments)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**content, "archive/data.pkl": buffer.getvalue()}.items():
            archive.writestr(name, data)
    return path


def test_the_rebuilt_tensor_is_read(tmp_path):
    assert read_tensors(rebuilt(tmp_path, 1, (3,), (1,), False, {})).tensors["a"].shape == (3,)


@pytest.mark.parametrize(
    ("arguments", "numel", "message"),
    [
        ((0, (10**6, 10**6), (0, 0)), 4, "1000000000000 elements lies in a storage of 4"),
        ((0, (5,), (0,)), 4, "5 elements lies in a storage of 4"),
        ((1, (4,), (1,)), 4, "reaches to element 4 of a storage of 4"),
        ((0, (2,), (2**61,)), 4, "reaches to element"),
        ((-1, (2,), (1,)), 4, "size or place -1"),
        ((0, (2,), (-1,)), 4, "size or place -1"),
        ((0, (True,), (1,)), 4, "size or place True"),
        ((0, (2.0,), (1,)), 4, "size or place 2.0"),
        ((0, (2,), ()), 4, "elements lies in"),
        ((0, [2], (1,)), 4, "shape of type list"),
        ((0, (1,) * 40, (1,) * 40), 4, "shape of type tuple"),
        ((0, (2,), (1,)), 10**12, "a storage of 4000000000000 bytes has 16"),
    ],
)
def test_sizes_are_held_against_the_file(arguments, numel, message, tmp_path):
    path = rebuilt(tmp_path, *arguments, False, {})
    if numel != 4:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        pickled = content["archive/data.pkl"].replace(b"K\x04tq", b"\x8a\x06" + numel.to_bytes(6, "little") + b"tq")
        assert pickled != content["archive/data.pkl"]
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**content, "archive/data.pkl": pickled}.items():
                archive.writestr(name, data)
    with pytest.raises(InputError, match=message):
        read_tensors(path)


GREEDY = {
    "memo": b"\x80\x02}r\xff\xff\xff\x7f.",  # LONG_BINPUT to number 2**31 - 1: an array of 16 GiB
    "put": b"\x80\x02}p99999999999\n.",
    "bytes": b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc.",
    "text": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"abc.",
    "frame": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"}.",
    "number": b"\x80\x02\x8b" + (2**30).to_bytes(4, "little") + b"a.",
    "bytearray": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"a.",
    "tuples": b"\x80\x02)" + b"\x85" * 10**6 + b".",
    "tuples as keys": b"\x80\x02}(" + b")" + b"\x85" * 10**6 + b"K\x01u.",
    "lists": b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
    "doubling": b"\x80\x02}q\x00(X\x01\x00\x00\x00a]q\x01u" + b"0h\x01h\x01h\x01\x86" * 60 + b".",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@CONTAINERS
def test_what_a_file_claims_is_not_allocated(container, tmp_path):
    paths = []
    for kind, content in GREEDY.items():
        path = raw_pickle(tmp_path, content, container)
        paths.append(path.rename(tmp_path / f"{kind}.pth"))
    script = """
import resource, sys
from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.read import read_tensors
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 28),) * 2)
for path in sys.argv[1:]:
    try:
        read_tensors(path)
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-500:]
    assert len(done.stdout.splitlines()) == len(GREEDY)
    assert "memory" not in done.stdout.lower()


def test_what_was_checked_cannot_be_changed_afterwards(tmp_path):
    array = np.arange(4, dtype=np.float32)
    path = saved(tmp_path, {"a": Build(array, {"size": (10**6, 10**6), "stride": (0, 0), "__class__": 1})})
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], array)


def test_a_compressed_entry_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(InputError, match="compressed"):
        read_tensors(path)


def test_what_is_no_state_dict_is_named(tmp_path):
    whole = Call(Global("models.ssd", "SSD"), 1)
    for value, message in (
        (whole, r"found models\.ssd\.SSD"),
        ([1, 2], "found list"),
        ({"epoch": 1}, "found none"),
    ):
        with pytest.raises(InputError, match=rf"expected a dictionary of tensors \(a state_dict\), {message}"):
            read_tensors(saved(tmp_path, value))


def test_a_torchscript_program_is_named(tmp_path):
    path = saved(tmp_path, {"a": np.float32([1])})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(InputError, match=r"TorchScript program; save the model's state_dict\(\)"):
        read_tensors(path)


@CONTAINERS
def test_cut_anywhere_it_is_refused_by_name(container, tmp_path):
    content = saved(tmp_path, {"a": np.arange(100, dtype=np.float32), "b": np.float32([1])}, container).read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        path = tmp_path / "cut.pth"
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.pth"):
            read_tensors(path)


@CONTAINERS
def test_flipped_bytes_never_crash(container, tmp_path):
    content = saved(tmp_path, {"a": np.arange(9, dtype=np.float32), "b": {"c": 1}}, container).read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(600):
        changed = bytearray(content)
        for place in random.integers(len(changed), size=random.integers(1, 4)):
            changed[place] = random.integers(256)
        path = tmp_path / "flipped.pth"
        path.write_bytes(changed)
        message = ""
        try:
            read_tensors(path)
        except InputError as error:
            message = str(error)
        refused += bool(message)
        assert "\n" not in message
    assert refused > 100


def test_the_writer_is_torchs_own_form(tmp_path):
    content, _ = _pickled({"a": np.float32([1])}, legacy=False)
    assert b"ctorch._utils\n_rebuild_tensor_v2\n" in content
    assert b"ctorch\nFloatStorage\n" in content
