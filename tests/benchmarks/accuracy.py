"""Accuracy against minutes: `ssd300 finetune`, and torchvision's ssd300_vgg16 with its own transforms.

    python tests/benchmarks/accuracy.py [--quick] [--data voc07] [--minutes 15 30 60] [--python ENVIRONMENT/bin/python]

Both start from VGG16's convolutions in $SSD300_REAL_DATA/weights, train on the same images for the same minutes on all
cores, and are judged on the same held-out images by the same evaluator. The minutes of ssd300 include its validation
after each epoch; those of neither include the final evaluation. torchvision has Adam at 1e-4 with a warm-up and a
cosine; with --optimizer sgd, the optimizer of its reference recipe. --python names an interpreter that has torch,
torchvision and h5py.

ssd300 keeps the weights of its best epoch, by the split ``validation``. Those are the held-out images, which favors it
over torchvision, whose last weights are judged. With --split test they are not: a fifth of the training images is held
out for that instead, and only torchvision trains on all of them.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measuring import Size, read_arguments, subprocess_output
from _voc import VocTree, real_data

from ssd300.datasets.classes import VOC_NAMES
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.training.evaluation.average_precision import DEFINITIONS, DetectionEvaluator, mean_average_precision
from ssd300.training.reading.reader import evaluation_batches

_COMMAND = (sys.executable, "-m", "ssd300.training.cli.main")
_VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_SHAPES, _FEW_SHAPES = {"train": 290, "val": 100}, {"train": 8, "val": 4}


class Reached(NamedTuple):
    """What a contender reached: mAP by definition, and a note on its training."""

    mAP: dict[str, float]
    note: str


def main() -> None:
    """Trains both for each of the minutes and prints what they reached."""
    arguments = read_arguments(
        __doc__,
        data=Size("shapes", "shapes", "shapes (drawn, 290 images and 100 held out), or voc07 (1,200 and 300)"),
        minutes=Size([15.0, 30.0, 60.0], [0.02], "wall time of each training"),
        split=Size("validation", "validation", "name of the split of held-out images: validation, or test"),
        optimizer=Size("adam", "adam", "torchvision's: adam, or sgd"),
        trainable=Size(4, 4, "blocks of VGG16 that torchvision trains; its own default is 4 of 5"),
        precision=Size("float32", "float32", "torchvision's: float32, or bfloat16"),
        python=Size(sys.executable, sys.executable, "interpreter for torchvision"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tree = _make_tree(folder / "tree", arguments.data, quick=arguments.quick)
        splits = (("train", "train"), (arguments.split, "val"))
        sources = tuple(FolderSource(split, str(tree.root), name) for split, name in splits)
        dataset = tree.encode(folder / "dataset", sources=sources)
        weights = "none" if arguments.quick else str(real_data("weights") / _VGG16)
        compared = arguments.only is None and _has_torchvision(arguments.python)
        print(f"\n{'minutes':>9}{'':32}{'mAP 2007':>10}{'ratio':>8}{'mAP 2010':>10}{'ratio':>8}")
        for minutes in arguments.minutes:
            theirs = None
            if compared:
                theirs = _torchvision(dataset, tree, weights, minutes, arguments)
                _print_row(minutes, f"torchvision, {arguments.optimizer}", theirs, theirs)
            ours = _ours(dataset, folder / f"run-{minutes:g}", weights, minutes, arguments)
            _print_row(minutes, "ssd300 finetune", ours, theirs)


def _make_tree(root: Path, data: str, *, quick: bool) -> VocTree:
    """A tree with the image sets ``train`` and ``val``."""
    tree, drawn = VocTree(root), quick or data == "shapes"
    if drawn:
        write_shapes_tree(root, _FEW_SHAPES if quick else _SHAPES)
    else:
        original = real_data("voc07_train") / "VOCdevkit/VOC2007"
        root.mkdir()
        for part in ("JPEGImages", "Annotations", "ImageSets"):
            (root / part).symlink_to(original.resolve() / part)
    tree.classes.write_text("".join(f"{name}\n" for name in (CLASSES if drawn else VOC_NAMES)))
    return tree


def _print_row(minutes: float, name: str, reached: Reached, baseline: Reached | None) -> None:
    line = f"{minutes:>9g}  {name:<30}"
    for definition in DEFINITIONS:
        value, base = reached.mAP[definition], baseline.mAP[definition] if baseline else 0.0
        line += f"{value:>10.3f}{f'{value / base:.2f}x' if base else '-':>8}"
    print(f"{line}  {reached.note}", flush=True)


def _ours(dataset: str, run: Path, weights: str, minutes: float, arguments: Any) -> Reached:
    """What our recipe reaches; a quick run starts from a narrow network, as the full one takes minutes for a step."""
    start = weights
    if arguments.quick:
        start = str(run.parent / "narrow")
        small = ("--width", ".02", "--weights", "none", "--steps", "1", "--batch-size", "2")
        _ssd300("train", dataset, "--output", start, *small)
    said = _ssd300("finetune", dataset, "--from", start, "--minutes", str(minutes), "--output", str(run))
    _ssd300("evaluate", str(run), "--split", arguments.split, "--output", str(run / "evaluation"))
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    with (run / "history.csv").open(newline="") as file:
        steps = max(int(row["step"]) for row in csv.DictReader(file))
    time = said.splitlines()[0].rsplit("; ", 1)[-1]
    return Reached(metrics["mAP"], f"{steps} steps in {time}, the best after {metrics['step']}")


def _ssd300(*arguments: str) -> str:
    """What our command prints; ends the benchmark if it fails."""
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"ssd300 {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def _has_torchvision(python: str) -> bool:
    """Whether an interpreter has what the contender imports; says what to install if it has not."""
    command = [python, "-c", "import torch, torchvision, h5py"]
    found = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not found:
        print(f"skipped: torchvision is not installed for {python}; `make peers`, or another --python")
    return found


def _torchvision(dataset: str, tree: VocTree, weights: str, minutes: float, arguments: Any) -> Reached:
    """What torchvision reaches; in a process of its own, as torch does not get along with TensorFlow in one."""
    options = [f"--{name}={getattr(arguments, name)}" for name in ("optimizer", "trainable", "precision")]
    if arguments.quick:
        options.append("--batch-size=2")
    said = subprocess_output("torchvision_ssd.py", tree.root, weights, minutes, *options, python=arguments.python)
    found = json.loads(said.splitlines()[-1])
    evaluator = DetectionEvaluator(len(tree.classes.read_text().split()) + 1)
    for batch in evaluation_batches(EncodedDataset.open(dataset), arguments.split, batch_size=16):
        for i, filename in enumerate(batch["filename"].numpy()):
            rows = np.array(found["detections"][Path(filename.decode()).stem], np.float32).reshape(-1, 6)
            evaluator.add(
                rows[:, 2:],
                rows[:, 1],
                rows[:, 0].astype(int),
                true_boxes=batch["boxes"][i].numpy().reshape(-1, 4),
                true_labels=batch["labels"][i].numpy(),
                difficult=batch["difficult"][i].numpy(),
            )
    results = evaluator.results()
    means = {name: mean_average_precision(results, definition=name) for name in DEFINITIONS}
    note = f"{found['steps']} steps in {found['seconds'] / 60:.1f} minutes, the last with a loss of"
    return Reached(means, f"{note} {found['losses'][-1]:.1f}")  # nan where it diverged


if __name__ == "__main__":
    main()
