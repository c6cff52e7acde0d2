"""The faults that a VOC tree can have: which are repaired, kept or rejected, and what they mean.

`FAULTS` is the only list of them. A repaired or kept fault is counted under its name and the image is used; a
rejected one keeps the image out of the dataset and puts a line with path, fault and message into ``rejected.jsonl``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: what reports count it under.
        action: ``repaired``, ``kept`` (nothing had to be changed, but someone may want to know), ``rejected``, or
            ``ignored`` (a file that is no image and no annotation).
        meaning: what was found and, where it was repaired, what was done.
    """

    name: str
    action: Literal["repaired", "kept", "rejected", "ignored"]
    meaning: str


# An image left out on request. It counts as rejected, but it is not bad input.
DROPPED_EMPTY = "dropped_empty"

_LIST = (
    Fault("unsafe_id", "rejected", "the image set names an id that leads out of its tree; it is not followed"),
    Fault("missing_annotation", "rejected", "an image or an id of the image set has no annotation"),
    Fault(
        "shared_annotation",
        "rejected",
        "an annotation fits several images that differ in their endings alone",
    ),
    Fault("malformed_xml", "rejected", "the annotation is not well-formed XML: truncated, empty, or not text"),
    Fault("forbidden_xml", "rejected", "the annotation declares entities; they are never expanded or fetched"),
    Fault("not_voc_xml", "rejected", "the XML is not a Pascal-VOC annotation: no object's name, or boxes of no object"),
    Fault("incomplete_box", "rejected", "an object has no bndbox, or one of its four numbers is absent"),
    Fault("bad_number", "rejected", "a coordinate is not a number, not finite, or beyond a million"),
    Fault("in_fractions", "rejected", "all corners are between 0 and 1: fractions of the image, where VOC has pixels"),
    Fault("no_area", "rejected", "a box has no width or no height, and such images are not wanted (strict)"),
    Fault("outside_picture", "rejected", "a box lies wholly outside its image"),
    Fault("unknown_class", "rejected", "an object's class is not in the class list"),
    Fault("missing_picture", "rejected", "the annotation's image does not exist"),
    Fault("empty_picture", "rejected", "the image's file has no bytes"),
    Fault("undecodable_picture", "rejected", "the file is not an image, or is truncated or corrupt"),
    Fault("gigantic_picture", "rejected", "the image has more pixels than the limit: a decompression bomb"),
    Fault(DROPPED_EMPTY, "rejected", "the image has no object and such images are left out on request"),
    Fault("listed_twice", "repaired", "a split's image sets name an id of a tree again; it is encoded once"),
    Fault("stray_click", "repaired", "a box had no width or no height; it was left out"),
    Fault("clipped_box", "repaired", "a box reached over the border, by up to a tenth of the image; it was cut there"),
    Fault("overreaching_box", "repaired", "a box reached over the border by more than that; it was cut there"),
    Fault("swapped_corners", "repaired", "a box had its minimum and maximum swapped; they were swapped back"),
    Fault("class_spelling", "repaired", "a class name differed in case or whitespace from the class list"),
    Fault("duplicate_object", "repaired", "an object occurred twice with the same class and box; one was kept"),
    Fault("small_object", "repaired", "an object was smaller than the minimum size and was left out"),
    Fault("missing_size", "repaired", "<size> was absent or not a size; the image's own was used"),
    Fault("swapped_size", "repaired", "<size> had width and height swapped; the image's own was used"),
    Fault("wrong_size", "repaired", "<size> differed from the image's own size, which was used"),
    Fault(
        "resized_picture",
        "repaired",
        "<size> had the proportions of the image, but not its size; boxes were scaled by it",
    ),
    Fault("exif_rotated", "repaired", "the image was turned upright as its EXIF orientation says"),
    Fault("missing_end", "repaired", "the JPEG lacked its end marker and nothing else; it was added"),
    Fault("not_jpeg", "repaired", "the image was not a JPEG, whatever its name, and was stored as one"),
    Fault("odd_colors", "repaired", "the image was neither RGB nor gray (CMYK, a palette, ...) and was made RGB"),
    Fault("sixteen_bits", "repaired", "the image had 16 bits per channel; the upper 8 were kept"),
    Fault("no_objects", "kept", "the image has no object: a negative example"),
    Fault(
        "exif_unclear",
        "kept",
        "<size> does not tell if boxes were drawn before the image was turned; taken as after",
    ),
    Fault("in_two_splits", "kept", "an image is in several splits; what is learned on one is seen in the other"),
    Fault("mac_file", "ignored", "a file that macOS adds to copies and archives (._NAME, __MACOSX)"),
    Fault("hidden_file", "ignored", "a file in a folder whose name begins with a dot"),
    Fault("other_file", "ignored", "a file that is no annotation or image, or not where those are"),
)

FAULTS = {fault.name: fault for fault in _LIST}


class RejectedError(ValueError):
    """An image cannot be used. Its text says what was expected, what was found, and in which file.

    Attributes:
        fault: a name of `FAULTS` whose action is ``rejected``.
        path: the file at fault.
        message: the text without the path.
    """

    def __init__(self, fault: str, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        if FAULTS[fault].action != "rejected":
            raise ValueError(f"{fault} is {FAULTS[fault].action}, it rejects nothing")
        self.fault, self.path, self.message = fault, path, message

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.fault, self.path, self.message)


class Rejection(Protocol):
    """Why an image cannot be used: what `RejectedError` and a report's rejects have in common."""

    @property
    def fault(self) -> str:
        """A name of `FAULTS`."""

    @property
    def path(self) -> str:
        """The file at fault."""

    @property
    def message(self) -> str:
        """What was expected and found."""


def most_frequent(rejects: Sequence[Rejection], limit: int = 10) -> str:
    """The most frequent faults among rejected images, a line each, with their counts and an example."""
    examples: dict[str, Rejection] = {}
    for reject in rejects:
        examples.setdefault(reject.fault, reject)
    counts = Counter(reject.fault for reject in rejects).most_common(limit)
    return "\n".join(
        f"  {count:>7,}  {fault}, for example {examples[fault].path}: {examples[fault].message}"
        for fault, count in counts
    )
