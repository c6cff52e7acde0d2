"""Settings as dataclass fields: each states its type, default, bounds and help once.

The command line is built from these fields, and a run's ``config.json`` is read by them.
"""

import math
import operator
import types
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from ssd300.datasets.errors import InputError

T = TypeVar("T")


_BOUNDS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


def option(default: Any = MISSING, help: str | None = None, **about: Any) -> Any:
    """A dataclass field that describes itself.

    Args:
        default: its default value; without one the field is required.
        help: what it is, for ``--help``; a field without help is not offered on the command line.
        **about: bounds of a number, ``at_least``, ``above``, ``at_most``, ``below``, beyond being finite; and for the
            command line ``group`` (heading of this field and the next ones), ``positional``, ``metavar``, ``flag``,
            ``parse`` (a function of text), ``path`` (True for a path, which is resolved there, or the words that are no
            paths), ``local`` (True for a path that must be on this machine's disks), ``shown`` (what to print for the
            default), ``negatable`` (whether a flag has a ``--no-`` form).
    """
    return field(default=default, metadata={"help": help, **about})


def check_fields(settings: Any) -> None:
    """Checks that each field of a dataclass has its type and is within its bounds.

    Raises:
        InputError: one is not; it says what was expected and what was found.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        if not _fits(value, one.type):
            raise InputError(f"{one.name} must be {describe(one.type)}, got {value!r}")
        bounds = {name: one.metadata[name] for name in _BOUNDS if name in one.metadata}
        if value is not None and not all(_BOUNDS[name](value, limit) for name, limit in bounds.items()):
            wanted = " and ".join(f"{name.replace('_', ' ')} {limit:,}" for name, limit in bounds.items())
            raise InputError(f"{one.name} must be {wanted}, got {value}")
        if not _is_finite(value):
            raise InputError(f"{one.name} must be finite and of less than 64 bits, got {value}")


def _is_finite(value: Any) -> bool:
    """Whether a number is one that TensorFlow and JSON can hold."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    # A protocol's properties may do work when they are looked at.
    return not isinstance(kind, type) or getattr(kind, "_is_protocol", False) or isinstance(value, kind)


def describe(kind: Any) -> str:
    """A type in words: ``a whole number``, ``one of sgd, adam``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(one) for one in inner if one is not types.NoneType) + ", or None"
    if origin is tuple:
        count = "several" if inner[1:] == (...,) else f"{len(inner)}"
        return f"{count} values, each {describe(inner[0])}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return words.get(kind, f"of type {getattr(kind, '__name__', kind)}")


def from_plain(cls: type[T], content: Any, *, where: str) -> T:
    """The dataclass that these plain data, as JSON has them, describe.

    Raises:
        InputError: they describe none; `where` says in which file.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: expected the fields of {cls.__name__}, got {content!r}")
    kinds = {one.name: one.type for one in fields(cls)}  # type: ignore[arg-type]
    unknown = [name for name in content if name not in kinds]
    if unknown:
        raise InputError(f"{where}: unknown settings: {', '.join(unknown)}; there are: {', '.join(kinds)}")
    try:
        return cls(**{name: _value(value, kinds[name], where) for name, value in content.items()})
    except (InputError, TypeError) as error:
        raise InputError(f"{where}: {error}") from None


def _value(value: Any, kind: Any, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return from_plain(kind, value, where=where)
    return tuple(value) if isinstance(value, list) else value  # JSON has no tuples
