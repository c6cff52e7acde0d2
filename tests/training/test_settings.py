"""The settings of a run: which augmentation they name, and what of it they refuse."""

import json
from dataclasses import asdict

import pytest

from ssd300.preprocessing.augmentation.settings import LIGHT, NONE, PAPER
from ssd300.training.settings import TrainSettings, named_augmentation


@pytest.mark.parametrize(
    ("name", "augmentation", "copies"),
    [("paper", PAPER, False), ("light", LIGHT, False), ("none", NONE, False), ("copies", LIGHT, True)],
)
def test_a_name_gives_the_steps_and_whether_they_are_for_copies(name, augmentation, copies):
    assert named_augmentation(name) == (augmentation, copies)


def test_changes_come_on_top_of_the_preset():
    augmentation, copies = named_augmentation("paper", ("expand=off", "hue=18", "crop=.5,.7"))
    assert (augmentation.expand, augmentation.hue, augmentation.crop) == (None, 18.0, (0.5, 0.7))
    assert augmentation.contrast == PAPER.contrast
    assert not copies


def test_the_colours_of_copies_can_be_changed():
    augmentation, copies = named_augmentation("copies", ["brightness=off", "flip-probability=0"])
    assert (augmentation.brightness, augmentation.flip_probability, copies) == (None, 0.0, True)


@pytest.mark.parametrize("change", ["expand=2", "crop=.5"])
def test_copies_are_not_expanded_or_cropped_again(change):
    with pytest.raises(ValueError, match=f"expanded and cropped already, got {change}"):
        named_augmentation("copies", [change])
    assert named_augmentation("light", [change])[0].has_geometry  # but other pictures may be


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"augmentation must be one of paper, light, none.*'strong'"):
        named_augmentation("strong")


def test_the_paper_s_chain_is_the_default_of_a_run():
    settings = TrainSettings("d")
    assert named_augmentation(settings.augmentation, settings.augment) == (PAPER, False)


@pytest.mark.parametrize(
    ("augmentation", "augment", "message"),
    [
        ("strong", (), "augmentation must be one of paper, light, none, copies; got 'strong'"),
        ("", (), "augmentation must be one of"),
        ("copies", ("expand=2",), "expanded and cropped already"),
        ("paper", ("hues=18",), "expected NAME=VALUE .*'hues=18'"),
        ("paper", ("hue",), "expected NAME=VALUE .*'hue'"),
        ("paper", ("hue=much",), "hue must be a number, or off; got 'much'"),
        ("paper", ("hue=-1",), r"hue must be in \[0, 180\]"),
        ("light", ("flip_probability=2",), r"flip_probability must be in \[0, 1\]"),
        ("none", ("contrast=1.5,.5",), "contrast must be two positive numbers"),
    ],
)
def test_a_run_refuses_an_augmentation_that_cannot_be(augmentation, augment, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings("d", augmentation=augmentation, augment=augment)


def test_one_text_in_place_of_several_is_refused():
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        TrainSettings("d", augment="hue=18")


def test_settings_are_the_same_after_json():
    settings = TrainSettings("d", augmentation="light", augment=("hue=18", "contrast=.8,1.2"))
    again = TrainSettings(**json.loads(json.dumps(asdict(settings))))
    assert again == settings
    assert hash(again) == hash(settings)
    assert again.augment == ("hue=18", "contrast=.8,1.2")
