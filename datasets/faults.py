"""The faults that a VOC tree can have: which are repaired, which reject their picture, and what they mean.

`FAULTS` is the one list of them. A repaired fault is counted under its name and the picture is used; a rejected one
keeps the picture out of the dataset and puts a line with path, fault and message into ``rejected.jsonl``.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: what reports count it under.
        action: ``repaired`` or ``rejected``.
        meaning: what was found and, where it was repaired, what was done.
    """

    name: str
    action: Literal["repaired", "rejected"]
    meaning: str


_LIST = (
    Fault("missing_annotation", "rejected", "the image set names an id that has no annotation file"),
    Fault("malformed_xml", "rejected", "the annotation is not well-formed XML: truncated, empty, or not text"),
    Fault("forbidden_xml", "rejected", "the annotation declares entities; they are never expanded or fetched"),
    Fault("not_voc_xml", "rejected", "the XML is not a Pascal-VOC annotation, or lacks an object's name"),
    Fault("incomplete_box", "rejected", "an object has no bndbox, or one of its four numbers is absent"),
    Fault("bad_number", "rejected", "a coordinate is not a finite number"),
    Fault("no_area", "rejected", "a box has no width or no height"),
    Fault("outside_picture", "rejected", "a box lies wholly outside its picture"),
    Fault("unknown_class", "rejected", "an object's class is not in the class list"),
    Fault("missing_picture", "rejected", "the annotation's picture does not exist or cannot be read"),
    Fault("empty_picture", "rejected", "the picture's file has no bytes"),
    Fault("undecodable_picture", "rejected", "the picture's bytes are no picture, or are truncated or corrupt"),
    Fault("gigantic_picture", "rejected", "the picture has more pixels than the limit: a decompression bomb"),
    Fault("clipped_box", "repaired", "a box reached over the border of its picture and was cut there"),
    Fault("swapped_corners", "repaired", "a box had its minimum and maximum swapped; they were swapped back"),
    Fault("class_spelling", "repaired", "a class name differed in case or blanks from the class list"),
    Fault("duplicate_object", "repaired", "an object was there twice with the same class and box; one was kept"),
    Fault("wrong_size", "repaired", "<size> was absent or not the picture's own size, which was used"),
    Fault("exif_rotated", "repaired", "the picture was turned upright as its EXIF orientation says"),
    Fault("not_jpeg", "repaired", "the picture was no baseline RGB or grey JPEG and was stored as one"),
)

FAULTS = {fault.name: fault for fault in _LIST}


class RejectedError(ValueError):
    """A picture cannot be used. Its text says what was expected, what was got, and in which file.

    Attributes:
        fault: a name of `FAULTS` whose action is ``rejected``.
        path: the file at fault.
        message: the text without the path.
    """

    def __init__(self, fault: str, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        if FAULTS[fault].action != "rejected":
            raise ValueError(f"{fault} is repaired, it rejects nothing")
        self.fault, self.path, self.message = fault, path, message

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.fault, self.path, self.message)
