"""Command line options from the fields of dataclasses."""

import argparse
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import resolve_path
from ssd300.preprocessing.support.options import check_fields, describe
from ssd300.preprocessing.support.outputs import local_path

T = TypeVar("T")


def add_options(parser: argparse.ArgumentParser, parts: Iterable[type]) -> None:
    """Adds an option for each field with a help text; the headings are the fields' groups.

    An option that is not given is absent from the parsed arguments: its default is for the dataclass, or for a
    configuration file, to say.
    """
    headings: dict[str, Any] = {}
    for part in parts:
        heading = ""
        for one in fields(part):
            heading = one.metadata.get("group") or heading
            if one.metadata.get("help") is None:
                continue
            if heading and heading not in headings:
                headings[heading] = parser.add_argument_group(heading)
            _add(headings.get(heading, parser), one)


def resolve_paths(given: Mapping[str, Any], parts: Iterable[type]) -> dict[str, Any]:
    """The given options with all paths resolved, so that a path's spelling ends here.

    Raises:
        InputError: a path is empty, or is a URL where it must be on this machine's disks.
    """
    resolved = dict(given)
    for one in (one for part in parts for one in fields(part) if given.get(one.name) is not None):
        value, words = given[one.name], one.metadata.get("path", False)
        if one.metadata.get("local"):
            resolved[one.name] = str(local_path(value, _flag(one)))
        elif words is True or (words and value not in words):
            if not value:  # as of a variable of the shell that is not set; it would mean the current folder
                raise InputError(f"{_flag(one)} must be a path, got an empty one")
            resolved[one.name] = resolve_path(value)
    return resolved


def build(cls: Callable[..., T], given: Mapping[str, Any], **more: Any) -> T:
    """The dataclass with those of its fields that were given; InputError if one is out of its bounds."""
    own = {one.name: given[one.name] for one in fields(cls) if one.name in given}  # type: ignore[arg-type]
    made = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in own.items()} | more)
    check_fields(made)
    return made


def _add(parser: Any, one: Field) -> None:
    kind, several = _plain(one.type)
    about = one.metadata
    settings: dict[str, Any] = {"help": about["help"] + _default(one), "metavar": about.get("metavar")}
    if about.get("positional"):
        nargs = ("+" if one.default is MISSING else "*") if several else (None if one.default is MISSING else "?")
        settings["default"] = None if one.default is MISSING else argparse.SUPPRESS
        parser.add_argument(one.name, nargs=nargs, **settings)
        return
    settings |= {"default": argparse.SUPPRESS, "dest": one.name, "required": one.default is MISSING}
    name = _flag(one)
    if kind is bool:
        del settings["metavar"]
        action = argparse.BooleanOptionalAction if about.get("negatable") else "store_true"
        parser.add_argument(name, action=action, **settings)
    elif get_origin(kind) is Literal:
        parser.add_argument(name, choices=get_args(kind), **settings)
    else:
        settings |= {
            "type": _converter(about["parse"]) if "parse" in about else kind,
            "action": "append" if several else "store",
        }
        settings["metavar"] = settings["metavar"] or {int: "N", float: "X"}.get(kind, one.name.split("_")[-1].upper())
        parser.add_argument(name, **settings)


def _flag(one: Field) -> str:
    """What people call an option: ``--batch-size``; a positional one by its name."""
    name = one.metadata.get("flag", one.name).replace("_", "-")
    return name if one.metadata.get("positional") else f"--{name}"


def _converter(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse` for argparse, which would hide the message of an InputError."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _plain(kind: Any) -> tuple[Any, bool]:
    """The type of a single value, and whether the field takes several."""
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
    return (get_args(kind)[0], True) if get_origin(kind) is tuple else (kind, False)


def _default(one: Field) -> str:
    shown = one.metadata.get("shown")
    if shown is None:
        if one.default in (MISSING, None, ()) or (one.default is False):
            return ""
        shown = ", ".join(one.default) if isinstance(one.default, tuple) else f"{one.default}"
    return f" (default: {shown})"


def parse_changes(cls: type, texts: Iterable[str]) -> dict[str, Any]:
    """Fields given as text: ``hue=18``, ``contrast=.8,1.2``, ``expand=off`` for None.

    Raises:
        InputError: a field or value does not exist.
    """
    kinds = {one.name: one.type for one in fields(cls)}
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in kinds:
            raise InputError(f"expected NAME=VALUE with one of {', '.join(kinds)}; got {text!r}")
        changes[name] = _parsed(name, value.strip(), kinds[name])
    return changes


def _parsed(name: str, text: str, kind: Any) -> Any:
    optional = types.NoneType in get_args(kind)
    if optional and text == "off":
        return None
    single, several = _plain(kind)
    convert: Callable[[str], Any] = single
    try:
        return tuple(convert(part) for part in text.split(",")) if several else convert(text)
    except ValueError:
        wanted = "numbers with commas between them" if several else describe(single)
        raise InputError(f"{name} must be {wanted}{', or off' if optional else ''}; got {text!r}") from None
