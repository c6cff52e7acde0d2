"""The command line, ``ssd300``: parses arguments, runs a command, and turns expected errors into one line each."""

import argparse
import importlib.metadata
import logging
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ssd300.datasets.errors import InputError, JobError, StorageError, TrainingError
from ssd300.datasets.files import plain_message
from ssd300.preprocessing.support.terminal import PrintableFormatter, flush_output, one_line, prepare_streams, say
from ssd300.training.cli.commands import COMMANDS
from ssd300.training.cli.options import add_options, resolve_paths
from ssd300.training.stopping import TrainingStopped

_DESCRIPTION = "SSD300 object detection: encode Pascal-VOC data, train, evaluate, predict."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints only the message: the usage of a command with twenty options would hide it."""
        say(f"{self.prog}: {one_line(message)} (see `{self.prog} --help`)", file=sys.stderr)
        self.exit(2)


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
    """Runs a command; returns 0, 1 for work that failed, or 2 for an input that cannot be used."""
    prepare_streams()
    try:
        try:
            return _run(argv)
        finally:
            flush_output()
    except BrokenPipeError:  # the reader of standard output is gone, as `head` after ten lines
        return 128 + signal.SIGPIPE
    except StorageError as error:
        return _fail("", str(error), 1)


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    name = arguments.command
    command = COMMANDS[name]
    del arguments.command
    if rest and not command.passes_arguments_on:
        parser.error(f"{name}: unknown arguments: {' '.join(rest)}")
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    # Beam says so at every start without the extra gcp, where nothing is missing.
    handler.addFilter(lambda record: not record.getMessage().startswith("apitools not found"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        given = resolve_paths(vars(arguments), command.parts)
        if command.passes_arguments_on:
            given["beam_arguments"] = tuple(rest)
        command.run(given)
        return 0
    except TrainingStopped as stopped:
        return _fail(name, str(stopped), 128 + stopped.number)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)
    except BrokenPipeError:
        raise
    except Exception as error:
        expected = _what_went_wrong(error)
        if expected is None:
            raise
        return _fail(name, *expected)


def _what_went_wrong(error: Exception) -> tuple[str, int] | None:
    """The line to print and the exit code for an error that a user can expect; None for a bug."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, MemoryError):
        return "there is not enough memory; a smaller batch size or fewer workers need less", 1
    if isinstance(error, OSError) and error.strerror:
        file = "" if error.filename is None else f"{one_line(str(error.filename))}: "
        return f"{file}{error.strerror}", 1
    if isinstance(error, JobError | TrainingError | OSError):
        return str(error), 1
    tensorflow = sys.modules.get("tensorflow")  # without importing what was not needed
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    errors = tensorflow.errors
    if isinstance(error, errors.InvalidArgumentError | errors.InternalError):
        return None
    if isinstance(error, errors.ResourceExhaustedError):
        hint = "if it is memory, a smaller batch size needs less, and with accumulate it makes the same updates"
        return f"{plain_message(error)}; {hint}", 1
    return plain_message(error), 1


def _fail(command: str, message: str, code: int) -> int:
    say(f"{f'ssd300 {command}'.rstrip()}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
