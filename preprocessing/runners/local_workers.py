"""Several worker processes on this machine, each with an in-memory Beam pipeline over shards of its own.

Beam's own multi-processing on one machine loses elements now and then; separate pipelines have nothing to lose. The
processes are forked from one that has imported TensorFlow and Beam, which takes longer than encoding a thousand
images. That one is a program of its own (``python -m`` with this module's name), so that nothing of the launcher is
forked. No thread is alive in it when it forks: a thread's locks would stay locked in the workers for ever.
"""

import gc
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from ssd300.preprocessing.support.quiet import import_tensorflow, quiet_import

if TYPE_CHECKING:
    from ssd300.preprocessing.shards.encode_shard import ShardWork


# OpenBLAS and Arrow, which NumPy and Beam bring, start threads when they are imported, if they are not told otherwise.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_INTERVAL = 0.5  # seconds between two looks at the parent process


@dataclass(frozen=True)
class Task:
    """What one worker does: a Beam pipeline over one list of shards."""

    shards: str  # path of its list of shards
    work: "ShardWork"  # what is to be done with them
    beam_arguments: tuple[str, ...]  # Beam's own options


class LocalWorkers:
    """Workers that are getting ready; they wait for their tasks and end with this process, however it ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
        )

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, tasks: Sequence[Task]) -> int:
        """Runs each task in a process of its own, waits for all, and returns how many of the processes died."""
        try:
            self._process.communicate(pickle.dumps(tasks))
        except BrokenPipeError:
            self._process.wait()
        return len(tasks) if self._process.returncode < 0 else min(self._process.returncode, len(tasks))

    def stop(self) -> None:
        """Ends the workers; what they were writing is left under temporary names."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def main() -> int:
    """Gets ready, reads the tasks from standard input, forks a worker for each; returns how many died."""
    _end_with(int(sys.argv[1]), thread=False)  # which may have been killed before this process got so far
    _import()
    received = sys.stdin.buffer.read()
    workers = [_fork(task) for task in pickle.loads(received)] if received else []
    died = sum(os.waitpid(worker, 0)[1] != 0 for worker in workers)
    signal.setitimer(signal.ITIMER_REAL, 0)  # at its end Python forgets the handler, and the signal would kill
    return died


def _import() -> None:
    # Imported here, started in the workers: TensorFlow's threads would not survive a fork.
    with quiet_import():
        importlib.import_module("ssd300.preprocessing.runners.beam_pipeline")
    # What is there now stays: the workers' garbage collectors need not look at it again, nor write to its pages.
    gc.collect()
    gc.freeze()


def _fork(task: Task) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _end_with(parent, thread=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher ends the workers
        import_tensorflow(threads=1, gpus=False)
        run_task(task)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # and nothing of what the parent wants to do at its end


def run_task(task: Task) -> None:
    """Runs a task in this process."""
    from ssd300.preprocessing.runners.beam_pipeline import pipeline_options, run_pipeline

    run_pipeline(task.shards, task.work, options=pipeline_options(task.beam_arguments))


def _end_with(parent: int, *, thread: bool) -> None:
    """Ends this process soon after its parent was killed: no one waits for its shards.

    A thread notices that at any time. A timer, which a fork stops, does so only while Python runs or waits.
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    def watch() -> None:
        while True:
            time.sleep(_INTERVAL)
            look()

    if thread:
        threading.Thread(target=watch, daemon=True).start()
    else:
        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, _INTERVAL, _INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
