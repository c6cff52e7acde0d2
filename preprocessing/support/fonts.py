"""Fonts for names that come from outside, in charts and on images: any script for which the machine has a font.

Characters that no font has are drawn as their code points, and a line says so once.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from ssd300.preprocessing.support.terminal import printable

_LOG = logging.getLogger(__name__)
_BASE = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew
# Families that have most of the world's letters, looked at before all others.
_LARGE = re.compile(
    "Noto Sans CJK|Source Han|WenQuanYi|Droid Sans Fallback|Arial Unicode|PingFang|Hiragino|Heiti|YaHei|SimHei|SimSun|"
    "Meiryo|Yu Gothic|MS Gothic|IPA|Takao|Malgun|Nanum|Gothic|Noto Sans"
)
_said: set[str] = set()  # what was missing when it was said


@contextmanager
def plain_text(*texts: str) -> Iterator[None]:
    """Has matplotlib draw text as it is: nothing in it is a formula, and each letter is of a font that has it."""
    families = [_BASE, *(family for family, _ in _fonts_for(_letters(texts)) if family != _BASE)]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield


def drawable(text: str) -> str:
    r"""The text on one line, with characters that no font has as their code points: ``\u732b``."""
    text = " ".join(printable(text).split())
    missing = _letters([text]) - set().union(*(letters for _, letters in _fonts_for(_letters([text]))))
    if missing and not _said:
        _said.update(missing)
        _LOG.warning(
            "no installed font has %s; what none has is drawn as code points. Noto Sans CJK, for one, has most letters",
            " ".join(sorted(missing)[:10]),
        )
    return "".join(letter.encode("unicode_escape").decode() if letter in missing else letter for letter in text)


def shortened(text: str, length: int) -> str:
    """The text with its middle left out where it is longer, so that names with the same beginning stay apart."""
    if len(text) <= length:
        return text
    kept = length - 1
    return f"{text[: kept // 2]}\u2026{text[-(kept - kept // 2) :]}"


def caption_font(text: str, size: int) -> Any:
    """A Pillow font of this size, in pixels, that has the letters of a text that `drawable` gave."""
    if text.isascii():
        return ImageFont.load_default(size)
    letters = _letters([text])
    for path, available in _by_path(letters):
        if letters <= available:
            return ImageFont.truetype(path, size)
    return ImageFont.truetype(_path_of(_BASE), size)


def _letters(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(letter for text in texts for letter in text if not letter.isspace())


@lru_cache(maxsize=256)
def _fonts_for(letters: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    """As few families as have all of the letters that any has, each with those that it has."""
    found, missing = [], set(letters)
    for family, path in _installed():
        if not missing:
            break
        available = letters & _letters_in(path)
        if missing & available:
            found.append((family, available))
            missing -= available
    return found


def _by_path(letters: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    return ((path, letters & _letters_in(path)) for _, path in _installed())


@lru_cache(maxsize=1)
def _installed() -> list[tuple[str, str]]:
    """Families and files of all upright fonts, the likeliest first."""
    regular = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular")
        and entry.name != _BASE
        and "LastResort" not in entry.name.replace(" ", "")  # signs for missing letters
    }
    rest = sorted(regular.items(), key=lambda item: (_LARGE.search(item[0]) is None, item[0]))
    return [(_BASE, _path_of(_BASE)), *rest]


def _path_of(family: str) -> str:
    return font_manager.findfont(family)


@lru_cache(maxsize=512)
def _letters_in(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except Exception:  # of a broken or unknown file, which matplotlib lists all the same
        return frozenset()
