"""The lease on a folder: one holder at a time, and none left by a killed one."""

import errno
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssd300.datasets.errors import InputError, StorageError
from ssd300.preprocessing.support.lease import NAME, lease

_HOLDER = """
import sys, time
from ssd300.preprocessing.support.lease import lease
with lease(sys.argv[1], what="a test"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_lease_is_exclusive_and_ends(tmp_path: Path, scheme: str) -> None:
    folder = f"{scheme}{tmp_path}"
    with lease(folder, what="first"):
        with pytest.raises(InputError, match=rf"in use by first, process {os.getpid()}"), lease(folder, what="second"):
            pass
        assert json.loads((tmp_path / NAME).read_text())["what"] == "first"
    assert not list(tmp_path.iterdir())
    with lease(folder, what="second"):
        pass


def test_killed_owner_leaves_a_free_lease(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {owner.pid}"), lease(str(tmp_path), what="second"):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with lease(str(tmp_path), what="second"):
        assert json.loads((tmp_path / NAME).read_text())["what"] == "second"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("age", "refused"), [(30, True), (90, False)])
def test_lease_of_another_host_expires(tmp_path: Path, age: float, refused: bool) -> None:
    held = {"what": "train", "host": "elsewhere", "pid": 1, "id": "x", "renewed": time.time() - age}
    (tmp_path / NAME).write_text(json.dumps(held))
    if refused:
        with pytest.raises(InputError, match="on elsewhere"), lease(str(tmp_path), what="test"):
            pass
        assert json.loads((tmp_path / NAME).read_text()) == held
    else:
        with lease(str(tmp_path), what="test"):
            pass


def test_damaged_lease_is_free(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"what": 1')
    with lease(str(tmp_path), what="test"):
        pass


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"left by a crash")

    def attempt(number: int) -> bool:
        try:
            with lease(str(tmp_path), what=f"{number}"):
                time.sleep(1)
                return True
        except InputError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_predecessor_with_this_process_s_number_holds_nothing(tmp_path: Path) -> None:
    """In a container that was started again, processes get the same numbers."""
    left = {"what": "train", "host": platform.node(), "pid": os.getpid(), "id": "x", "renewed": time.time()}
    (tmp_path / NAME).write_text(json.dumps(left))
    with lease(str(tmp_path), what="test"):
        pass


def test_what_killed_holders_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (f"{NAME}.tmp-{32 * 'd'}", f"{NAME}.tmp-mine", f"x.tmp-{32 * 'd'}"):
        (tmp_path / name).touch()
    with lease(str(tmp_path), what="test"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {f"{NAME}.tmp-mine", f"x.tmp-{32 * 'd'}"}


def test_a_renewal_that_fails_once_is_made_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["ssd300.preprocessing.support.lease"]
    write, failed = module.write_atomically, []

    def fail_once(path: str, text: str) -> None:
        if len(failed) == 1:
            failed.append(path)
            raise StorageError(path, "Input/output error", "written")
        failed.append(path)
        write(path, text)

    monkeypatch.setattr(module, "_RENEW", 0.05)
    monkeypatch.setattr(module, "write_atomically", fail_once)
    with lease(str(tmp_path), what="test"):
        first = json.loads((tmp_path / NAME).read_text())["renewed"]
        deadline = time.monotonic() + 10
        while len(failed) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert json.loads((tmp_path / NAME).read_text())["renewed"] > first


def test_a_lease_is_taken_over_although_another_one_died_while_it_did_so(tmp_path: Path) -> None:
    gone = {"what": "train", "host": "elsewhere", "pid": 1, "id": "x", "renewed": time.time() - 90}
    (tmp_path / NAME).write_text(json.dumps(gone))
    digest = hashlib.sha256((tmp_path / NAME).read_bytes()).hexdigest()[:32]
    (tmp_path / f"{NAME}.tmp-{digest}").write_text(json.dumps(gone | {"id": "y"}))
    with lease(str(tmp_path), what="test"):
        assert json.loads((tmp_path / NAME).read_text())["what"] == "test"
    assert not list(tmp_path.iterdir())


def test_a_lease_works_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, refused = lease(str(tmp_path), what="first"), pytest.raises(InputError, match="in use by first")
    with first, refused, lease(str(tmp_path), what="second"):
        pass
    assert not list(tmp_path.iterdir())
