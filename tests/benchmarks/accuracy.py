"""Accuracy against minutes: `ssd300 finetune`, and torchvision's ssd300_vgg16 by its own recipe, on the same images.

    python tests/benchmarks/accuracy.py [--quick] [--data voc07] [--minutes 15 30 60] [--python ENVIRONMENT/bin/python]

Both start from the same VGG16 convolutions, train for the same wall time on all cores, and are judged on the same
held-out images by the same evaluator. torchvision has Adam with a warm-up and a cosine, because the reference recipe's
SGD learns nothing in such a time; --python names an interpreter that has torch, torchvision and h5py.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _measuring import CONTENDERS, Size, read_arguments
from _voc import VocTree, real_data

from ssd300.datasets.classes import VOC_NAMES
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.shapes import CLASSES, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource
from ssd300.training.evaluation.average_precision import DetectionEvaluator, mean_average_precision
from ssd300.training.reading.reader import evaluation_batches

_COMMAND = (sys.executable, "-m", "ssd300.training.cli.main")
_VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def main() -> None:
    """Trains both for each of the minutes and prints what they reached."""
    arguments = read_arguments(
        __doc__,
        data=Size("shapes", "shapes", "shapes (drawn, 290 images and 80 held out), or voc07 (1,200 and 300)"),
        minutes=Size([15.0, 30.0, 60.0], [0.02], "wall time of each training"),
        python=Size(sys.executable, sys.executable, "interpreter for torchvision"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tree = _tree(folder / "tree", arguments.data, quick=arguments.quick)
        sources = tuple(
            FolderSource(split, str(tree.root), name) for split, name in (("train", "train"), ("validation", "val"))
        )
        dataset = tree.encode(folder / "dataset", sources=sources)
        start = _narrow_run(dataset, folder) if arguments.quick else str(real_data("weights") / _VGG16)
        print(f"\n{arguments.data}\n minutes                             mAP (VOC 2007)")
        for minutes in arguments.minutes:
            if arguments.only is None and (found := _torchvision(arguments.python, tree, start, minutes)) is not None:
                mean = _judged(dataset, found["detections"], len(tree.classes.read_text().split()))
                note = f"{found['steps']} steps, {found['seconds'] / 60:.1f} minutes"
                print(f"  {minutes:>6g}  torchvision, Adam at 1e-4  {mean:.3f}  {note}", flush=True)
            mean, note = _ours(dataset, start, folder / f"run-{minutes:g}", minutes)
            print(f"  {minutes:>6g}  ssd300 finetune            {mean:.3f}  {note}", flush=True)


def _tree(root: Path, data: str, *, quick: bool) -> VocTree:
    """A tree with the image sets ``train`` and ``val``."""
    names = CLASSES
    if data == "voc07" and not quick:
        original, names = real_data("voc07_train") / "VOCdevkit/VOC2007", VOC_NAMES
        root.mkdir()
        for part in ("JPEGImages", "Annotations", "ImageSets"):
            (root / part).symlink_to(original.resolve() / part)
    else:
        write_shapes_tree(root, {"train": 8, "val": 4} if quick else {"train": 290, "val": 80})
    tree = VocTree(root)
    tree.classes.write_text("".join(f"{name}\n" for name in names))
    return tree


def _narrow_run(dataset: str, folder: Path) -> str:
    """A run to start from in a quick run: the full network takes minutes for a few steps."""
    small = ("--width", ".02", "--weights", "none", "--steps", "1", "--batch-size", "2")
    _run("train", dataset, "--output", str(folder / "start"), *small)
    return str(folder / "start")


def _run(*arguments: str) -> str:
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"ssd300 {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def _ours(dataset: str, start: str, run: Path, minutes: float) -> tuple[float, str]:
    said = _run("finetune", dataset, "--from", start, "--minutes", str(minutes), "--output", str(run))
    _run("evaluate", str(run), "--split", "validation", "--output", str(run / "evaluation"))
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    steps = json.loads((run / "config.json").read_text())["settings"]["steps"]
    return metrics["mAP"]["voc2007"], f"{steps} steps, {said.splitlines()[0].rsplit('; ', 1)[-1]}"


def _torchvision(python: str, tree: VocTree, weights: str, minutes: float) -> dict | None:
    """What the contender prints; None if its interpreter has no torchvision."""
    if subprocess.run([python, "-c", "import torch, torchvision, h5py"], capture_output=True, check=False).returncode:
        print(f"skipped: {python} has no torchvision; `make peers` installs it")
        return None
    script = str(CONTENDERS / "torchvision_ssd.py")
    done = subprocess.run(
        [python, script, str(tree.root), weights, str(minutes)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _judged(dataset: str, detections: dict[str, list[list[float]]], classes: int) -> float:
    """mAP (VOC 2007) of detections by image, against the held-out images' ground truth."""
    evaluator = DetectionEvaluator(classes + 1)
    for batch in evaluation_batches(EncodedDataset.open(dataset), "validation", batch_size=16):
        for i, filename in enumerate(batch["filename"].numpy()):
            found = np.array(detections[Path(filename.decode()).stem], np.float32).reshape(-1, 6)
            evaluator.add(
                found[:, 2:],
                found[:, 1],
                found[:, 0].astype(int),
                true_boxes=batch["boxes"][i].numpy().reshape(-1, 4),
                true_labels=batch["labels"][i].numpy(),
                difficult=batch["difficult"][i].numpy(),
            )
    return mean_average_precision(evaluator.results(), definition="voc2007")


if __name__ == "__main__":
    main()
