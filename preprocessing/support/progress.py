"""Live progress of local jobs: workers append to small files, the launcher adds up their sizes.

A Beam runner blocks until its job ends and local runners publish no counters meanwhile, so this bypasses Beam.
"""

import os
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

_BATCH = 16  # images between two appends
_INTERVAL = 0.5  # seconds between two looks


def bar(name: str, total: int | None, *, unit: str = " images", initial: int = 0) -> tqdm:
    """A progress bar with rate and time left, on standard error."""
    # A log gets a line now and then, a terminal a bar that moves.
    interval = 0.5 if sys.stderr.isatty() else 10
    return tqdm(total=total, initial=initial, desc=name, unit=unit, mininterval=interval, file=sys.stderr)


def ticker(folder: str) -> Callable[[int], None]:
    """A function that a worker calls with the number of images done; it appends a byte for each."""
    path = Path(folder) / f"{os.getpid()}-{uuid.uuid4().hex}"
    pending = 0

    def tick(pictures: int) -> None:
        nonlocal pending
        pending += pictures
        if pending >= _BATCH:
            with suppress(OSError), path.open("ab") as file:  # a shard is not lost for a bar
                file.write(b"." * pending)
            pending = 0

    return tick


class ProgressBar:
    """A bar over the images of a job, on standard error, for as long as the context lasts.

    Args:
        folder: where the workers append.
        pictures: of the whole job.
        done: images of shards that were finished before.
    """

    def __init__(self, folder: str, *, pictures: int, done: int) -> None:
        self._folder = Path(folder)
        self._bar = bar("encoding", pictures, initial=done)
        self._start = done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ProgressBar":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._bar.update(self._bar.total - self._bar.n)
        self._bar.close()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            with suppress(OSError):
                seen = sum(file.stat().st_size for file in self._folder.iterdir())
                # Retried shards are counted again: never beyond the total.
                self._bar.update(min(self._start + seen, self._bar.total) - self._bar.n)
