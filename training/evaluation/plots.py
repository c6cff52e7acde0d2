"""Plots of a training's history and of precision against recall, with matplotlib and without a display."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ssd300.preprocessing.support.fonts import drawable, plain_text, shortened
from ssd300.preprocessing.support.outputs import MADE_BY
from ssd300.training.evaluation.average_precision import ClassResult, Definition

_LONGEST_NAME = 40


def plot_precision_recall(results: dict[str, ClassResult], means: Mapping[Definition, float], path: Path) -> None:
    """One precision-recall curve per class, with its two average precisions in the legend, as a PNG."""
    names = {name: shortened(drawable(name), _LONGEST_NAME) for name in results}
    with plain_text(*names.values()):
        figure = Figure(figsize=(7.5, 5.5), layout="constrained")
        axes = figure.add_subplot()
        for name, result in results.items():
            if result.positives and result.detections:
                axes.plot(
                    np.concatenate([[0.0], result.recall]),
                    np.concatenate([result.precision[:1], result.precision]),
                    # matplotlib leaves labels out that begin with an underscore.
                    label=f" {names[name]}  {result.voc2007:.3f}  {result.voc2010:.3f}",
                    linewidth=1.6,
                )
        axes.set(
            xlabel="recall",
            ylabel="precision",
            xlim=(0, 1.02),
            ylim=(0, 1.04),
            title=f"mAP at IoU .5: {means['voc2007']:.3f} (2007, 11 points), {means['voc2010']:.3f} (2010, area)",
        )
        axes.grid(alpha=0.3)
        if axes.lines:
            columns = 1 if len(results) <= 6 or max(map(len, names.values())) > 20 else 2
            axes.legend(title="class  AP 2007  AP 2010", fontsize="small", ncols=columns, loc="lower left")
        figure.savefig(path, dpi=110, metadata={"Software": MADE_BY})


def plot_history(history: Path, path: Path) -> None:
    """The loss terms, the learning rate and the speed of a run's ``history.csv`` against its steps, as a PNG."""
    with history.open(newline="") as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> tuple[list[int], list[float]]:
        present = [row for row in rows if row[name]]
        return [int(row["step"]) for row in present], [float(row[name]) for row in present]

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, rate, speed = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for name in ("loss", "confidence", "localization"):
        loss.plot(*column(name), label=name, linewidth=1.6)
    validation = column("val_loss")
    if validation[0]:
        loss.plot(*validation, label="validation loss", marker="o", color="black", linewidth=1.2)
    loss.set(xlabel="step", title="loss", yscale="log")
    loss.legend(fontsize="small")
    rate.plot(*column("learning_rate"), color="tab:purple")
    rate.set(xlabel="step", title="learning rate", ylim=(0, None))
    speed.plot(*column("images_per_second"), color="tab:green")
    speed.set(xlabel="step", title="images per second", ylim=(0, None))
    for axes in (loss, rate, speed):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": MADE_BY})
