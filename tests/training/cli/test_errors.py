"""Which errors are one line, and which stay tracebacks."""

import errno
import os
from dataclasses import replace

import pytest
import tensorflow as tf

from ssd300.datasets.errors import InputError, JobError, StorageError, TrainingError
from ssd300.training.cli import main as main_module
from ssd300.training.cli.commands import COMMANDS
from ssd300.training.cli.main import main


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """Arguments of a command that raises the error."""

    def run(given: dict[str, object]) -> None:
        raise error

    monkeypatch.setattr(main_module, "COMMANDS", COMMANDS | {"demo": replace(COMMANDS["demo"], run=run)})
    return ["demo"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a is b"), 2, "a is b"),
        (JobError("it failed"), 1, "it failed"),
        (TrainingError("it failed"), 1, "it failed"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b\n"), 1, "/a/b: No space left on device"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), 1, "Input/output error"),
        (StorageError("/a/b\x1b", "No such device"), 1, "/a/b\\x1b could not be read: No such device"),
        (MemoryError(), 1, "there is not enough memory; a smaller batch size or fewer workers need less"),
        (
            tf.errors.ResourceExhaustedError(None, None, "{{function_node f}} OOM of [9,9]"),
            1,
            "OOM of [9,9]; if it is memory, a smaller batch size needs less, and with accumulate it makes the same "
            "updates",
        ),
        (tf.errors.DataLossError(None, None, "{{function_node f}} corrupted record at 9"), 1, "corrupted record at 9"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_meet_is_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(raising(monkeypatch, error)) == code
    assert capsys.readouterr().err == f"ssd300 demo: {line}\n"


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), tf.errors.InvalidArgumentError(None, None, "shapes differ")]
)
def test_a_bug_stays_a_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        main(raising(monkeypatch, error))
