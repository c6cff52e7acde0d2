"""The settings of a run validate themselves and go through JSON."""

import json
from dataclasses import asdict, replace

import pytest

from ssd300.datasets.errors import InputError
from ssd300.preprocessing.augmentation.settings import LIGHT_AUGMENTATION, PAPER_AUGMENTATION
from ssd300.preprocessing.support.options import from_plain
from ssd300.training.settings import EvaluateSettings, InspectSettings, PredictSettings, TrainSettings


def test_the_defaults_are_the_papers_solver():
    settings = TrainSettings("d")
    assert (settings.steps, settings.batch_size, settings.optimizer) == (120_000, 32, "sgd")
    assert (settings.learning_rate, settings.schedule, settings.weight_decay) == (1e-3, "step", 5e-4)
    assert (settings.augmentation, settings.copies) == (PAPER_AUGMENTATION, False)


@pytest.mark.parametrize("change", [{"expand": 2.0}, {"crop": (0.5,)}])
def test_copies_are_not_expanded_or_cropped_again(change):
    augmentation = replace(LIGHT_AUGMENTATION, **change)
    with pytest.raises(InputError, match="expanded and cropped already"):
        TrainSettings("d", augmentation=augmentation, copies=True)
    assert TrainSettings("d", augmentation=augmentation).augmentation.has_geometry  # but other images may be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augmentation": "paper"}, "augmentation must be of type Augmentation, got 'paper'"),
        ({"optimizer": "lamb"}, "optimizer must be one of sgd, adam, got 'lamb'"),
        ({"preset": "papre"}, "preset must be one of paper, .*article, or None, got 'papre'"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"width": 0}, "width must be above 0 and at most 8, got 0"),
        ({"learning_rate": "much"}, "learning_rate must be a number, got 'much'"),
        ({"seed": -1}, "seed must be at least 0 and at most 4,294,967,295, got -1"),
    ],
)
def test_settings_say_what_was_expected_and_got(change, message):
    with pytest.raises(InputError, match=message):
        TrainSettings("d", **change)


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (EvaluateSettings, {"batch_size": 0}, "batch_size must be at least 1 and at most 65,536, got 0"),
        (PredictSettings, {"threshold": 1.5}, "threshold must be at least 0 and at most 1, got 1.5"),
        (InspectSettings, {"images": 0}, "images must be at least 1 and at most 100, got 0"),
        (InspectSettings, {"seconds": -1}, "seconds must be at least 0 and at most 3,600, got -1"),
    ],
)
def test_the_other_commands_settings_do_too(settings, change, message):
    with pytest.raises(InputError, match=message):
        settings(**change)


def test_settings_are_the_same_after_json():
    settings = TrainSettings("d", augmentation=replace(LIGHT_AUGMENTATION, hue=18.0, contrast=(0.8, 1.2)), copies=True)
    again = from_plain(TrainSettings, json.loads(json.dumps(asdict(settings))), where="config.json")
    assert again == settings
    assert hash(again) == hash(settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "run.json: expected the fields of TrainSettings"),
        ({"split": "train"}, "run.json: .*missing .*dataset"),
        ({"dataset": "d", "stepps": 3}, "run.json: unknown settings: stepps; there are: dataset, "),
        ({"dataset": "d", "steps": "3"}, "run.json: steps must be a whole number, got '3'"),
        ({"dataset": "d", "augmentation": {"hue": 200}}, "run.json: .*hue must be at least 0 and at most 180, got 200"),
        ({"dataset": "d", "augmentation": "paper"}, "run.json: augmentation must be of type Augmentation"),
    ],
)
def test_a_file_that_describes_no_settings_is_named(content, message):
    with pytest.raises(InputError, match=message):
        from_plain(TrainSettings, content, where="run.json")
