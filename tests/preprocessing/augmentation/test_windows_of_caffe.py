"""Expansion and crop against Caffe's loops, on random batches."""

import random

import numpy as np
import pytest
from drawing_windows import WHOLE, random_batch, slow_window, traced, windows_of
from helpers import changed

from ssd300.preprocessing.augmentation.settings import (
    PAPER_AUGMENTATION as PAPER,
)
from ssd300.preprocessing.augmentation.windows import number_of_draws

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


VARIANTS = {
    "paper": PAPER,
    "no expansion": changed(PAPER, ["expand=off"]),
    "always expanded": changed(PAPER, ["expand-probability=1", "expand=2"]),
    "one try": changed(PAPER, ["crop-tries=1"]),
    "one sampler, wide crops": changed(PAPER, ["crop=.4", "crop-tries=7", "crop-aspect=1,6", "crop-scale=.1,1"]),
    "no crop": changed(PAPER, ["crop=off"]),
    "an IoU of 0": changed(PAPER, ["crop=0,1", "crop-tries=3"]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_windows_equal_caffes_loops(name):
    augmentation = VARIANTS[name]
    boxes, owners = random_batch(random.Random(name), 60)
    draws = np.random.default_rng(5).random([60, number_of_draws(augmentation)], np.float32)
    windows = windows_of(boxes, owners, draws, augmentation)
    left_out, cropped = 0, 0
    for i, window in enumerate(windows):
        objects = boxes[owners == i].astype(float).tolist()
        expected, margin = slow_window(objects, draws[i], augmentation)
        if margin < 1e-6 and name != "an IoU of 0":
            left_out += 1  # the two roundings may decide differently
            continue
        np.testing.assert_allclose(window, expected, rtol=0, atol=1e-5, err_msg=f"picture {i}, margin {margin}")
        cropped += window.tolist() != WHOLE
    assert left_out <= 2
    assert cropped > 15


def test_the_batch_decides_nothing_to_the_last_bit():
    boxes, owners = random_batch(random.Random(3), 23)
    draws = np.random.default_rng(4).random([23, number_of_draws(PAPER)], np.float32)
    together = windows_of(boxes, owners, draws, PAPER)
    for i in range(23):
        own = boxes[owners == i]
        alone = windows_of(own, np.zeros(len(own)), draws[i : i + 1], PAPER)
        np.testing.assert_array_equal(alone[0], together[i])
        traced_alone = traced(PAPER)(own, np.zeros(len(own), np.int32), draws[i : i + 1])
        np.testing.assert_array_equal(traced_alone[0], traced(PAPER)(boxes, owners, draws)[i])
