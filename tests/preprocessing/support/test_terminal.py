"""What comes from files can neither fail to print nor control the terminal."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssd300.preprocessing.support.terminal import PrintableFormatter, one_line, printable, say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("caf\u00e9 \u732b\n\tx", "caf\u00e9 \u732b\n\tx"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\rb\x85\x9b", "a\\rb\\x85\\x9b"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_lines_and_log_records_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[2J")
    say("x\x07", file=sys.stderr)
    assert capsys.readouterr() == ("\\x1b[2J\n", "x\\x07\n")
    record = logging.LogRecord("ssd300", logging.WARNING, "", 0, "%s is broken", ("a\x1b.jpg",), None)
    assert PrintableFormatter("%(message)s").format(record) == "a\\x1b.jpg is broken"


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ssd300.training.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_what_the_encoding_of_the_terminal_lacks_is_escaped() -> None:
    done = run("train", "--output", "\u732b\x1b", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    done = run("evaluate", "/nowhere/\u732b\x1b", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert "/nowhere/\\u732b\\x1b is not the folder of a run" in done.stderr


# With a buffer, as in a user's shell, Python writes at its end only.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["preprocess", "--help"]])
@pytest.mark.parametrize("environment", [BUFFERED, {**os.environ, "PYTHONUNBUFFERED": "1"}], ids=["buffered", "not"])
def test_a_reader_that_has_gone_ends_the_command_quietly(arguments: list[str], environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ssd300.training.cli.main", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_cannot_be_written_is_one_line() -> None:
    command = [sys.executable, "-m", "ssd300.training.cli.main", "--version"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert done.stderr == "ssd300: <stdout> could not be written: No space left on device\n"
    assert done.returncode == 1


def test_line_breaks_in_a_name_are_escaped() -> None:
    assert one_line("a\nb\r\nc") == "a\\nb\\nc"
