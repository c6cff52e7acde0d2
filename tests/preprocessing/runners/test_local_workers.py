"""The worker processes: they are forked from a process of one thread, use no GPU, and end with their launcher."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from small_job import settings_of

from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners import beam_pipeline
from ssd300.preprocessing.runners.beam_pipeline import EncodeShard
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.shards import encode_shard
from ssd300.preprocessing.shards.encode_shard import ShardWork
from ssd300.preprocessing.support.quiet import import_tensorflow

# Python runs a module of this name before all else.
_SPY = """
import os, threading
fork = os.fork
def spy():
    with open(os.environ["SPY"], "a") as file:
        threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
        print(threading.active_count(), threads, file=file)
    return fork()
os.fork = spy
"""


def test_no_thread_is_alive_when_the_workers_are_forked(settings, output, tmp_path, monkeypatch):
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy/sitecustomize.py").write_text(_SPY)
    monkeypatch.setenv("SPY", str(tmp_path / "seen"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/spy{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    preprocess(settings, output, Execution(workers=2))
    assert (tmp_path / "seen").read_text().split("\n") == ["1 1", "1 1", ""]


_LAUNCHER = """
import os
from ssd300.preprocessing.runners.local_workers import LocalWorkers
print(LocalWorkers()._process.pid, flush=True)
os._exit(0)
"""


def test_workers_that_still_import_end_with_their_launcher():
    launcher = subprocess.run([sys.executable, "-c", _LAUNCHER], capture_output=True, text=True)
    deadline = time.monotonic() + 30
    while is_running(launcher.stdout.strip()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(launcher.stdout.strip())
    assert "Traceback" not in launcher.stderr


def is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def hidden(monkeypatch) -> list[tuple]:
    calls: list[tuple] = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize(("gpus", "expected"), [(True, []), (False, [([], "GPU")])])
def test_a_process_that_only_preprocesses_starts_without_gpus(hidden, gpus, expected):
    import_tensorflow(gpus=gpus)
    assert hidden == expected


def test_gpus_that_tensorflow_has_begun_with_stay(monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    import_tensorflow(gpus=False)


def test_workers_elsewhere_hide_the_gpus_and_the_launcher_keeps_them_for_its_training(hidden, monkeypatch):
    sent = pickle.dumps(EncodeShard(ShardWork(settings_of(FolderSource("train", "x")), None, "reports")))
    pickle.loads(sent).setup()
    assert hidden == []
    monkeypatch.setattr(beam_pipeline, "_this_process", lambda: ("elsewhere", 1))
    pickle.loads(sent).setup()
    assert hidden == [([], "GPU")]


def test_records_are_made_on_the_cpu_wherever_they_are_made(settings, output, monkeypatch):
    from tensorflow.python.eager import context

    devices, encode = set(), encode_shard.encode_pictures

    def spy(*arguments):
        devices.add(context.context().device_name)
        return encode(*arguments)

    monkeypatch.setattr(encode_shard, "encode_pictures", spy)
    preprocess(settings, output)
    assert {name.rpartition("/")[2] for name in devices} == {"device:CPU:0"}
