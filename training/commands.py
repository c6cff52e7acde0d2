"""The subcommands: from parsed arguments to calls of the library, and the lines that people read at the end.

TensorFlow, Keras and Beam take seconds to import, so every command imports them when it runs.
"""

import argparse
from pathlib import Path

from ssd300.preprocessing.quiet import import_tensorflow, quiet_import


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
    """``ssd300 preprocess``."""
    import_tensorflow()
    with quiet_import():
        from ssd300.preprocessing.class_lists import resolve_classes
        from ssd300.preprocessing.job import preprocess
    from ssd300.datasets.sources import Source
    from ssd300.preprocessing.report import summary
    from ssd300.preprocessing.settings import PreprocessSettings

    sources = tuple(Source.parse(text) for text in arguments.source)
    settings = PreprocessSettings(
        sources=sources,
        classes=resolve_classes(arguments.classes, sources),
        preset=arguments.preset,
        convention=arguments.coordinates,
        verify=arguments.verify,
        seed=arguments.seed,
        shard_size=arguments.shard_size,
    )
    report = preprocess(
        settings,
        arguments.output,
        beam_arguments=arguments.rest,
        workers=arguments.workers,
        max_rejected=arguments.max_rejected,
    )
    print(summary(report))
    print(f"\nwrote {arguments.output} with report.json" + _rejects_note(report["total"]["rejected"]))


def _rejects_note(rejected: int) -> str:
    return f"; {rejected:,} rejected pictures are in rejected.jsonl" if rejected else ""


def train(arguments: argparse.Namespace) -> None:
    """``ssd300 train``."""
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name not in ("command", "run", "rest", "output", "resume", "dataset")
    }
    if arguments.dataset:
        given["dataset"] = arguments.dataset
    import_tensorflow()
    from ssd300.training.run_directory import RunDirectory
    from ssd300.training.settings import TrainSettings
    from ssd300.training.train import resume, train

    if arguments.resume:
        stored = vars(RunDirectory(arguments.output).read_config().settings)
        changed = [f"--{name}" for name, value in given.items() if name != "steps" and stored[name] != value]
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
    from ssd300.training.evaluate import evaluate, table
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
    from ssd300.training.predict import find_pictures, predict
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
