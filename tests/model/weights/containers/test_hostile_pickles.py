"""Pickles that change what was checked, or that would take all time or memory; each by hand, operation by operation."""

import pickle
import pickletools
import resource
import signal
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from weight_files import MAGIC, PROTOCOL

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers import safe_pickle
from ssd300.model.weights.containers.read import read_tensors

NUMBERS = np.float32([1, 2, 3, 4])
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
TENSOR = REBUILD + b"(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89}tR"  # offset 0, size (4,), stride (1,)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def entry(value: bytes, name: str = "a") -> bytes:
    """The pickle of a dictionary with one value."""
    return b"\x80\x02}" + text(name) + value + b"s."


def written(folder, content: bytes, numbers: np.ndarray = NUMBERS):
    path = folder / "hostile.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", numbers.tobytes())
    return path


def test_the_plain_tensor_is_read(tmp_path):
    np.testing.assert_array_equal(read_tensors(written(tmp_path, entry(TENSOR))).tensors["a"], NUMBERS)


@pytest.mark.parametrize(
    "state",
    [
        b"}" + text("size") + b"J\x00\x00\x10\x00\x85s",  # attributes: 2**20 elements
        b"N}" + text("size") + b"J\x00\x00\x10\x00\x85s\x86",  # attributes set one by one
        b"]",
        b"(" + STORAGE + b"K\x00J\x00\x00\x10\x00\x85K\x01\x85t",  # fields in their order
    ],
)
def test_a_tensor_stays_as_it_was_checked(state, tmp_path):
    found = read_tensors(written(tmp_path, entry(TENSOR + state + b"b")))
    np.testing.assert_array_equal(found.tensors["a"], NUMBERS)


def test_a_storage_stays_as_it_was_checked(tmp_path):
    build = STORAGE + b"}" + text("numel") + b"J\x00\x00\x10\x00sb"
    found = read_tensors(written(tmp_path, entry(TENSOR.replace(STORAGE, build))))
    np.testing.assert_array_equal(found.tensors["a"], NUMBERS)


def test_functions_of_the_reader_stay_as_they_are(tmp_path):
    before = dict(vars(safe_pickle._rebuild_tensor)), safe_pickle._rebuild_tensor.__defaults__
    for name in ("__defaults__", "call"):
        for state in (b"}" + text(name) + b")s", b"N}" + text(name) + b")s\x86"):
            content = b"\x80\x02}(" + text("x") + REBUILD + state + b"b" + text("a") + TENSOR + b"u."
            assert list(read_tensors(written(tmp_path, content)).tensors) == ["a"]
    assert (dict(vars(safe_pickle._rebuild_tensor)), safe_pickle._rebuild_tensor.__defaults__) == before


def test_an_ordered_dictionary_keeps_its_methods(tmp_path):
    # Real files give an OrderedDict a state, too: its _metadata.
    made = b"\x80\x02ccollections\nOrderedDict\n)R(" + text("a") + TENSOR + b"u"
    state = b"}(" + text("items") + b"K\x01" + text("__class__") + b"cbuiltins\nlist\nu"
    assert list(read_tensors(written(tmp_path, made + state + b"b.")).tensors) == ["a"]


def test_whatever_is_done_with_an_unknown_name_nothing_happens(tmp_path):
    unknown = b"cposix\nsystem\n"
    value = unknown + text(f"touch {tmp_path}/harm") + b"\x85R"  # REDUCE
    value += text("x") + b"\x85R"  # and what came of it
    value += b"}" + text("y") + b"K\x01sb"  # BUILD
    value += b"(K\x01K\x02e" + b"K\x03a"  # APPENDS, APPEND
    value += b"(K\x01K\x02u" + b"K\x01K\x02s"  # SETITEMS, SETITEM
    value += b"(K\x01\x90"  # ADDITEMS
    content = b"\x80\x04}(" + text("x") + value + text("y") + text("posix") + text("system") + b"\x93)\x81"
    content += text("z") + unknown + b")}\x92" + text("a") + TENSOR + b"u."
    found = read_tensors(written(tmp_path, content))
    assert list(found.tensors) == ["a"]
    assert found.passed_over == ("x", "y", "z")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (TENSOR + b"K\x01a", "appends to Tensor"),
        (TENSOR + b"(K\x01e", "appends to Tensor"),
        (b"]K\x01K\x02s", "sets items of list"),
        (b"]\x28K\x01\x90", "adds to list"),
        (b"}]K\x01s", "has list as a key"),
        (b"}" + TENSOR + b"K\x01s", "has Tensor as a key"),
        (b"}\x8a\x08" + b"\xff" * 7 + b"\x1fK\x01s", "as a key"),  # 2**61 - 1, whose hash is that of 0
        (b"\x8b\x01\x00\x00\x00\x05", "LONG4"),
        (b"ccollections\nOrderedDict\nK\x01\x85R", "cut or damaged"),
        (REBUILD + b")R", "cut or damaged"),
        (STORAGE + b"0(" + STORAGE.replace(b"Float", b"Double"), "is of two types"),
    ],
)
def test_what_no_file_of_weights_does_is_refused(value, message, tmp_path):
    content = entry(value.removesuffix(b"Q") + b"Q0K\x01" if value.endswith(b"Q") else value)
    with pytest.raises(InputError, match=message):
        read_tensors(written(tmp_path, content))


