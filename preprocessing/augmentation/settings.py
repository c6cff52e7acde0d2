"""What is changed at random between a record and the network: the paper's augmentation and its settings."""

from dataclasses import dataclass, fields, replace
from typing import Any

from ssd300.datasets.errors import InputError
from ssd300.preprocessing.support.options import check_fields, option

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """The chain of the paper (section 2.2) as the released Caffe model runs it, in this order; None skips a step."""

    brightness: float | None = option(
        32.0, "maximum added to or subtracted from all channels, in levels of 255", at_least=0, at_most=255
    )
    contrast: Range | None = option(
        (0.5, 1.5), "range of the factor of all channels; first or, equally often, last of the four distortions"
    )
    saturation: Range | None = option((0.5, 1.5), "range of the factor of the HSV saturation")
    hue: float | None = option(36.0, "maximum rotation of the HSV hue, in degrees", at_least=0, at_most=180)
    photometric_probability: float = option(
        0.5, "probability of each of the four, drawn independently", at_least=0, at_most=1
    )
    expand: float | None = option(
        4.0, "maximum side of the mean-color canvas, relative to the image placed on it", at_least=1, at_most=100
    )
    expand_probability: float = option(0.5, "probability of the expansion", at_least=0, at_most=1)
    crop: tuple[float, ...] | None = option(
        (0.1, 0.3, 0.5, 0.7, 0.9),
        "minimum IoU with any object, one per sampler, next to the whole image and a sampler without a minimum",
    )
    crop_scale: Range = option((0.3, 1.0), "range of the square root of a crop's area, relative to the image's")
    crop_aspect: Range = option((0.5, 2.0), "range of a crop's width over its height, relative to the image's")
    crop_tries: int = option(50, "tries per sampler", at_least=1, at_most=1000)
    flip_probability: float = option(0.5, "probability of mirroring", at_least=0, at_most=1)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("contrast", "saturation", "crop_scale", "crop_aspect"):
            value = getattr(self, name)
            if value is not None and not 0 < value[0] <= value[1] <= 100:
                raise InputError(f"{name} must be two positive numbers up to 100, the smaller first; got {value}")
        if self.crop_scale[1] > 1:
            raise InputError(f"crop_scale must not be over 1, got {self.crop_scale[1]}")
        if self.crop is not None and not (self.crop and all(0 <= minimum <= 1 for minimum in self.crop)):
            raise InputError(f"crop must be IoUs in [0, 1], at least one, or None; got {self.crop}")

    @property
    def has_geometry(self) -> bool:
        """Whether objects move other than by a flip, so that stored targets do not hold."""
        return self.expand is not None or self.crop is not None

    @property
    def has_photometric(self) -> bool:
        """Whether colors change."""
        steps = (self.brightness, self.contrast, self.saturation, self.hue)
        return self.photometric_probability > 0 and any(step is not None for step in steps)

    def without_geometry(self) -> "Augmentation":
        """The same without expansion and crop, whose other settings become the paper's."""
        paper: dict[str, Any] = {
            field.name: field.default for field in fields(self) if field.name.startswith(("expand", "crop"))
        }
        return replace(self, **{**paper, "expand": None, "crop": None})


PAPER_AUGMENTATION = Augmentation()
LIGHT_AUGMENTATION = PAPER_AUGMENTATION.without_geometry()
NO_AUGMENTATION = Augmentation(
    brightness=None, contrast=None, saturation=None, hue=None, expand=None, crop=None, flip_probability=0.0
)
PRESETS = {"paper": PAPER_AUGMENTATION, "light": LIGHT_AUGMENTATION, "none": NO_AUGMENTATION}
