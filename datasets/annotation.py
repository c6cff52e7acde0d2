"""A Pascal-VOC annotation: parsing its XML, and its coordinates as fractions of the image."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from ssd300.datasets.classes import fold
from ssd300.datasets.faults import RejectedError

Convention = Literal["caffe", "inclusive"]
CONVENTIONS: tuple[Convention, ...] = ("caffe", "inclusive")

# Far beyond any image; larger numbers are damage, and their products would leave float32.
LARGEST_COORDINATE = 1e6

_DECLARATION = re.compile(rb"""<\?xml\s[^>]*?encoding\s*=\s*["'](?P<name>[A-Za-z0-9._-]+)["'][^>]*\?>""")


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
        filename: name of the image's file as the XML claims, without folders; empty where it claims none.
    """

    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]
    in_fractions: bool = False
    filename: str = ""


def parse_annotation(xml: bytes, path: str) -> Annotation:
    """The annotation in `xml`, whose file `path` only serves the messages.

    Objects are found wherever they are in the tree, and elements by their names in any case: tools differ. A box that
    belongs to no object is a fault, so that none is lost.

    Raises:
        RejectedError: the XML cannot be used; the fault says why.
    """
    root = _parse(xml, path)
    if root.tag.lower() != "annotation":
        raise RejectedError("not_voc_xml", path, f"expected the root element <annotation>, got <{root.tag}>")
    objects: list[VocObject] = []
    for element in _walk(root, closed="object"):
        tag = element.tag.lower()
        if tag == "object":
            objects += _parse_object(element, path)
        elif tag == "bndbox":
            raise RejectedError("not_voc_xml", path, "a <bndbox> is outside of any <object>, so its class is unknown")
    children = _children(root)
    filename = _text(children, "filename").replace("\\", "/").rpartition("/")[2].strip()
    return Annotation(_parse_size(children), tuple(objects), filename=filename)


def _parse(xml: bytes, path: str) -> ElementTree.Element:
    try:
        try:
            return _root(xml)
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            again = None if isinstance(error, DefusedXmlException) else _as_utf8(xml)
            if again is None:
                raise
            return _root(again)
    except DefusedXmlException as error:
        raise RejectedError("forbidden_xml", path, f"entities are refused: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RejectedError("malformed_xml", path, f"not well-formed XML: {error}") from None


def _root(xml: bytes) -> ElementTree.Element:
    # Entities, internal or external, need a DOCTYPE. Without one, and in an encoding whose ASCII is ASCII (no zero
    # bytes), the C parser has nothing to expand and is three times faster than defusedxml's Python one.
    suspicious = b"<!DOCTYPE" in xml or b"\0" in xml
    return (defusedxml.ElementTree if suspicious else ElementTree).fromstring(xml)


def _as_utf8(xml: bytes) -> bytes | None:
    """As UTF-8, XML of an encoding that Python knows and the parser does not: ``utf8``, GBK, Shift JIS.

    None if it is not of one.
    """
    declared = _DECLARATION.match(xml)
    if declared is None:
        return None
    name = declared["name"].decode("ascii").lower()
    if name.startswith(("utf-16", "utf16")):  # what was just read as ASCII is not; some tools say so all the same
        name = "utf-8"
    # GB18030 contains the other two, as whose text editors save it.
    name = {"gb2312": "gb18030", "gbk": "gb18030"}.get(name, name)
    try:
        return xml[declared.end() :].decode(name).encode()
    except (LookupError, ValueError):
        return None


def _walk(elements: Iterable[ElementTree.Element], *, closed: str) -> Iterator[ElementTree.Element]:
    """The elements and all that they hold, in the order of the document; not what elements called `closed` hold."""
    waiting = list(elements)[::-1]  # a list and no recursion: XML may be as deep as it likes
    while waiting:
        element = waiting.pop()
        yield element
        if len(element) and element.tag.lower() != closed:
            waiting += reversed(element)


def _children(element: ElementTree.Element) -> dict[str, list[ElementTree.Element]]:
    """The children by their names in lower case."""
    found: dict[str, list[ElementTree.Element]] = {}
    for child in element:
        found.setdefault(child.tag.lower(), []).append(child)
    return found


def _text(children: dict[str, list[ElementTree.Element]], tag: str) -> str:
    """The text of the first child of this name, empty if there is none."""
    return children[tag][0].text or "" if tag in children else ""


def _parse_object(element: ElementTree.Element, path: str) -> Iterator[VocObject]:
    """The objects of one element: some tools write one for each class, with all of its boxes."""
    children = _children(element)
    name = fold(_text(children, "name"))
    if not name:
        raise RejectedError("not_voc_xml", path, "an <object> has no <name>")
    if "bndbox" not in children:
        raise RejectedError("incomplete_box", path, f"object {name!r} has no <bndbox>")
    inner = (one for tag, same in children.items() if tag != "part" for child in same for one in child)
    if (
        len(children["name"]) > 1
        or "object" in children
        or any(one.tag.lower() in ("bndbox", "object") for one in _walk(inner, closed="part"))
    ):
        raise RejectedError("not_voc_xml", path, f"object {name!r} holds a second name, or boxes of no object")
    difficult, truncated = _flag(children, "difficult"), _flag(children, "truncated")
    for box in children["bndbox"]:
        yield VocObject(name, **_corners(box, name, path), difficult=difficult, truncated=truncated)


def _corners(box: ElementTree.Element, name: str, path: str) -> dict[str, float]:
    corners, children = {}, _children(box)
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(children, corner).strip()
        if not text:
            raise RejectedError("incomplete_box", path, f"object {name!r} has no <{corner}>")
        try:
            number = math.nan if "_" in text else float(text)  # Python alone reads 1_0 as ten
        except ValueError:
            number = math.nan
        if not abs(number) <= LARGEST_COORDINATE:
            raise RejectedError("bad_number", path, f"object {name!r}: <{corner}> must be a number, got {text[:40]!r}")
        corners[corner] = number
    return corners


def _flag(children: dict[str, list[ElementTree.Element]], tag: str) -> bool:
    return _text(children, tag).strip().lower() in ("1", "true", "yes")


def _parse_size(root: dict[str, list[ElementTree.Element]]) -> tuple[int, int] | None:
    if "size" not in root:
        return None
    size = _children(root["size"][0])
    try:
        width, height = (round(float(_text(size, side))) for side in ("width", "height"))
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