# A tuple of one tuple twice, 60 times: its hash takes 2**60 steps, its text 2**60 letters.
DOUBLED = b"K\x01\x85q\x000" + b"h\x00h\x00\x86q\x000" * 60 + b"h\x00"
ENDLESS = {
    "a key": entry(b"}" + DOUBLED + b"K\x01s"),
    "the name of a tensor": b"\x80\x02}" + DOUBLED + TENSOR + b"s.",
    "a member": b"\x80\x04}" + text("a") + b"\x8f(" + DOUBLED + b"\x90s.",
    "a frozen set": b"\x80\x04}" + text("a") + b"(" + DOUBLED + b"\x91s.",
    "a dictionary at once": b"\x80\x02(" + DOUBLED + b"K\x01d.",
    "an ordered dictionary": entry(b"ccollections\nOrderedDict\n]" + DOUBLED + b"K\x01\x86a\x85R"),
}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the alarm is POSIX's")
@pytest.mark.parametrize("kind", ENDLESS)
def test_doubled_tuples_are_not_hashed(kind, tmp_path):
    path = written(tmp_path, ENDLESS[kind])
    # Hashing never looks for signals: only the end of the process ends it.
    script = "import signal, sys; signal.alarm(60)\nfrom ssd300.model.weights.containers.read import read_tensors\n"
    script += "try: read_tensors(sys.argv[1])\nexcept ValueError as error: print(type(error).__name__, error)"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0
    assert done.stdout.startswith("InputError")
    assert "has tuple as a key" in done.stdout


def test_doubled_tuples_elsewhere_are_passed_over(tmp_path):
    content = b"\x80\x02}(" + text("x") + DOUBLED + text("a") + TENSOR + b"u."
    assert read_tensors(written(tmp_path, content)).passed_over == ("x",)


def test_a_thousand_views_of_one_storage_are_refused(tmp_path):
    numbers = np.ones(100_000, np.float32)
    large = TENSOR.replace(b"K\x04", b"J" + struct.pack("<i", numbers.size))
    few, many = (b"\x80\x02}(" + b"".join(text(str(i)) + large for i in range(count)) + b"u." for count in (3, 1000))
    assert len(read_tensors(written(tmp_path, few, numbers)).tensors) == 3
    with pytest.raises(InputError, match="its tensors have 100000000 elements together"):
        read_tensors(written(tmp_path, many, numbers))


@pytest.mark.parametrize(("operation", "count"), [(b"\x8f", 10**5), (b"cA\nB\n", 3 * 10**6), (b"}", 3 * 10**6)])
def test_small_operations_that_make_large_objects_are_counted(operation, count, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"more than 20000 tuples and sets|too long"):
        read_tensors(written(tmp_path, b"\x80\x04" + operation * count + b"."))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (200 << 20 if sys.platform == "darwin" else 200 << 10)  # 200 MiB


def claiming(path, field: bytes, name: bytes = b"archive/data/0"):
    """Changes the archive's claims of the size of an entry."""
    content = bytearray(path.read_bytes())
    place = content.rindex(name) - 46  # the last is in the directory
    assert content[place : place + 4] == b"PK\x01\x02"
    content[place + 20 : place + 20 + len(field)] = field  # compressed size, size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "field", [b"\xf0\xff\xff\x7f" * 2, struct.pack("<II", 16, 2**31 - 16), struct.pack("<II", 2**31 - 16, 16)]
)
def test_what_an_archive_claims_is_held_against_the_file(field, tmp_path):
    path = claiming(written(tmp_path, entry(TENSOR)), field)
    with pytest.raises(InputError, match=r"claims 2147483632 bytes, more than are there|claims 16 bytes"):
        read_tensors(path)


