"""The commands: what each takes, how it calls the library, and the lines that people read at the end.

TensorFlow, Keras and Beam take seconds to import, so every command imports them when it runs.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssd300.datasets.classes import KNOWN_LISTS, VOC, read_class_file
from ssd300.datasets.errors import InputError, TrainingError
from ssd300.model.spec import PresetName
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION, PRESETS, Augmentation
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.support.options import option
from ssd300.preprocessing.support.quiet import import_tensorflow, quiet_import
from ssd300.preprocessing.support.terminal import say
from ssd300.training.cli.options import build, parse_changes
from ssd300.training.settings import (
    LARGEST_SEED,
    MOST_STEPS,
    EvaluateSettings,
    FinetuneSettings,
    InspectSettings,
    PredictSettings,
    TrainSettings,
)

if TYPE_CHECKING:
    from ssd300.preprocessing.runners.local_workers import LocalWorkers

Given = dict[str, Any]  # the options that were given, by name


@dataclass(frozen=True)
class Command:
    """A command."""

    run: Callable[[Given], None]  # called with the options that were given
    help: str  # what it does
    parts: tuple[type, ...]  # dataclasses whose fields are its options
    epilog: str | None = None  # last lines of its help
    passes_arguments_on: bool = False  # whether unknown arguments are Beam's


_FOLDER: dict[str, Any] = {"metavar": "FOLDER", "path": True}
_LOCAL_FOLDER: dict[str, Any] = {"metavar": "FOLDER", "local": True}
_LOCAL_FILE: dict[str, Any] = {"metavar": "FILE", "local": True}
_POSITIONAL_FILE: dict[str, Any] = {**_LOCAL_FILE, "positional": True}
_CHANGES: dict[str, Any] = {"metavar": "NAME=VALUE", "flag": "augment"}


@dataclass(frozen=True, kw_only=True)
class _AugmentationOptions:
    augmentation: Literal["paper", "light", "none", "copies"] = option(
        "paper",
        "light mirrors and changes colors; copies is light on the dataset's augmented copies",
        group="augmentation",
    )
    changes: tuple[str, ...] = option(
        (), "change a step, such as hue=18, contrast=.8,1.2 or expand=off; repeatable", **_CHANGES
    )


def _augmentation(given: Given, start: Augmentation, copies: bool = False) -> Given:
    """The fields `augmentation` and `copies` of the settings, from the options and what they start from."""
    if "augmentation" in given:
        copies = given["augmentation"] == "copies"
        start = PRESETS["light" if copies else given["augmentation"]]
    return {"augmentation": replace(start, **parse_changes(Augmentation, given.get("changes", ()))), "copies": copies}


@dataclass(frozen=True, kw_only=True)
class _DemoOptions:
    output: str = option("runs/demo", "folder of the demo; an earlier demo in it is replaced", **_LOCAL_FOLDER)
    seed: int = option(0, "seed of the drawn images and of the training", at_least=0, at_most=LARGEST_SEED)


def _demo(given: Given) -> None:
    options = build(_DemoOptions, given)
    output = Path(options.output)
    import_tensorflow()
    with quiet_import():
        from ssd300.training.demo import run_demo

    say(run_demo(output, seed=options.seed))


@dataclass(frozen=True, kw_only=True)
class _PreprocessOptions:
    output: str | None = option(
        None, "folder of the encoded dataset; with --check, of the report if one is wanted", **_FOLDER
    )
    check: bool = option(False, "read, check and report everything, write no records")
    classes: str = option(
        "voc",
        "voc, coco, coco91 (labels are COCO's ids), auto (all that occur in the annotations), or a file with one name "
        "per line",
        group="encoding",
        path=(*KNOWN_LISTS, "auto"),
    )
    changes: tuple[str, ...] = option(
        (),
        "change the copies' expansion or crop, such as expand=2 or crop=.5,.7; repeatable",
        group="copies",
        **_CHANGES,
    )


def _preprocess(given: Given) -> None:
    options = build(_PreprocessOptions, given)
    if not options.check and options.output is None:
        raise InputError("--output is required, unless --check is given")
    build(Execution, given)  # an unusable number of workers is refused before any is started
    from ssd300.preprocessing.runners.local_workers import LocalWorkers

    # Told that there will be several workers, they import what they need while the plan is made.
    several = given.get("workers", 1) > 1 and not _names_runner(given["beam_arguments"])
    with LocalWorkers() if several else nullcontext() as ready:
        _run_job(options, given, ready)


def _names_runner(beam_arguments: Sequence[str]) -> bool:
    return any(argument.startswith("--runner") for argument in beam_arguments)


def _run_job(options: _PreprocessOptions, given: Given, ready_workers: "LocalWorkers | None") -> None:
    import_tensorflow(gpus=False)
    with quiet_import():
        from ssd300.datasets.sources.parse import resolve_classes
        from ssd300.preprocessing.job import TooManyRejectsError, check, preprocess
        from ssd300.preprocessing.job_folder import CHECK, WORK, folder_path, refuse_unusable
    from ssd300.preprocessing.report.summary import summary

    augmentation = replace(PAPER_AUGMENTATION, **parse_changes(Augmentation, options.changes))
    # What cannot be used is refused before the class list reads all annotations.
    settings = build(PreprocessSettings, given, classes=VOC, copy_augmentation=augmentation)
    if options.output is not None:
        refuse_unusable(folder_path(options.output), CHECK if options.check else WORK)
    settings = replace(settings, classes=resolve_classes(options.classes, settings.sources))
    execution = build(Execution, given, ready_workers=ready_workers)
    try:
        if options.check:
            report = check(settings, options.output, execution)
        else:
            report = preprocess(settings, options.output or "", execution)
    except TooManyRejectsError as error:
        say(summary(error.report))
        raise
    say(summary(report))
    rejected = report["total"]["rejected"]
    if options.output is not None:
        rejects = f"; {rejected:,} rejected images are listed in rejected.jsonl" if rejected else ""
        say(f"\nwrote {options.output}; open {options.output}/report.html{rejects}")
    elif rejected:
        say("\n--output FOLDER would hold report.html, and list each rejected image in rejected.jsonl")


@dataclass(frozen=True, kw_only=True)
class _InspectOptions:
    dataset: str = option(help="folder of an encoded dataset", positional=True, path=True)
    output: str = option("inspection.jpg", "the contact sheet, a .jpg or .png file", **_LOCAL_FILE)


def _inspect(given: Given) -> None:
    options = build(_InspectOptions, given)
    settings = build(InspectSettings, given, **_augmentation(given, PAPER_AUGMENTATION))
    output = Path(options.output)
    import_tensorflow()
    from ssd300.datasets.encoded_dataset import EncodedDataset
    from ssd300.training.inspection.contact_sheet import write_inspection_sheet
    from ssd300.training.inspection.stage_rates import rates_table, stage_rates

    dataset = EncodedDataset.open(options.dataset)
    write_inspection_sheet(dataset, output, settings)
    say(f"wrote {output}; green: objects, red: matched default boxes")
    if settings.seconds:
        say(f"\n{rates_table(stage_rates(dataset, settings))}")


@dataclass(frozen=True, kw_only=True)
class _TrainOptions:
    dataset: str | None = option(
        None, "folder of an encoded dataset; not needed with --resume or --config", positional=True, path=True
    )
    output: str = option(help="folder of the run: configuration, checkpoints, history, logs", **_LOCAL_FOLDER)
    resume: bool = option(False, "resume from the newest checkpoint; --steps and --data-service may be changed")
    extend_schedule: bool = option(
        False, "with --resume and --steps: stretch the learning rate's schedule to the new number of steps"
    )
    config: str | None = option(None, "config.json of an earlier run: its settings become the defaults", **_LOCAL_FILE)


def _join_workers() -> None:
    from ssd300.training.distribution import join_workers

    join_workers()


def _train(given: Given) -> None:
    options = build(_TrainOptions, given)
    import_tensorflow(before=_join_workers)
    from ssd300.training.device import describe_device
    from ssd300.training.distribution import is_chief
    from ssd300.training.fit import resume, train
    from ssd300.training.run_directory import RunDirectory, read_config

    if options.resume and options.config is not None:
        raise InputError("--resume keeps the run's own configuration; --config is for a new run")
    if options.extend_schedule and not options.resume:
        raise InputError("--extend-schedule is for a run that is resumed; a new one has --schedule-steps")
    say(f"training on {describe_device()}", file=sys.stderr)
    if options.resume:
        stored = RunDirectory(options.output).read_config().settings
        changes = _changes(given, stored.augmentation, stored.copies)
        run = resume(options.output, extend_schedule=options.extend_schedule, **changes)
    else:
        if options.config is not None:
            config = read_config(options.config)
            if options.dataset is None:
                given = {**given, "dataset": config.own_dataset}
            stored = config.settings
            settings = replace(stored, **_changes(given, stored.augmentation, stored.copies))
        elif options.dataset is None:
            raise InputError("expected the folder of an encoded dataset, --config or --resume")
        else:
            settings = TrainSettings(**_changes(given, PAPER_AUGMENTATION))
        run = train(settings, options.output)
    if not is_chief():
        return
    step, checkpoint = run.newest_checkpoint()
    say(f"trained to step {step:,}; newest checkpoint {checkpoint}")


@dataclass(frozen=True, kw_only=True)
class _VerifyOptions:
    run: str = option(help="folder of a run", positional=True, local=True)
    first_step: int | None = option(
        None,
        "step of the checkpoint to start from",
        flag="from",
        metavar="STEP",
        at_least=1,
        at_most=MOST_STEPS,
        shown="the last that is followed by another",
    )
    steps: int | None = option(
        None,
        "number of steps; without a checkpoint at their end they are made twice",
        at_least=1,
        at_most=MOST_STEPS,
        shown="up to the next checkpoint",
    )


def _verify(given: Given) -> None:
    options = build(_VerifyOptions, given)
    import_tensorflow()
    from ssd300.training.device import describe_device
    from ssd300.training.replaying import replay
    from ssd300.training.run_directory import RunDirectory

    say(f"training on {describe_device()}", file=sys.stderr)
    done = replay(RunDirectory(options.run), first_step=options.first_step, steps=options.steps)
    which = f"the run's checkpoint of step {done.last_step:,}" if done.against_checkpoint else "a second replay"
    steps = f"steps {done.first_step + 1:,} to {done.last_step:,}"
    if not done.is_same:
        raise TrainingError(
            f"{steps} came out otherwise than in {which}: {done.found[:16]}, expected {done.expected[:16]}; another "
            "machine, another number of cores, other versions of the packages or a GPU compute other last digits"
        )
    say(f"{steps} came out the same as in {which}, bit for bit: {done.found[:16]}")


@dataclass(frozen=True, kw_only=True)
class _FinetuneOptions:
    output: str = option(help="folder of the run: configuration, best weights, history, logs", **_LOCAL_FOLDER)


def _finetune(given: Given) -> None:
    options, settings = build(_FinetuneOptions, given), build(FinetuneSettings, given)
    import_tensorflow()
    from ssd300.training.device import describe_device
    from ssd300.training.finetuning import finetune

    say(f"training on {describe_device()}", file=sys.stderr)
    done = finetune(settings, options.output)
    say(
        f"mAP {done.best.mAP:.3f} (VOC 2007) on {done.images:,} images of {done.split}, best at step "
        f"{done.best.step:,}; {done.seconds / 60:.1f} minutes\n"
        f'detect objects with: ssd300 predict {done.run.path} "photos/*.jpg" --output predictions'
    )


def _changes(given: Given, augmentation: Augmentation, copies: bool = False) -> Given:
    """The settings that were given, with the augmentation that they make of the one to start from."""
    names = {one.name for one in fields(TrainSettings)} - {"augmentation"}
    return {name: given[name] for name in names & given.keys()} | _augmentation(given, augmentation, copies)


@dataclass(frozen=True, kw_only=True)
class _ImportOptions:
    file: str = option(
        help="trained weights: .caffemodel, Keras's .h5, PyTorch's .pth, Chainer's .npz", **_POSITIONAL_FILE
    )
    output: str = option(help="folder of the run that is made", **_LOCAL_FOLDER)
    classes: str | None = option(
        None,
        "names of the file's classes: voc, coco, coco91, or a file with one name per line",
        shown="as many as the file has: VOC's or COCO's",
        path=tuple(KNOWN_LISTS),
    )
    channels: Literal["rgb", "bgr"] | None = option(
        None, "order of the colors that the network was trained with", shown="the project's"
    )
    preset: PresetName | None = option(
        None, "whose default boxes the network was trained with", shown="the project's for VOC or COCO"
    )


def _import_weights(given: Given) -> None:
    options = build(_ImportOptions, given)
    name = options.classes
    classes = None if name is None else KNOWN_LISTS.get(name) or read_class_file(name)
    import_tensorflow(gpus=False)
    from ssd300.model.weights.passport import passport_table
    from ssd300.training.import_weights import import_weights

    run, imported = import_weights(
        options.file, options.output, classes=classes, channels=options.channels, preset=options.preset
    )
    say(passport_table(imported.passport))
    say(f"\nwrote {run.path}; passport.json names the origin of each tensor")


@dataclass(frozen=True, kw_only=True)
class _EvaluateOptions:
    run: str = option(help="folder of a run", positional=True, local=True)
    dataset: str | None = option(None, "folder of an encoded dataset (default: the run's)", positional=True, path=True)
    output: str | None = option(None, "folder of the results", shown="RUN/evaluation-SPLIT", **_LOCAL_FOLDER)


def _evaluate(given: Given) -> None:
    options, settings = build(_EvaluateOptions, given), build(EvaluateSettings, given)
    import_tensorflow()
    from ssd300.datasets.encoded_dataset import EncodedDataset
    from ssd300.training.device import describe_device
    from ssd300.training.evaluation.evaluate import evaluate, metrics_table
    from ssd300.training.run_directory import RunDirectory

    run = RunDirectory(options.run)
    dataset = EncodedDataset.open(options.dataset or run.read_config().own_dataset)
    output = Path(options.output or run.path / f"evaluation-{settings.split}")
    say(f"evaluating on {describe_device()}", file=sys.stderr)
    say(metrics_table(evaluate(run, dataset, output, settings)))
    say(f"\nwrote {output}/metrics.json and precision_recall.png")


@dataclass(frozen=True, kw_only=True)
class _PredictOptions:
    run: str = option(help="folder of a run", positional=True, local=True)
    images: tuple[str, ...] = option(help="images, folders, or globs in quotes", positional=True)
    output: str = option(help="folder of the annotated images and detections.json", **_LOCAL_FOLDER)


def _predict(given: Given) -> None:
    options, settings = build(_PredictOptions, given), build(PredictSettings, given)
    output = Path(options.output)
    import_tensorflow()
    from ssd300.training.prediction.find_images import find_images
    from ssd300.training.prediction.predict import predict
    from ssd300.training.run_directory import RunDirectory

    images = find_images(options.images, output=output)
    done = predict(RunDirectory(options.run), images, output, settings)
    for path, message in done["unreadable"].items():
        say(f"left out {path}: {message}")
    if images.ignored:
        say(images.ignored_in_words)
    if not done["images"]:
        raise InputError(f"no image could be read, of {len(done['unreadable']):,}")
    say(f"{done['detections']:,} detections on {done['images']:,} images; wrote {options.output}/detections.json")


COMMANDS = {
    "demo": Command(_demo, "draw shapes, encode, train, evaluate and report, in a few minutes", (_DemoOptions,)),
    "preprocess": Command(
        _preprocess,
        "encode annotated images into a TFDS dataset with a Beam job",
        (PreprocessSettings, _PreprocessOptions, Execution),
        epilog="Any other option is passed on to Beam, for example --runner or --setup_file.",
        passes_arguments_on=True,
    ),
    "inspect": Command(
        _inspect,
        "draw what the reader makes of a dataset, and measure its speed",
        (_InspectOptions, InspectSettings, _AugmentationOptions),
    ),
    "train": Command(_train, "train on an encoded dataset", (_TrainOptions, TrainSettings, _AugmentationOptions)),
    "finetune": Command(
        _finetune,
        "train on a dataset of your own with a recipe for few images and little time",
        (_FinetuneOptions, FinetuneSettings),
    ),
    "verify": Command(_verify, "train part of a run again and compare the outcome, bit for bit", (_VerifyOptions,)),
    "import-weights": Command(
        _import_weights, "make a run of another project's trained SSD300 weights", (_ImportOptions,)
    ),
    "evaluate": Command(_evaluate, "compute VOC average precision", (_EvaluateOptions, EvaluateSettings)),
    "predict": Command(_predict, "detect objects on images", (_PredictOptions, PredictSettings)),
}
