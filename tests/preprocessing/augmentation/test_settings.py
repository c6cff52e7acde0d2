"""The augmentation's settings: the paper's values, what is refused, and fields given as text."""

import dataclasses
import math

import pytest
from helpers import changed
from hypothesis import given, strategies as st

from ssd300.preprocessing.augmentation.settings import (
    LIGHT_AUGMENTATION as LIGHT,
    NO_AUGMENTATION as NONE,
    PAPER_AUGMENTATION as PAPER,
    PRESETS,
    Augmentation,
)


def test_the_default_is_the_paper():
    # Section 2.2 and Caffe's ssd_pascal.py.
    assert dataclasses.asdict(PAPER) == {
        "brightness": 32,
        "contrast": (0.5, 1.5),
        "saturation": (0.5, 1.5),
        "hue": 36,  # degrees: 18 of OpenCV's 180 levels
        "photometric_probability": 0.5,
        "expand": 4,
        "expand_probability": 0.5,
        "crop": (0.1, 0.3, 0.5, 0.7, 0.9),  # and, always, the whole image and a crop that asks for nothing
        "crop_scale": (0.3, 1.0),
        "crop_aspect": (0.5, 2.0),
        "crop_tries": 50,
        "flip_probability": 0.5,
    }
    assert Augmentation() == PAPER


def test_light_is_the_paper_without_expansion_and_crop():
    assert dataclasses.replace(PAPER, expand=None, crop=None) == LIGHT


def test_none_changes_nothing():
    assert (
        NONE.brightness,
        NONE.contrast,
        NONE.saturation,
        NONE.hue,
        NONE.expand,
        NONE.crop,
    ) == (None,) * 6
    assert NONE.flip_probability == 0


@pytest.mark.parametrize(
    ("augmentation", "geometry", "photometric"),
    [
        (PAPER, True, True),
        (LIGHT, False, True),
        (NONE, False, False),
        (dataclasses.replace(NONE, expand=2.0), True, False),
        (dataclasses.replace(NONE, crop=(0.5,)), True, False),
        (dataclasses.replace(PAPER, photometric_probability=0.0), True, False),
        (dataclasses.replace(NONE, flip_probability=0.5), False, False),
        *[
            (dataclasses.replace(NONE, **{name: getattr(PAPER, name)}), False, True)
            for name in ("brightness", "contrast", "saturation", "hue")
        ],
    ],
)
def test_what_it_changes(augmentation, geometry, photometric):
    assert (augmentation.has_geometry, augmentation.has_photometric) == (geometry, photometric)


def test_presets_by_name():
    assert PRESETS == {"paper": PAPER, "light": LIGHT, "none": NONE}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *[
            (f"{step}_probability", value, f"{step}_probability must be at least 0 and at most 1, got {value}")
            for step in ("photometric", "expand", "flip")
            for value in (-0.01, 1.01, math.nan, math.inf)
        ],
        *[
            (field, value, f"{field} must be two positive numbers up to 100, the smaller first; got")
            for field in ("contrast", "saturation", "crop_scale", "crop_aspect")
            for value in [(1.0, 0.5), (0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0)]
        ],
        *[
            (field, value, f"{field} must be 2 values, each a number")
            for field in ("contrast", "saturation", "crop_scale", "crop_aspect")
            for value in [(), (1.0,), (0.5, 1.0, 1.0), ("a", "b"), 1.0]
        ],
        *[
            (field, (1.0, value), f"{field} must be two positive numbers up to 100, the smaller first; got")
            for field in ("contrast", "saturation", "crop_scale", "crop_aspect")
            for value in (math.inf, math.nan)
        ],
        ("crop_scale", (0.3, 1.01), "crop_scale must not be over 1, got 1.01"),
        ("brightness", -1.0, r"brightness must be at least 0 and at most 255, got -1.0"),
        ("brightness", 256.0, r"brightness must be at least 0 and at most 255, got 256.0"),
        ("brightness", math.nan, "brightness .* got nan"),
        ("hue", -1.0, r"hue must be at least 0 and at most 180, got -1.0"),
        ("hue", 181.0, r"hue must be at least 0 and at most 180, got 181.0"),
        ("hue", math.nan, "hue .* got nan"),
        ("expand", 0.99, r"expand must be at least 1 and at most 100, got 0.99"),
        ("expand", 100.5, r"expand must be at least 1 and at most 100, got 100.5"),
        ("expand", math.inf, "expand .* got inf"),
        ("expand", math.nan, "expand .* got nan"),
        ("crop", (0.5, 1.1), r"crop must be IoUs in \[0, 1\], at least one, or None; got \(0.5, 1.1\)"),
        ("crop", (-0.1,), r"crop .* got \(-0.1,\)"),
        ("crop", (math.nan,), r"crop .* got \(nan,\)"),
        ("crop_tries", 0, r"crop_tries must be at least 1 and at most 1,000, got 0"),
        ("crop_tries", 1001, r"crop_tries must be at least 1 and at most 1,000, got 1001"),
    ],
)
def test_values_that_cannot_be_used_say_what_was_expected_and_got(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PAPER, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("brightness", 0.0),
        ("brightness", 255.0),
        ("hue", 0.0),
        ("hue", 180.0),
        ("contrast", (1.0, 1.0)),
        ("expand", 1.0),
        ("expand", 100.0),
        ("crop", (0.0, 1.0)),
        ("crop_scale", (1.0, 1.0)),
        ("crop_aspect", (1.0, 1.0)),
        ("crop_tries", 1),
        ("crop_tries", 1000),
        ("expand_probability", 0.0),
        ("expand_probability", 1.0),
    ],
)
def test_the_limits_are_allowed(field, value):
    assert getattr(dataclasses.replace(PAPER, **{field: value}), field) == value


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.hue = 18.0


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("hue=18", "hue", 18.0),
        ("hue=off", "hue", None),
        (" hue = 18 ", "hue", 18.0),
        ("brightness=0", "brightness", 0.0),
        ("contrast=.8,1.2", "contrast", (0.8, 1.2)),
        ("contrast= .8 , 1.2", "contrast", (0.8, 1.2)),
        ("saturation=off", "saturation", None),
        ("photometric-probability=.25", "photometric_probability", 0.25),
        ("expand=off", "expand", None),
        ("expand= off", "expand", None),
        ("expand=2.5", "expand", 2.5),
        ("crop=.5", "crop", (0.5,)),
        ("crop=.5,.7,.9", "crop", (0.5, 0.7, 0.9)),
        ("crop=off", "crop", None),
        ("crop-tries=10", "crop_tries", 10),
        ("crop_tries=10", "crop_tries", 10),
        ("crop-scale=.5,1", "crop_scale", (0.5, 1.0)),
        ("crop-aspect=1,1", "crop_aspect", (1.0, 1.0)),
        ("flip-probability=0", "flip_probability", 0.0),
    ],
)
def test_a_field_as_text_changes_that_field_alone(text, field, value):
    other = changed(PAPER, [text])
    assert getattr(other, field) == value
    assert type(getattr(other, field)) is type(value)
    assert dataclasses.replace(other, **{field: getattr(PAPER, field)}) == PAPER