def legacy(folder, content: bytes, keys: list[str], data: bytes, system=None):
    path = folder / "legacy.pth"
    head = b"".join(pickle.dumps(one, protocol=2) for one in (MAGIC, PROTOCOL, system or {"little_endian": True}))
    path.write_bytes(head + content + pickle.dumps(keys, protocol=2) + data)
    return path


ONE_STORAGE = struct.pack("<q", 4) + NUMBERS.tobytes()


def test_the_older_stream_is_little_endian_whoever_wrote_it(tmp_path):
    path = legacy(tmp_path, entry(TENSOR), ["0"], ONE_STORAGE, {"little_endian": False})
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], NUMBERS)


def test_storages_in_unknown_objects_are_stepped_over(tmp_path):
    # The tensor with key 1 is in the state of an optimizer, which is inert; its data comes first.
    other = TENSOR.replace(text("0"), text("1")).replace(b"FloatStorage", b"DoubleStorage")
    optimizer = b"ctorch.optim.sgd\nSGD\n)\x81}" + text("momentum") + other + b"sb"
    content = b"\x80\x02}(" + text("optimizer") + optimizer + text("a") + TENSOR + b"u."
    path = legacy(tmp_path, content, ["1", "0"], struct.pack("<q", 4) + bytes(32) + ONE_STORAGE)
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], NUMBERS)


def test_a_view_of_a_storage_in_the_older_stream(tmp_path):
    view = STORAGE.removesuffix(b"tQ") + b"(X\x01\x00\x00\x00vK\x01K\x02ttQ"  # two elements from the second
    tensor = REBUILD + b"(" + view + b"K\x00K\x02\x85K\x01\x85\x89}tR"
    path = legacy(tmp_path, entry(tensor), ["0"], ONE_STORAGE)
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], [2, 3])
    far = entry(tensor.replace(b"vK\x01K\x02", b"vK\x03K\x02"))
    with pytest.raises(InputError, match="it is cut: a storage of 20 bytes has 16"):
        read_tensors(legacy(tmp_path, far, ["0"], ONE_STORAGE))


@pytest.mark.parametrize(
    ("keys", "data", "message"),
    [
        (["0"], struct.pack("<q", 10**12), "storage 1 of 1 has 4000000000000 bytes"),
        (["0"], struct.pack("<q", -1), "size or place -1"),
        (["0"], b"\x04\x00", "0 of 1 storages are there"),
        (["7"], ONE_STORAGE, "its pickle does not name storage 1 of 1"),
        ([], b"", "a tensor's storage is not there"),
        ([0], ONE_STORAGE, "its list of storages cannot be read"),
    ],
)
def test_what_the_older_stream_claims_is_held_against_the_file(keys, data, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_tensors(legacy(tmp_path, entry(TENSOR), keys, data))


def test_a_whole_network_in_the_older_stream_is_named(tmp_path):
    module = b"(" + text("module") + b"cmodels.ssd\nSSD\nN" + text("class SSD: ...") + b"tQ)\x81}b"
    with pytest.raises(InputError, match=r"expected a dictionary of tensors \(a state_dict\), found models\.ssd\.SSD"):
        read_tensors(legacy(tmp_path, b"\x80\x02" + module + b".", [], b""))


def test_any_program_is_read_or_refused(tmp_path):
    # The archive's checksums are right, so that the pickle runs.
    content = b"\x80\x02}(" + text("a") + TENSOR + text("b") + b"ccollections\nOrderedDict\n)R}b" + b"u."
    operations = [one.code.encode("latin-1") for one in pickletools.opcodes]
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(3000):
        changed = bytearray(content)
        for _ in range(random.integers(1, 4)):
            kind, place = random.integers(4), random.integers(2, len(changed))
            if kind == 0:
                changed[place] = random.integers(256)
            elif kind == 1:
                changed[place : place + 1] = operations[random.integers(len(operations))]
            elif kind == 2:
                del changed[place : place + random.integers(1, 5)]
            else:
                changed[place:place] = changed[(other := random.integers(len(changed))) : other + 20]
        message = ""
        try:
            found = read_tensors(written(tmp_path, bytes(changed)))
            assert all(array.size <= 4 for array in found.tensors.values())
        except InputError as error:
            message = str(error)
        assert "\n" not in message
        assert message.startswith(str(tmp_path) if message else "")
        outcomes.add("refused" if message else "read")
    assert outcomes == {"read", "refused"}
