"""What is changed at random between a record and the network: the paper's augmentation and its settings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """The chain of the paper (section 2.2) as the released Caffe model runs it, in this order; None leaves a step out.

    Attributes:
        brightness: most that is added to or taken from all channels, in levels of 255.
        contrast: range of the factor of all channels; first or, as often, last of the four distortions.
        saturation: range of the factor of the HSV saturation.
        hue: most that the HSV hue is turned, in degrees.
        photometric_probability: of each of the four, by itself.
        expand: largest side of the canvas of mean colour that a picture is put on, relative to the picture.
        expand_probability: of that.
        crop: least IoU with any object, one of these a sampler; beside them stand the whole picture and a sampler
            that asks for nothing.
        crop_scale: range of the square root of a crop's area, relative to the picture's.
        crop_aspect: range of a crop's width over its height, relative to the picture's.
        crop_tries: of each sampler.
        flip_probability: of the mirror image.
    """

    brightness: float | None = 32.0
    contrast: Range | None = (0.5, 1.5)
    saturation: Range | None = (0.5, 1.5)
    hue: float | None = 36.0
    photometric_probability: float = 0.5
    expand: float | None = 4.0
    expand_probability: float = 0.5
    crop: tuple[float, ...] | None = (0.1, 0.3, 0.5, 0.7, 0.9)
    crop_scale: Range = (0.3, 1.0)
    crop_aspect: Range = (0.5, 2.0)
    crop_tries: int = 50
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        for name in ("photometric_probability", "expand_probability", "flip_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("contrast", "saturation", "crop_scale", "crop_aspect"):
            _check_range(name, getattr(self, name))
        if self.crop_scale[1] > 1:
            raise ValueError(f"crop_scale must not be over 1, got {self.crop_scale[1]}")
        if self.brightness is not None and not 0 <= self.brightness <= 255:
            raise ValueError(f"brightness must be in [0, 255] levels, got {self.brightness}")
        if self.hue is not None and not 0 <= self.hue <= 180:
            raise ValueError(f"hue must be in [0, 180] degrees, got {self.hue}")
        if self.expand is not None and not 1 <= self.expand <= 100:
            raise ValueError(f"expand must be in [1, 100], got {self.expand}")
        if self.crop is not None and not (self.crop and all(0 <= least <= 1 for least in self.crop)):
            raise ValueError(f"crop must be IoUs in [0, 1], at least one, or None; got {self.crop}")
        if self.crop_tries not in range(1, 1001):
            raise ValueError(f"crop_tries must be a whole number in [1, 1000], got {self.crop_tries}")

    @property
    def has_geometry(self) -> bool:
        """Whether objects move other than by a flip, so that stored targets do not hold."""
        return self.expand is not None or self.crop is not None

    @property
    def has_photometric(self) -> bool:
        """Whether colours change."""
        steps = (self.brightness, self.contrast, self.saturation, self.hue)
        return self.photometric_probability > 0 and any(step is not None for step in steps)

    def without_geometry(self) -> "Augmentation":
        """The same without expansion and crop, their settings as the paper's."""
        paper: dict[str, Any] = {
            field.name: field.default for field in fields(self) if field.name.startswith(("expand", "crop"))
        }
        return replace(self, **{**paper, "expand": None, "crop": None})

    def changed(self, texts: Iterable[str]) -> "Augmentation":
        """The same with fields given as text: ``hue=18``, ``contrast=.8,1.2``, ``expand=off``.

        Raises:
            ValueError: a field or value does not exist.
        """
        given = dict(_parse(text) for text in texts)
        return replace(self, **given)


def _check_range(name: str, value: Range | None) -> None:
    if value is not None and not (len(value) == 2 and 0 < value[0] <= value[1] < math.inf):
        raise ValueError(f"{name} must be two positive numbers, the smaller first; got {value}")


_OPTIONAL = ("brightness", "contrast", "saturation", "hue", "expand", "crop")
_SEVERAL = ("contrast", "saturation", "crop", "crop_scale", "crop_aspect")


def _parse(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    known = [field.name for field in fields(Augmentation)]
    if not equals or name not in known:
        raise ValueError(f"expected NAME=VALUE with one of {', '.join(known)}; got {text!r}")
    if value.strip() == "off" and name in _OPTIONAL:
        return name, None
    try:
        if name in _SEVERAL:
            return name, tuple(float(number) for number in value.split(","))
        return name, int(value) if name == "crop_tries" else float(value)
    except ValueError:
        off = ", or off" if name in _OPTIONAL else ""
        wanted = "numbers with commas between them" if name in _SEVERAL else "a number"
        wanted = "a whole number" if name == "crop_tries" else wanted
        raise ValueError(f"{name} must be {wanted}{off}; got {value!r}") from None


PAPER = Augmentation()
LIGHT = PAPER.without_geometry()
NONE = Augmentation(
    brightness=None, contrast=None, saturation=None, hue=None, expand=None, crop=None, flip_probability=0.0
)
PRESETS = {"paper": PAPER, "light": LIGHT, "none": NONE}


def augmentation_named(name: str) -> Augmentation:
    """The preset of this name: ``paper``, ``light`` (mirror and photometric distortion) or ``none``.

    Raises:
        ValueError: there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"augmentation must be one of {', '.join(PRESETS)}; got {name!r}")
    return PRESETS[name]
