"""A Pascal-VOC annotation: parsing its XML, and its coordinates as fractions of the image."""

import math
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from ssd300.datasets.faults import RejectedError

Convention = Literal["caffe", "inclusive"]
CONVENTIONS: tuple[Convention, ...] = ("caffe", "inclusive")

# Far beyond any image; larger numbers are damage, and their products would leave float32.
LARGEST_COORDINATE = 1e6


@dataclass(frozen=True)
class VocObject:
    """One annotated object; corners as in the XML: VOC's are pixels, 1-based and inclusive."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class Annotation:
    """A parsed annotation.

    Attributes:
        size: ``(width, height)`` as the XML claims, None where it claims nothing usable.
        objects: the objects in the order of the XML. The parts of a person (``<part>``) are not among them.
        in_fractions: whether the corners are fractions of the image, as other formats than VOC have them.
    """

    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]
    in_fractions: bool = False


def parse_annotation(xml: bytes, path: str) -> Annotation:
    """The annotation in `xml`, whose file `path` only serves the messages.

    Raises:
        RejectedError: the XML cannot be used; the fault says why.
    """
    root = _parse(xml, path)
    if root.tag != "annotation":
        raise RejectedError("not_voc_xml", path, f"expected the root element <annotation>, got <{root.tag}>")
    objects = tuple(_parse_object(element, path) for element in root.findall("object"))
    return Annotation(_parse_size(root), objects)


def _parse(xml: bytes, path: str) -> ElementTree.Element:
    # Entities, internal or external, need a DOCTYPE. Without one, and in an encoding whose ASCII is ASCII (no zero
    # bytes), the C parser has nothing to expand and is three times faster than defusedxml's Python one.
    suspicious = b"<!DOCTYPE" in xml or b"\0" in xml
    try:
        return (defusedxml.ElementTree if suspicious else ElementTree).fromstring(xml)
    except DefusedXmlException as error:
        raise RejectedError("forbidden_xml", path, f"entities are refused: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RejectedError("malformed_xml", path, f"not well-formed XML: {error}") from None


def _parse_object(element: ElementTree.Element, path: str) -> VocObject:
    name = (element.findtext("name") or "").strip("\r\n\t")
    if not name.strip():
        raise RejectedError("not_voc_xml", path, "an <object> has no <name>")
    box = element.find("bndbox")
    if box is None:
        raise RejectedError("incomplete_box", path, f"object {name!r} has no <bndbox>")
    corners = {}
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = (box.findtext(corner) or "").strip()
        if not text:
            raise RejectedError("incomplete_box", path, f"object {name!r} has no <{corner}>")
        try:
            number = math.nan if "_" in text else float(text)  # Python alone reads 1_0 as ten
        except ValueError:
            number = math.nan
        if not abs(number) <= LARGEST_COORDINATE:
            raise RejectedError("bad_number", path, f"object {name!r}: <{corner}> must be a number, got {text[:40]!r}")
        corners[corner] = number
    return VocObject(name, difficult=_flag(element, "difficult"), truncated=_flag(element, "truncated"), **corners)


def _flag(element: ElementTree.Element, tag: str) -> bool:
    return (element.findtext(tag) or "").strip().lower() in ("1", "true", "yes")


def _parse_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (round(float(root.findtext(f"size/{side}") or "")) for side in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def fractions(
    corners: tuple[float, float, float, float], *, width: int, height: int, convention: Convention = "caffe"
) -> tuple[float, float, float, float]:
    """VOC pixel corners ``(xmin, ymin, xmax, ymax)`` as a box ``(ymin, xmin, ymax, xmax)``, fractions of the image.

    VOC counts pixels from 1 and includes the last one. ``caffe`` divides the numbers as they are, so that the first
    column begins at 1/width (Caffe's ReadXMLToAnnotatedDatum, on which the released models were trained);
    ``inclusive`` subtracts one from the minima, which is where the pixels' edges are. Nothing is clipped.
    """
    xmin, ymin, xmax, ymax = corners
    shift = 1.0 if convention == "inclusive" else 0.0
    return (ymin - shift) / height, (xmin - shift) / width, ymax / height, xmax / width
