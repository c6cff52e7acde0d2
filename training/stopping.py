"""Ending a training on a signal, after its step, with a checkpoint: preemptible machines give seconds of notice."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingStopped(Exception):
    """A training was ended by a signal and has a checkpoint of its last step."""

    def __init__(self, number: int, step: int | None = None) -> None:
        self.number, self.step = number, step
        where = "" if step is None else f" at step {step:,}, with a checkpoint; the same command resumes from there"
        super().__init__(f"stopped by {signal.Signals(number).name}{where}")


class Stop:
    """Whether the process was told to end."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal
        self._may_raise = False

    def receive(self, number: int, _: FrameType | None) -> None:
        """The signals' handler; a second one ends the process at once, as it would without this."""
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number
        if self._may_raise:
            raise TrainingStopped(number)

    def check(self) -> None:
        """Raises `TrainingStopped` if a signal came."""
        if self.number is not None:
            raise TrainingStopped(self.number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a signal raises where it comes: for long work that changes nothing, such as a validation."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False


@contextmanager
def catching_signals() -> Iterator[Stop]:
    """Catches SIGTERM and SIGINT within it, if this is the main thread, which alone may."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {number: signal.signal(number, stop.receive) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
