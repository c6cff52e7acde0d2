"""Text for terminals: what comes from files (class names, paths) can neither fail to print nor control the terminal."""

import logging
import sys
import unicodedata
from typing import TextIO

# Marks that reorder the text around them, of Unicode's category Cf.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text with control characters escaped, as in ``\x1b``; line breaks and tabs stay."""
    return "".join(_escaped(letter) if _controls(letter) else letter for letter in text)


def _controls(letter: str) -> bool:
    return letter in _REORDERING or (unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def say(text: object, *, file: TextIO | None = None) -> None:
    """Prints a line, by default to standard output."""
    print(printable(str(text)), file=file or sys.stdout, flush=True)


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
