"""The subcommands: from parsed arguments to calls of the library, and the lines that people read at the end.

TensorFlow, Keras and Beam take seconds to import, so every command imports them when it runs.
"""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ssd300.preprocessing.support.quiet import import_tensorflow, quiet_import

if TYPE_CHECKING:
    from ssd300.preprocessing.runners.local_workers import LocalWorkers


def is_expected(error: RuntimeError) -> bool:
    """Whether an error is one of ours, whose text says all, and not a fault of the program."""
    return type(error).__module__.startswith("ssd300.")


def demo(arguments: argparse.Namespace) -> None:
    """``ssd300 demo``."""
    import_tensorflow()
    with quiet_import():
        from ssd300.training.demo import run_demo

    print(run_demo(Path(arguments.output), seed=arguments.seed))


def preprocess(arguments: argparse.Namespace) -> None:
    """``ssd300 preprocess``, with or without ``--check``."""
    if not arguments.check and arguments.output is None:
        raise ValueError("where to? expected --output FOLDER, or --check")
    from ssd300.preprocessing.runners.local_workers import LocalWorkers

    # Told that there will be several workers, they import what they need while the plan is made.
    ready = LocalWorkers() if (arguments.workers or 1) > 1 and not _names_runner(arguments.rest) else None
    with ready or nullcontext():
        _preprocess(arguments, ready)


def _names_runner(beam_arguments: Sequence[str]) -> bool:
    return any(argument.startswith("--runner") for argument in beam_arguments)


def _preprocess(arguments: argparse.Namespace, ready_workers: "LocalWorkers | None") -> None:
    import_tensorflow()
    with quiet_import():
        from ssd300.datasets.sources.parse import resolve_classes
        from ssd300.preprocessing.job import TooManyRejectsError, check, preprocess
    from ssd300.datasets.sources.parse import parse_source
    from ssd300.preprocessing.report.summary import summary
    from ssd300.preprocessing.settings import PreprocessSettings

    sources = tuple(parse_source(text) for text in arguments.source)
    settings = PreprocessSettings(
        sources=sources,
        classes=resolve_classes(arguments.classes, sources),
        preset=arguments.preset,
        convention=arguments.coordinates,
        verify=arguments.verify,
        min_size=arguments.min_size,
        drop_empty=arguments.drop_empty,
        seed=arguments.seed,
        shard_size=arguments.shard_size,
        copies=arguments.copies,
        copied_splits=tuple(arguments.copies_of or ("train",)),
        augment=tuple(getattr(arguments, "augment", ())),
    )
    try:
        report = (check if arguments.check else preprocess)(
            settings,
            arguments.output,
            beam_arguments=arguments.rest,
            workers=arguments.workers,
            max_rejected=arguments.max_rejected,
            ready_workers=ready_workers,
        )
    except TooManyRejectsError as error:
        print(summary(error.report))
        raise
    print(summary(report))
    rejected = report["total"]["rejected"]
    if arguments.output is not None:
        rejects = f"; {rejected:,} rejected pictures are in rejected.jsonl" if rejected else ""
        print(f"\nwrote {arguments.output}, to look at in {arguments.output}/report.html{rejects}")
    elif rejected:
        print("\n--output FOLDER would hold report.html, and each rejected picture in rejected.jsonl")


def inspect(arguments: argparse.Namespace) -> None:
    """``ssd300 inspect``."""
    if arguments.pictures < 1 or arguments.batch_size < 1 or arguments.seconds < 0:
        raise ValueError("--pictures and --batch-size must be at least 1, --seconds not negative")
    output = Path(arguments.output)
    if output.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise ValueError(f"--output must be a .jpg or .png file, got {output}")
    if not output.parent.is_dir():
        raise ValueError(f"--output: there is no folder {output.parent}")
    import_tensorflow()
    from ssd300.training.inspection.contact_sheet import write_inspection_sheet
    from ssd300.training.inspection.stage_rates import stage_rates, table
    from ssd300.training.settings import named_augmentation

    augmentation, copies = named_augmentation(arguments.augmentation, getattr(arguments, "augment", ()))
    write_inspection_sheet(
        arguments.dataset,
        arguments.split,
        output,
        augmentation=augmentation,
        copies=copies,
        pictures=arguments.pictures,
        seed=arguments.seed,
    )
    print(f"wrote {output}; green: objects, red: matched default boxes")
    if arguments.seconds:
        rates = stage_rates(
            arguments.dataset,
            arguments.split,
            augmentation=augmentation,
            copies=copies,
            batch_size=arguments.batch_size,
            seconds=arguments.seconds,
        )
        print(f"\n{table(rates)}")


def train(arguments: argparse.Namespace) -> None:
    """``ssd300 train``."""
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name not in ("command", "run", "rest", "output", "resume", "dataset")
    }
    if arguments.dataset:
        given["dataset"] = arguments.dataset
    if "augment" in given:
        given["augment"] = tuple(given["augment"])
    import_tensorflow()
    from ssd300.training.fit import resume, train
    from ssd300.training.run_directory import RunDirectory
    from ssd300.training.settings import TrainSettings

    if arguments.resume:
        stored = vars(RunDirectory(arguments.output).read_config().settings)
        may_change = ("steps", "data_service")
        changed = [f"--{name}" for name, value in given.items() if name not in may_change and stored[name] != value]
        if changed:
            raise ValueError(
                f"{', '.join(changed).replace('_', '-')} differ from the run in {arguments.output}; "
                "a resumed run keeps its settings, only --steps may change"
            )
        run = resume(arguments.output, steps=given.get("steps"))
    elif arguments.dataset is None:
        raise ValueError("which dataset? expected the folder of an encoded dataset, or --resume")
    else:
        run = train(TrainSettings(**given), arguments.output)
    step, checkpoint = run.newest_checkpoint()
    print(f"trained to step {step:,}; newest checkpoint {checkpoint}")


def evaluate(arguments: argparse.Namespace) -> None:
    """``ssd300 evaluate``."""
    import_tensorflow()
    from ssd300.training.evaluation.evaluate import evaluate, table
    from ssd300.training.run_directory import RunDirectory

    run = RunDirectory(arguments.model)
    dataset = arguments.dataset or run.read_config().settings.dataset
    output = Path(arguments.output or run.path / f"evaluation-{arguments.split}")
    metrics = evaluate(run, dataset, arguments.split, output, batch_size=arguments.batch_size)
    print(table(metrics))
    print(f"\nwrote {output}/metrics.json and precision_recall.png")


def predict(arguments: argparse.Namespace) -> None:
    """``ssd300 predict``."""
    import_tensorflow()
    from ssd300.training.prediction.predict import find_pictures, predict
    from ssd300.training.run_directory import RunDirectory

    pictures = find_pictures(arguments.pictures)
    done = predict(
        RunDirectory(arguments.model),
        pictures,
        Path(arguments.output),
        threshold=arguments.threshold,
        batch_size=arguments.batch_size,
    )
    for path, message in done["unreadable"].items():
        print(f"left out {path}: {message}")
    print(
        f"{done['detections']:,} detections on {done['pictures']:,} pictures; wrote {arguments.output}/detections.json"
    )
