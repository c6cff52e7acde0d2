"""What a command may do with what it cannot use: one line that names it, and nothing of the user's changed."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import content, exit_code

# Progress bars and log lines may come before the line of an error.
_PROGRESS = re.compile(r"\d+%\|| images/s\]|\?images/s|^(WARNING|ERROR|INFO) |^(training|evaluating) on ")

# What happens to files: the damaged bytes by the bytes of a file.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x5A]) + data[len(data) // 2 + 1 :],
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    printed: str
    errors: list[str]  # lines on standard error, without progress

    def check_refused(self, *names: str) -> None:
        """Checks that the command ended with 1 or 2 and one line that has one of the names in it."""
        assert self.code in (1, 2), (self.code, self.printed)
        assert len(self.errors) == 1, self.errors
        assert any(name in self.errors[0] for name in names), self.errors
        assert "[Errno" not in self.errors[0], self.errors


def outcome(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Outcome:
    """How ``ssd300`` ends with these arguments; a bug is raised."""
    capsys.readouterr()
    code = exit_code([str(one) for one in arguments])
    captured = capsys.readouterr()
    lines = [line for line in re.split(r"[\r\n]+", captured.err) if line.strip() and not _PROGRESS.search(line)]
    return Outcome(code, captured.out, lines)


@contextmanager
def unchanged(*folders: str | Path) -> Iterator[None]:
    """Checks that all files that are in the folders at the beginning have the same bytes at the end."""
    before = [content(folder) for folder in folders]
    yield
    for folder, files in zip(folders, before, strict=True):
        after = content(folder)
        assert {name for name in files if after.get(name) != files[name]} == set(), folder
