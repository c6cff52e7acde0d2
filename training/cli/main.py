"""The command line, ``ssd300``: arguments and messages; the work is done by the modules that it imports when needed."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ssd300.training.cli import commands

_DESCRIPTION = "SSD300 object detection: Pascal-VOC data to encoded records, training, evaluation, prediction."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints the message alone: the usage of a command with twenty options hides it."""
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = _Parser(prog="ssd300", description=_DESCRIPTION)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, add, summary in (
        ("demo", _add_demo, "draw shapes, encode, train, evaluate and report, in a few minutes"),
        ("preprocess", _add_preprocess, "encode annotated pictures into a TFDS dataset, by a Beam job"),
        ("inspect", _add_inspect, "draw what the reader makes of a dataset, and measure how fast it is"),
        ("train", _add_train, "train on an encoded dataset"),
        ("evaluate", _add_evaluate, "compute VOC average precision"),
        ("predict", _add_predict, "detect objects on pictures"),
    ):
        subparser = subparsers.add_parser(name, help=summary, description=summary.capitalize() + ".")
        add(subparser)
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.demo)
    parser.add_argument("--output", default="runs/demo", help="folder of the demo, made anew (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn pictures and the training (default: 0)")


def _add_preprocess(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.preprocess, passes_arguments_on=True)
    parser.epilog = "All other options are Beam's own and passed on to it, such as --runner or --setup_file."
    parser.add_argument(
        "--source",
        action="append",
        required=True,
        metavar="SPLIT=SOURCE",
        help="what goes into a split; repeatable. SOURCE is an image set of a VOC tree or of a flat folder "
        "(VOCdevkit/VOC2007:trainval), all of a folder (my/pictures), or a TFDS dataset (tfds:voc/2012:train)",
    )
    parser.add_argument("--output", help="folder of the encoded dataset; with --check of the report, if one is wanted")
    parser.add_argument("--check", action="store_true", help="read, check and report everything, write no records")
    parser.add_argument(
        "--classes", default="voc", help="voc (default), auto (all that occur in the XML), or a file, one name a line"
    )
    parser.add_argument("--preset", default="paper", help="default boxes, matching, coder: paper (default) or article")
    parser.add_argument(
        "--coordinates",
        default="caffe",
        help="how pixel coordinates become fractions: caffe (default: divided as they are) or inclusive",
    )
    parser.add_argument("--verify", default="decode", help="check pictures by decode (default) or by header alone")
    parser.add_argument(
        "--min-size", type=float, default=0.0, metavar="PIXELS", help="leave out objects narrower or lower (default: 0)"
    )
    parser.add_argument("--drop-empty", action="store_true", help="leave out pictures without an object")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the records (default: 0)")
    parser.add_argument("--shard-size", type=int, default=512, help="most pictures of a file (default: 512)")
    parser.add_argument(
        "--copies", type=int, default=0, help="augmented copies of each picture, expanded and cropped (default: 0)"
    )
    parser.add_argument(
        "--copies-of", action="append", metavar="SPLIT", help="split that has copies; repeatable (default: train)"
    )
    _add_augment(parser)
    parser.add_argument("--workers", type=int, help="processes on this machine (default: cores, fewer for small jobs)")
    parser.add_argument(
        "--max-rejected", type=float, default=0.01, help="share of rejected pictures that fails the job (default: .01)"
    )


_AUGMENTATION = "paper (default), light (mirror and photometric distortion), none, or copies: light on augmented copies"
# Every option of `train` but the folders is a field of `TrainSettings`; absent ones keep its defaults.
_TRAIN_OPTIONS: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("split", str, "split to train on (default: train)"),
    ("validation-split", str, "split whose loss is computed after each epoch (default: none)"),
    ("preset", str, "paper or article (default: the dataset's)"),
    ("width", float, "channels relative to the paper's (default: 1)"),
    ("norm", str, "batch for batch normalisation, or none (default)"),
    ("weights", str, "VGG16's: imagenet (default, downloaded by Keras), a Keras notop file, or none"),
    ("steps", int, "updates in all (default: 120000)"),
    ("batch-size", int, "pictures an update (default: 32)"),
    ("optimizer", str, "sgd with momentum .9 (default) or adam"),
    ("learning-rate", float, "at the start (default: .001)"),
    ("warmup-steps", int, "steps over which the rate rises from 0 (default: 0)"),
    ("schedule", str, "step (default: a tenth at 2/3 and 5/6 of the steps), cosine or constant"),
    ("weight-decay", float, "coupled, of kernels alone (default: .0005)"),
    ("augmentation", str, _AUGMENTATION),
    ("data-service", str, "address of a tf.data service whose workers read and augment, such as grpc://host:5000"),
    ("precision", str, "float32 (default), mixed_float16 or mixed_bfloat16"),
    ("seed", int, "of weights, order and augmentation (default: 0)"),
    ("checkpoint-steps", int, "steps between checkpoints (default: once an epoch)"),
    ("keep-checkpoints", int, "newest checkpoints that stay (default: 3)"),
)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.train)
    parser.add_argument("dataset", nargs="?", help="folder of an encoded dataset; not needed with --resume")
    parser.add_argument("--output", required=True, help="folder of the run: configuration, checkpoints, history, logs")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint; --steps may be changed with it"
    )
    for name, kind, text in _TRAIN_OPTIONS:
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=text)
    _add_augment(parser)
    parser.add_argument(
        "--jit-compile", action="store_true", default=argparse.SUPPRESS, help="compile the step with XLA (for GPUs)"
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.inspect)
    parser.add_argument("dataset", help="folder of an encoded dataset")
    parser.add_argument("--split", default="train", help="split to read (default: train)")
    parser.add_argument("--output", default="inspection.jpg", help="the contact sheet (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=6, help="rows of the sheet (default: 6)")
    parser.add_argument("--augmentation", default="paper", help=_AUGMENTATION)
    _add_augment(parser)
    parser.add_argument("--seed", type=int, default=0, help="of pictures and augmentation (default: 0)")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures a batch, for the rates (default: 32)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="to measure each stage for; 0 draws the sheet alone (default: 3)"
    )


def _add_augment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--augment",
        action="append",
        default=argparse.SUPPRESS,
        metavar="NAME=VALUE",
        help="change a step of the augmentation, such as hue=18, contrast=.8,1.2 or expand=off; repeatable",
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.evaluate)
    parser.add_argument("model", metavar="RUN", help="folder of a run")
    parser.add_argument("dataset", nargs="?", help="folder of an encoded dataset (default: the run's own)")
    parser.add_argument("--split", default="test", help="split to evaluate on (default: test)")
    parser.add_argument("--output", help="folder of the results (default: RUN/evaluation-SPLIT)")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures at a time (default: 16)")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=commands.predict)
    parser.add_argument("model", metavar="RUN", help="folder of a run")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="pictures, folders, or globs in quotes")
    parser.add_argument("--output", required=True, help="folder of the annotated pictures and detections.json")
    parser.add_argument("--threshold", type=float, default=0.5, help="least score (default: .5)")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at a time (default: 8)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 1 for a job that failed, 2 for an input that cannot be used."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not getattr(arguments, "passes_arguments_on", False):
        parser.error(f"{arguments.command}: unknown arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    arguments.rest = rest
    try:
        arguments.run(arguments)
    except ValueError as error:
        print(f"ssd300 {arguments.command}: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not commands.is_expected(error):
            raise
        print(f"ssd300 {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nssd300 {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
