"""The charts of a dataset's report: classes, and how its objects fit the default boxes."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import IMAGE_SIZE, Spec
from ssd300.preprocessing.shards.object_statistics import ASPECT_BIN, IOU_BIN, LARGEST_ASPECT, MAX_OBJECTS, SIZE_BIN
from ssd300.preprocessing.support.fonts import drawable, plain_text, shortened

_LONGEST_NAME = 44
_OBJECTS, _BOXES = "tab:green", "tab:red"


def plot_classes(objects: dict[str, int]) -> bytes:
    """Number of objects by class, the most frequent first, as a PNG."""
    ranked = sorted(objects.items(), key=lambda item: -item[1])
    names = [shortened(drawable(name), _LONGEST_NAME) for name, _ in ranked]
    height = 0.9 + 0.24 * len(ranked)  # inches
    left = max(0.2, 0.02 + 0.0095 * max(map(len, names)))  # a letter is about 1/105 of the width
    with plain_text(*names):
        figure = Figure(figsize=(9, height))
        # Margins by hand: matplotlib's layout engines draw everything several times, and the job waits for it.
        figure.subplots_adjust(left=left, right=0.98, top=1 - 0.35 / height, bottom=0.35 / height)
        axes = figure.add_subplot()
        bars = axes.barh(range(len(ranked)), [count for _, count in ranked], color=_OBJECTS)
        axes.set_yticks(range(len(ranked)), names)
        axes.bar_label(bars, [f"{count:,}" for _, count in ranked], padding=3, fontsize="small")
        axes.invert_yaxis()
        axes.margins(x=0.12, y=0.01)
        axes.set(title="objects by class")
        return _png(figure)


def plot_fit(report: dict[str, Any], spec: Spec) -> bytes:
    """Sizes, aspect ratios, objects per image, best overlaps and matches by stage, as a PNG.

    Args:
        report: the total of ``report.json``.
        spec: of the default boxes, whose sizes and aspect ratios are marked.
    """
    figure = Figure(figsize=(12, 6.8))
    figure.subplots_adjust(left=0.05, right=0.98, top=0.95, bottom=0.1, hspace=0.38, wspace=0.2)
    (size, aspect, iou), (number, stages, empty) = figure.subplots(2, 3)
    counts = report["histograms"]
    boxes = default_boxes(spec)[:, 2:]

    edges = np.arange(0, IMAGE_SIZE + SIZE_BIN, SIZE_BIN)
    _bars(size, edges[:-1] + SIZE_BIN / 2, _heights(counts, "size", range(len(edges) - 1)), SIZE_BIN)
    _mark(size, np.unique(np.sqrt(boxes.prod(axis=1)).round(4)) * IMAGE_SIZE)
    size.set(title="size of objects", xlabel="root of the area, pixels of 300", xlim=(0, IMAGE_SIZE))

    bins = range(-LARGEST_ASPECT, LARGEST_ASPECT + 1)
    _bars(aspect, np.array(bins) * ASPECT_BIN, _heights(counts, "aspect", bins), ASPECT_BIN)
    _mark(aspect, np.unique(np.log2(boxes[:, 0] / boxes[:, 1]).round(4)))
    ticks = range(-4, 5)
    aspect.set_xticks(ticks, [f"1:{2**-tick}" if tick < 0 else f"{2**tick}:1" for tick in ticks])
    aspect.set(title="width : height, stretched to the square", xlim=(-4.2, 4.2))

    steps = round(1 / IOU_BIN)
    _bars(iou, (np.arange(steps) + 0.5) * IOU_BIN, _heights(counts, "iou", range(steps)), IOU_BIN)
    iou.axvline(spec.match_iou, color=_BOXES, linewidth=1)
    iou.set(title="best IoU with any default box", xlabel=f"left of the line: below {spec.match_iou:g}", xlim=(0, 1))

    _bars(number, np.arange(MAX_OBJECTS + 1), _heights(counts, "objects", range(MAX_OBJECTS + 1)), 1)
    number.set(title="objects per image", xlabel=f"last bar: {MAX_OBJECTS} or more")

    stages.bar(list(report["matches"]), list(report["matches"].values()), color=_OBJECTS)
    stages.tick_params(axis="x", rotation=30)
    stages.set(title="matched default boxes by stage")
    empty.axis("off")
    empty.text(0, 0.95, "green: the dataset's objects\nred: the default boxes", va="top", fontsize=11)
    return _png(figure)


def _heights(counts: dict[str, dict[str, int]], name: str, bins: Any) -> list[int]:
    return [counts.get(name, {}).get(str(number), 0) for number in bins]


def _bars(axes: Axes, places: np.ndarray, heights: list[int], width: float) -> None:
    axes.bar(places, heights, width=0.9 * width, color=_OBJECTS)


def _mark(axes: Axes, places: np.ndarray) -> None:
    for place in places:
        axes.axvline(place, color=_BOXES, linewidth=0.7, alpha=0.8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without matplotlib's version in it: the same bytes for the same data.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