def test_several_fields_as_text():
    assert changed(PAPER, ["hue=18", "expand=off"]) == dataclasses.replace(PAPER, hue=18.0, expand=None)
    assert changed(PAPER, iter(["hue=18", "hue=9"])).hue == 9  # the last one counts
    assert changed(PAPER, []) == PAPER


def test_a_step_that_is_off_can_be_switched_on_again():
    assert changed(LIGHT, ["expand=4", "crop=.1,.3,.5,.7,.9"]) == PAPER


@pytest.mark.parametrize("text", ["hue", "hues=18", "", "=18", "Hue=18", "changed=1", "hue 18"])
def test_another_field_as_text_is_refused(text):
    with pytest.raises(
        ValueError, match=r"expected NAME=VALUE with one of brightness, .*flip_probability; got "
    ) as error:
        changed(PAPER, [text])
    assert str(error.value).endswith(repr(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hue=blue", "hue must be a number, or off; got 'blue'"),
        ("hue=", "hue must be a number, or off; got ''"),
        ("hue=1,2", "hue must be a number, or off; got '1,2'"),
        ("hue=1=2", "hue must be a number, or off; got '1=2'"),
        ("expand=OFF", "expand must be a number, or off; got 'OFF'"),
        ("crop=", "crop must be numbers with commas between them, or off; got ''"),
        ("crop=.5;.7", "crop must be numbers with commas between them, or off; got '.5;.7'"),
        ("crop=.5,", "crop must be numbers with commas between them, or off; got '.5,'"),
        ("contrast=a,b", "contrast must be numbers with commas between them, or off; got 'a,b'"),
        # These four cannot be left out.
        ("crop-scale=off", "crop_scale must be numbers with commas between them; got 'off'"),
        ("crop-aspect=off", "crop_aspect must be numbers with commas between them; got 'off'"),
        ("crop-tries=off", "crop_tries must be a whole number; got 'off'"),
        ("flip-probability=off", "flip_probability must be a number; got 'off'"),
        ("crop-tries=10.5", "crop_tries must be .*; got '10.5'"),
        # What a number must be is checked as ever.
        ("hue=181", "hue must be .* got 181"),
        ("hue=nan", "hue must be .* got nan"),
        ("contrast=.8", r"contrast must be 2 values, each a number, or None, got \(0.8,\)"),
        ("contrast=1.2,.8", "the smaller first"),
        ("crop=.5,2", "IoUs"),
        ("expand=inf", "expand must be .* got inf"),
        ("crop-tries=0", "crop_tries must be at least 1"),
    ],
)
def test_a_value_as_text_that_cannot_be_used_says_what_was_expected_and_got(text, message):
    with pytest.raises(ValueError, match=message):
        changed(PAPER, [text])


@given(
    st.fixed_dictionaries(
        {
            "brightness": st.none() | st.floats(0, 255),
            "hue": st.none() | st.floats(0, 180),
            "contrast": st.none() | st.tuples(st.floats(0.01, 1), st.floats(1, 9)),
            "expand": st.none() | st.floats(1, 100),
            "crop": st.none() | st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple),
            "crop_scale": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
            "crop_tries": st.integers(1, 1000),
            "flip_probability": st.floats(0, 1),
        }
    )
)
def test_whatever_is_written_as_text_is_read_back(values):
    def text(value):
        if value is None:
            return "off"
        return ",".join(map(repr, value)) if isinstance(value, tuple) else repr(value)

    texts = [f"{name.replace('_', '-')}={text(value)}" for name, value in values.items()]
    assert changed(NONE, texts) == dataclasses.replace(NONE, **values)


def test_without_geometry_only_the_colors_and_the_flip_remain():
    custom = changed(PAPER, ["hue=9", "flip-probability=.25", "expand=2", "expand-probability=1", "crop-tries=3"])
    plain = custom.without_geometry()
    assert plain == changed(LIGHT, ["hue=9", "flip-probability=.25"])
    assert not plain.has_geometry
    # So two settings that differ in their geometry alone are equal without it.
    assert changed(PAPER, ["crop=.5", "crop-scale=.5,1", "crop-aspect=1,1"]).without_geometry() == LIGHT
    assert NONE.without_geometry() == NONE
