"""Helpers that several test files use."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.training.cli.main import main
from ssd300.training.cli.options import parse_changes


def changed(augmentation: Augmentation, texts: Iterable[str]) -> Augmentation:
    """The augmentation with fields given as text, as ``--augment`` takes them: ``hue=18``, ``expand=off``."""
    return replace(augmentation, **parse_changes(Augmentation, texts))


def exit_code(arguments: Sequence[str]) -> int:
    """The exit code of ``ssd300`` with these arguments."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
