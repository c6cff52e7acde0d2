"""The main job at a small scale: draw a VOC tree, encode it by Beam, train a narrow SSD300, evaluate, draw, report.

On two CPU cores it takes about five minutes.
"""

import json
import shutil
import time
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import final_name, writable_folder, write_atomically
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.report.summary import summary
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.support.html import Section, write_page
from ssd300.preprocessing.support.outputs import local_path
from ssd300.preprocessing.support.progress import bar
from ssd300.preprocessing.support.terminal import say
from ssd300.training.evaluation.detection_sheet import write_detection_sheet
from ssd300.training.evaluation.evaluate import detections_on, evaluate, metrics_table
from ssd300.training.evaluation.plots import plot_history
from ssd300.training.fit import train
from ssd300.training.settings import EvaluateSettings, TrainSettings

_TRAINING, _HELD_OUT = 1000, 240
_BATCH = 8
_MARKER = ".ssd300-demo"
# All files that a demo makes, finished or not, as fnmatch has them.
_MADE = (
    *(_MARKER, "metrics.json", "precision_recall.png", "history.png", "detections.jpg", "report.html"),
    *("voc/Annotations/[0-9]*.xml", "voc/JPEGImages/[0-9]*.jpg", "voc/ImageSets/Main/*.txt"),
    *("dataset/.*", "dataset/COMPLETED", "dataset/report.html", "dataset/rejected.jsonl"),
    *("dataset/*.json", "dataset/*.labels.txt", "dataset/*.tfrecord-*"),
    *("run/.*", "run/config.json", "run/history.csv", "run/checkpoints/*.h5*", "run/tensorboard/*"),
)
_SHEET = 15  # images


def run_demo(
    output: Path, *, seed: int = 0, steps: int = 1000, pictures: tuple[int, int] = (_TRAINING, _HELD_OUT)
) -> str:
    """Runs the demo in the folder `output`, which an earlier demo may have left; returns the lines to print.

    It leaves ``metrics.json``, ``history.png``, ``precision_recall.png``, ``detections.jpg``, ``report.html``, the VOC
    tree ``voc/``, the encoded dataset ``dataset/`` and the run ``run/``.

    Args:
        output: folder.
        seed: of the images and the training.
        steps: updates, each on 8 images.
        pictures: numbers of training and held-out images.

    Raises:
        InputError: an argument cannot be used, or the folder cannot be written or holds what no demo left there.
    """
    output = local_path(str(output), "the demo's folder")
    settings = _settings(str(output / "dataset"), seed=seed, steps=steps)  # an unusable seed is refused before anything
    _take(output)
    clock = _Clock()

    tree, dataset = output / "voc", output / "dataset"
    counts = dict(zip(("trainval", "test"), pictures, strict=True))
    with bar("drawing", sum(pictures)) as drawn:
        write_shapes_tree(tree, counts, seed=seed, tick=drawn.update)
    clock.lap("drawing the images")

    sources = (FolderSource("train", str(tree), "trainval"), FolderSource("test", str(tree), "test"))
    report = preprocess(PreprocessSettings(sources, ClassList(CLASSES), seed=seed), str(dataset))
    clock.lap("preprocessing (Beam)")
    say(summary(report))

    run = train(settings, output / "run")
    clock.lap(f"training ({steps} steps of {_BATCH})")

    encoded, held_out = EncodedDataset.open(str(dataset)), EvaluateSettings()
    metrics = evaluate(run, encoded, output, held_out)
    clock.lap(f"evaluating ({pictures[1]} images)")
    say(metrics_table(metrics))

    model, config, _ = run.load_model()
    plot_history(run.history_path, output / "history.png")
    shown = list(islice(detections_on(model, encoded, held_out), _SHEET))
    write_detection_sheet(shown, config.classes, output / "detections.jpg")
    clock.lap("drawing the results")
    _write_report(output, summary(report), metrics_table(metrics), clock, metrics["mAP"])
    timing = {"seconds": clock.laps, "seconds_in_all": clock.total()}
    path = output / "metrics.json"
    write_atomically(str(path), json.dumps({**json.loads(path.read_text()), **timing}, indent=2))
    mean = metrics["mAP"]
    return (
        f"\nmAP at IoU .5 on {metrics['pictures']} held-out images: {mean['voc2007']:.3f} (2007), "
        f"{mean['voc2010']:.3f} (2010)\n{clock.total():.0f} seconds in total; open {output}/report.html"
    )


def _take(output: Path) -> None:
    """Makes the folder, or empties it of what an earlier demo left; InputError if it holds anything else."""
    there = list(output.iterdir()) if output.is_dir() else []
    if there and not (output / _MARKER).is_file():
        raise InputError(f"{output} is not empty and was not left by an earlier demo; choose another folder")
    for path in output.rglob("*"):
        name = path.relative_to(output).as_posix()
        if (path.is_symlink() or not path.is_dir()) and not any(fnmatchcase(final_name(name), made) for made in _MADE):
            raise InputError(f"{output} holds {name}, which no demo made; choose another folder, or move that file")
    writable_folder(str(output))
    for path in there:
        if path.name != _MARKER:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (output / _MARKER).touch()


def _settings(dataset: str, *, seed: int, steps: int) -> TrainSettings:
    return TrainSettings(
        dataset=dataset,
        width=0.125,
        norm="batch",
        weights="none",
        optimizer="adam",
        learning_rate=2e-3,
        warmup_steps=min(100, steps // 2),
        schedule="cosine",
        steps=steps,
        batch_size=_BATCH,
        # Eight passes over a thousand images are too few to overfit; distortion would only slow the learning.
        augmentation=NO_AUGMENTATION,
        seed=seed,
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now

    def total(self) -> float:
        return round(time.perf_counter() - self._start, 1)


def _write_report(output: Path, encoded: str, evaluated: str, clock: _Clock, mean: dict[str, float]) -> None:
    times = "\n".join(f"{name:<32}{seconds:>8.1f} s" for name, seconds in clock.laps.items())
    result = f"mAP at IoU .5: {mean['voc2007']:.3f} (VOC 2007), {mean['voc2010']:.3f} (VOC 2010)."

    write_page(
        output / "report.html",
        "ssd300: the demo's report",
        [
            Section("Result", text=result, preformatted=f"{evaluated}\n\n{times}"),
            Section(
                "Detections next to ground truth",
                text="Held-out images. Green: ground truth; orange: marked difficult, not counted. "
                "Other colors: detections by class, with their scores.",
                picture=output / "detections.jpg",
            ),
            Section("Precision and recall", picture=output / "precision_recall.png"),
            Section("Training", picture=output / "history.png", caption="Each point is the mean of ten steps."),
            Section(
                "The encoded dataset",
                text="From report.json: matched default boxes by the feature map that carries them.",
                preformatted=encoded,
            ),
        ],
    )
