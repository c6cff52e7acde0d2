"""Text for terminals: what comes from files (class names, paths) can neither fail to print nor control the terminal."""

import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ssd300.datasets.errors import StorageError

# Marks that reorder the text around them, of Unicode's category Cf.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text with control characters escaped, as in ``\x1b``; line breaks and tabs stay."""
    return "".join(_escaped(letter) if _controls(letter) else letter for letter in text)


def one_line(text: str) -> str:
    """The text with line breaks escaped too, as a file's name may have them."""
    return "\\n".join(text.splitlines())


def _controls(letter: str) -> bool:
    return letter in _REORDERING or (unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def say(text: object, *, file: TextIO | None = None) -> None:
    """Prints a line, by default to standard output.

    Raises:
        BrokenPipeError: nobody reads it any more.
        StorageError: it could not be written for another reason.
    """
    with _write_errors(file or sys.stdout):
        print(printable(str(text)), file=file or sys.stdout, flush=True)


def flush_output() -> None:
    """Writes what is left of standard output; raises as `say` does. Python would print such errors at its end."""
    if sys.stdout is not None:  # it was closed
        with _write_errors(sys.stdout):
            sys.stdout.flush()


@contextmanager
def _write_errors(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with suppress(OSError):  # or Python would try it again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise StorageError(stream.name, error.strerror or str(error), "written") from None


def prepare_streams() -> None:
    """Has what the terminal's encoding lacks escaped, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # tests and notebooks have streams of their own
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def padded(text: str, width: int) -> str:
    """The text with spaces up to a width in columns, of which letters of East Asian scripts take two."""
    taken = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return text + " " * (width - taken)


class PrintableFormatter(logging.Formatter):
    """Log lines without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return printable(super().format(record))
