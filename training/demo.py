"""The main job at a small scale: draw a VOC tree, encode it by Beam, train a narrow SSD300, evaluate, draw, report.

On two CPU cores it takes about five minutes.
"""

import json
import shutil
import time
from itertools import islice
from pathlib import Path

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import writable_folder
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.report.summary import summary
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.support.html import Section, write_page
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
_LEFT = {_MARKER, "voc", "dataset", "run", "metrics.json", "precision_recall.png", "history.png", "detections.jpg"}
_LEFT |= {"report.html"}
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
    path.write_text(json.dumps({**json.loads(path.read_text()), **timing}, indent=2), encoding="utf-8")
    mean = metrics["mAP"]
    return (
        f"\nmAP at IoU .5 on {metrics['pictures']} held-out images: {mean['voc2007']:.3f} (2007), "
        f"{mean['voc2010']:.3f} (2010)\n{clock.total():.0f} seconds in total; open {output}/report.html"
    )


def _take(output: Path) -> None:
    """Makes the folder, or empties it of what an earlier demo left; InputError if it holds anything else."""
    there = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if there and (_MARKER not in there or there - _LEFT):
        other = min(there - _LEFT, default=_MARKER)
        raise InputError(f"{output} was not left by an earlier demo (see {other}); choose another folder")
    writable_folder(str(output))
    for name in there - {_MARKER}:
        path = output / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
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
