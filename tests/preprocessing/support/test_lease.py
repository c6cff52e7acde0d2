"""The lease on a folder: one holder at a time, and none left by a killed one."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssd300.datasets.errors import InputError
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
