"""The command line, ``ssd300``: parses arguments, runs a command, and turns expected errors into one line each."""

import argparse
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ssd300.datasets.errors import InputError, JobError, TrainingError
from ssd300.training.cli.commands import COMMANDS
from ssd300.training.cli.options import add_options

_DESCRIPTION = "SSD300 object detection: encode Pascal-VOC data, train, evaluate, predict."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints only the message: the usage of a command with twenty options would hide it."""
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="ssd300", description=_DESCRIPTION, allow_abbrev=False)
    version = f"ssd300 {importlib.metadata.version('ssd300')}"
    parser.add_argument("--version", action="version", version=version, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, command in COMMANDS.items():
        description = f"{command.help[0].upper()}{command.help[1:]}."
        subparser = subparsers.add_parser(
            name, help=command.help, description=description, epilog=command.epilog, allow_abbrev=False
        )
        add_options(subparser, command.parts)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 1 for a job that failed, or 2 for an input that cannot be used."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    given = vars(arguments)
    name = given.pop("command")
    command = COMMANDS[name]
    if rest and not command.passes_arguments_on:
        parser.error(f"{name}: unknown arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        if command.passes_arguments_on:
            given["beam_arguments"] = tuple(rest)
        command.run(given)
    except InputError as error:
        return _fail(name, error, 2)
    except (JobError, TrainingError, OSError) as error:
        return _fail(name, error, 1)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)
    except Exception as error:
        if not _is_tensorflow_error(error):
            raise
        return _fail(name, getattr(error, "message", error), 1)
    return 0


def _is_tensorflow_error(error: Exception) -> bool:
    """Whether TensorFlow could not read or write a file; without importing what was not needed."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _fail(command: str, error: Any, code: int) -> int:
    print(f"ssd300 {command}: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
