"""The presets' differences as the design lists them, and what a specification refuses."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from ssd300.model.spec import (
    ARTICLE,
    IMAGE_SIZE,
    PAPER,
    SPECS,
    FeatureMap,
    PixelSpec,
    Spec,
    SuppressionSpec,
    earlier_spec,
    spec_named,
)


def test_the_papers_preset():
    assert (PAPER.name, PAPER.matching, PAPER.match_iou) == ("paper", "bipartite", 0.5)
    assert PAPER.variances == (0.1, 0.1, 0.2, 0.2)
    assert (PAPER.conv4_3_norm, PAPER.pool5, PAPER.pixels) == ("l2", True, PixelSpec("bgr", (104, 117, 123)))
    assert PAPER.suppression == SuppressionSpec("greedy", 0.01, 400, 0.45, 200)


def test_the_articles_preset():
    assert (ARTICLE.name, ARTICLE.matching, ARTICLE.match_iou) == ("article", "threshold", 0.5)
    assert ARTICLE.variances is None
    assert (ARTICLE.conv4_3_norm, ARTICLE.pool5, ARTICLE.pixels) == ("batch", False, PixelSpec("rgb", (0, 0, 0), 255))
    assert (ARTICLE.suppression.method, ARTICLE.suppression.iou_threshold) == ("average", 0.3)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_feature_maps_of_a_preset(spec):
    assert [m.name for m in spec.feature_maps] == ["conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2"]
    assert [m.cells for m in spec.feature_maps] == [38, 19, 10, 5, 3, 1]
    assert [len(m.shapes) for m in spec.feature_maps] == [4, 6, 6, 6, 4, 4]
    # 38²·4, 19²·6, 10²·6, 5²·6, 3²·4, 1·4
    assert [m.boxes for m in spec.feature_maps] == [5776, 2166, 600, 150, 36, 4]
    assert spec.boxes == 8732


def test_steps_are_caffes_in_the_paper_and_those_of_the_grid_in_the_article():
    assert IMAGE_SIZE == 300
    assert [m.step * 300 for m in PAPER.feature_maps] == pytest.approx([8, 16, 32, 64, 100, 300])
    assert [m.step * m.cells for m in ARTICLE.feature_maps] == pytest.approx([1] * 6)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_preset_is_found_by_name_is_hashable_and_frozen(spec):
    assert spec_named(spec.name) is spec
    assert SPECS[spec.name] is spec
    assert hash(replace(spec)) == hash(spec)
    with pytest.raises(FrozenInstanceError):
        spec.match_iou = 0.4


def test_an_unknown_preset_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"paper, paper-coco, clamped, .*article; got 'Paper'"):
        spec_named("Paper")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_maps": PAPER.feature_maps[:5]}, "six feature maps, got 5"),
        ({"match_iou": 0.0}, r"match_iou .* got 0\.0"),
        ({"match_iou": 1.1}, r"match_iou .* got 1\.1"),
        ({"matching": "hungarian"}, "got 'hungarian'"),
        ({"clamp": "centre"}, "got 'centre'"),
    ],
)
def test_a_wrong_specification_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **change)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cells": 0},
        {"step": 0.0},
        {"shapes": ()},
        {"shapes": ((0.1, 0.2), (0.1, 0.0))},
        {"shapes": ((-0.1, 0.2),)},
    ],
)
def test_a_wrong_feature_map_is_refused(wrong):
    with pytest.raises(ValueError, match="at least one cell, a positive step and positive shapes"):
        FeatureMap(**{"name": "conv4_3", "cells": 38, "step": 0.1, "shapes": ((0.1, 0.2),), **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "soft"}, "got 'soft'"),
        ({"candidates": 0}, "at least 1, got 0 and 200"),
        ({"keep": 0}, "at least 1, got 400 and 0"),
        ({"keep_per_class": 0}, "at least 1"),
        ({"method": "average", "candidates": None}, "needs a limit"),
    ],
)
def test_a_wrong_suppression_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SuppressionSpec(**wrong)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_specification_survives_json(spec):
    changed = replace(
        spec, pixels=PixelSpec("rgb", (1.5, 2.0, 0.1), 3.0), suppression=SuppressionSpec(keep_per_class=7)
    )
    assert Spec.from_plain(json.loads(json.dumps(changed.to_plain()))) == changed


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**PAPER.to_plain(), "name": "paper2"},
        {**PAPER.to_plain(), "pixels": None},
        {**PAPER.to_plain(), "pixels": {"channels": "gbr"}},
        {**PAPER.to_plain(), "more": 1},
        {**PAPER.to_plain(), "clamp": "all"},
    ],
)
def test_values_that_are_no_specification_are_refused(values):
    with pytest.raises(ValueError, match=r"expected|must be"):
        Spec.from_plain(values)


def test_models_of_earlier_versions_subtract_vgg16s_means():
    assert earlier_spec("paper") == replace(PAPER, pixels=PixelSpec("bgr", (103.939, 116.779, 123.68)))
    assert earlier_spec("article") == ARTICLE


def test_box_sizes_for_coco():
    # ssd_coco.py: squares of 21 and sqrt(21 * 45) pixels, then 2:1 and 1:2
    expected = [(21, 21), (945**0.5, 945**0.5), (21 * 2**0.5, 21 / 2**0.5), (21 / 2**0.5, 21 * 2**0.5)]
    shapes = SPECS["paper-coco"].feature_maps[0].shapes
    assert [value * 300 for shape in shapes for value in shape] == pytest.approx([v for pair in expected for v in pair])
    assert SPECS["paper-coco"].feature_maps[5].shapes[0] == pytest.approx((261 / 300, 261 / 300))
