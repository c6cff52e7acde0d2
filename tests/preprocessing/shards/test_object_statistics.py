"""Object statistics: bins worked by hand, and the best IoU of each object against all 8732 default boxes."""

import numpy as np
import pytest

from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import ARTICLE, PAPER
from ssd300.preprocessing.encoding.targets import encode_batch
from ssd300.preprocessing.shards.object_statistics import best_overlaps, histograms

SPECS = pytest.mark.parametrize("spec", [PAPER, ARTICLE], ids=lambda spec: spec.name)


def counted(name: str, boxes=(), counts=(), overlaps=None) -> dict[str, int]:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    overlaps = np.zeros(len(boxes)) if overlaps is None else overlaps
    return dict(histograms(boxes, np.array(counts, int), np.array(overlaps, np.float32))[name])


@pytest.mark.parametrize(
    ("height", "width", "number"),
    [
        (45, 45, 4),  # the root of the area is 45 pixels of 300: the bin from 40 to 50
        (15, 135, 4),
        (4, 4, 0),
        (30, 100, 5),  # 54.8
        (295, 295, 29),
        (300, 300, 29),  # the last bin holds its upper end
    ],
)
def test_sizes_are_roots_of_areas_in_steps_of_ten_pixels(height, width, number):
    assert counted("size", [[0, 0, height / 300, width / 300]]) == {str(number): 1}


@pytest.mark.parametrize(
    ("height", "width", "number"),
    [
        (0.3, 0.3, 0),
        (0.2, 0.4, 4),  # 2:1 is an octave, four bins
        (0.4, 0.2, -4),
        (0.2, 0.6, 6),  # log2 3 is 1.585
        (0.3, 0.32, 0),  # log2 of 1.067 is 0.093, nearer to 0 than to 0.25
        (0.3, 0.35, 1),  # log2 of 1.167 is 0.222
        (0.01, 0.9, 16),
        (0.9, 0.01, -16),
    ],
)
def test_aspect_ratios_are_in_quarters_of_an_octave_of_width_to_height(height, width, number):
    assert counted("aspect", [[0.05, 0.05, 0.05 + height, 0.05 + width]]) == {str(number): 1}


def test_overlaps_are_in_twentieths_and_the_last_holds_one():
    overlaps = [0, 0.049, 0.051, 0.49, 0.501, 0.97, 1.0]
    boxes = [[0, 0, 0.3, 0.2]] * len(overlaps)
    assert counted("iou", boxes, overlaps=overlaps) == {"0": 2, "1": 1, "9": 1, "10": 1, "19": 2}


def test_pictures_are_counted_by_their_objects_and_twenty_and_more_are_one():
    assert counted("objects", counts=[0, 3, 0, 19, 20, 21, 500]) == {"0": 2, "3": 1, "19": 1, "20": 3}


def test_no_objects_and_no_pictures_have_empty_histograms():
    empty = histograms(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, np.float32))
    assert empty == {"size": {}, "aspect": {}, "iou": {}, "objects": {}}


def test_every_object_and_picture_is_in_one_bin():
    random = np.random.default_rng(0)
    sides = random.uniform(0.001, 1, (500, 2))
    starts = random.uniform(0, 1 - sides)
    boxes = np.concatenate([starts, starts + sides], axis=1).astype(np.float32)
    found = histograms(boxes, random.integers(0, 30, 70), random.uniform(0, 1, 500).astype(np.float32))
    assert {name: sum(counts.values()) for name, counts in found.items()} == {
        "size": 500, "aspect": 500, "iou": 500, "objects": 70,
    }  # fmt: skip


def best_of(boxes, counts, spec) -> np.ndarray:
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    targets = encode_batch(boxes, owners, spec)
    return best_overlaps(boxes, targets.highest.numpy(), spec)


def slow_best(box, spec) -> float:
    """The best IoU of one box, a default box after the other in Python's floats."""
    ymin, xmin, ymax, xmax = map(float, box)
    best = 0.0
    for cx, cy, w, h in default_boxes(spec).tolist():
        height = min(ymax, cy + h / 2) - max(ymin, cy - h / 2)
        width = min(xmax, cx + w / 2) - max(xmin, cx - w / 2)
        if height > 0 and width > 0:
            shared = height * width
            best = max(best, shared / ((ymax - ymin) * (xmax - xmin) + w * h - shared))
    return best


@SPECS
def test_the_best_overlap_of_lone_objects_is_that_with_any_default_box(spec):
    random = np.random.default_rng(1)
    sides = np.exp(random.uniform(np.log(0.01), 0, (30, 2)))
    starts = random.uniform(0, 1 - sides)
    boxes = np.concatenate([starts, starts + sides], axis=1).astype(np.float32)
    found = best_of(boxes, [1] * 30, spec)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [slow_best(box, spec) for box in boxes], atol=1e-5)
    assert (found < 0.5).any()
    assert (found > 0.5).any()


@SPECS
def test_which_objects_are_unreached_is_exact_in_crowds_too(spec):
    """More than 64 objects below the threshold are several blocks."""
    random = np.random.default_rng(2)
    sides = random.choice([0.012, 0.03, 0.1, 0.4], (150, 1)) * random.uniform(0.8, 1.2, (150, 2))
    starts = random.uniform(0.3, 0.4, (150, 2))
    boxes = np.concatenate([starts, starts + sides], axis=1).astype(np.float32)
    truly = box_ops.iou(boxes, box_ops.to_corners(default_boxes(spec))).max(axis=1)
    found = best_of(boxes, [100, 0, 50], spec)
    below = truly < spec.match_iou
    assert below.sum() > 64
    assert not below.all()
    np.testing.assert_array_equal(found < spec.match_iou, below)
    np.testing.assert_array_equal(found[below], truly[below])


@SPECS
def test_the_best_overlap_of_an_object_does_not_depend_on_its_neighbor(spec):
    boxes = np.array([[0.3, 0.3, 0.6, 0.7], [0.3, 0.3, 0.6, 0.71]], np.float32)
    np.testing.assert_array_equal(best_of(boxes, [2], spec), best_of(boxes, [1, 1], spec))


@SPECS
def test_no_objects_have_no_overlaps(spec):
    assert best_of(np.zeros((0, 4), np.float32), [0, 0], spec).shape == (0,)
