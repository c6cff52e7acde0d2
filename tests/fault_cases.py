"""Faulty and good files, and what is expected of each: the cases of test_every_fault.py."""

from dataclasses import dataclass

import numpy as np
from fault_pictures import jpeg, pixels, png_of_16_bits, png_that_claims, saved, turned, upside_down
from PIL import Image

from ssd300.datasets.classes import ClassList

ANT, BEE, CAT = 1, 2, 3
CLASSES = ClassList(("ant", "bee", "cat"))
BOX = (30, 20, 150, 100)
FRACTIONS = [0.1, 0.1, 0.5, 0.5]  # of BOX in 300x200, as ymin, xmin, ymax, xmax
TAGS = ("xmin", "ymin", "xmax", "ymax")


def claimed(width, height) -> str:
    return f"<size><width>{width}</width><height>{height}</height></size>"


SIZE = "<size><width>300</width><height>200</height><depth>3</depth></size>"


def numbers(corners) -> str:
    return "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(TAGS, corners, strict=True) if value is not None)


def thing(name: str = "ant", corners=BOX, extra: str = "") -> str:
    return f"<object><name>{name}</name>{extra}<bndbox>{numbers(corners)}</bndbox></object>"


def voc(*objects: str, size: str = SIZE, head: str = "") -> bytes:
    return f"<annotation>{head}{size}{''.join(objects)}</annotation>".encode()


@dataclass(frozen=True)
class Good:
    """An image that is written: its repairs and kept findings, boxes and labels."""

    xml: bytes
    found: tuple[str, ...] = ()
    boxes: tuple = (FRACTIONS,)
    labels: tuple[int, ...] = (ANT,)
    picture: bytes = jpeg()
    suffix: str = ".jpg"
    same_bytes: bool = True
    pixel: tuple[int, int, int] | None = None  # at x=75, y=50


@dataclass(frozen=True)
class Bad:
    """An image that is rejected: the fault, whether it lies in the XML or the image, and a part of the message."""

    fault: str
    xml: bytes | None = voc(thing())
    picture: bytes | None = jpeg()
    says: str = ""
    suffix: str = ".jpg"

    @property
    def file(self) -> str:
        in_picture = self.fault.endswith("_picture") and self.fault != "outside_picture"
        return f"JPEGImages/{{}}{self.suffix}" if in_picture else "Annotations/{}.xml"


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    + "]><annotation><object><name>&a9;</name></object></annotation>"
).encode()
PASSWD = (
    b'<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<annotation><object><name>&x;</name><bndbox><xmin>30</xmin><ymin>20</ymin><xmax>150</xmax><ymax>100</ymax>"
    b"</bndbox></object></annotation>"
)
DEEP = b"<annotation>" + b"<a>" * 50_000 + b"</a>" * 50_000 + voc(thing()).removeprefix(b"<annotation>")

BAD = {
    "xml mismatched tags": Bad("malformed_xml", b"<annotation><object></annotation>"),
    "xml truncated": Bad("malformed_xml", voc(thing(), thing("bee"))[:-60]),
    "xml truncated in a name": Bad("malformed_xml", voc(thing())[:130]),
    "xml empty": Bad("malformed_xml", b""),
    "xml blank": Bad("malformed_xml", b" \n"),
    "xml garbage": Bad("malformed_xml", bytes(range(256)) * 8),
    "xml garbage without zeros": Bad("malformed_xml", bytes(range(1, 256))),
    "xml that is a jpeg": Bad("malformed_xml", jpeg()),
    "xml not utf-8": Bad("malformed_xml", voc(thing("caf\u00e9")).decode().encode("latin-1")),
    "xml of an unknown encoding": Bad("malformed_xml", b'<?xml version="1.0" encoding="klingon"?>' + voc(thing())),
    "xml of no text encoding": Bad("malformed_xml", b'<?xml version="1.0" encoding="base64"?>' + voc(thing())),
    "xml with an undeclared entity": Bad("malformed_xml", voc(thing("&nbsp;"))),
    "xml after a newline": Bad("malformed_xml", b'\n<?xml version="1.0"?>' + voc(thing())),
    "xml twice": Bad("malformed_xml", voc(thing()) * 2),
    "bomb": Bad("forbidden_xml", BOMB),
    "bomb utf-16": Bad("forbidden_xml", BOMB.decode().encode("utf-16")),
    "passwd": Bad("forbidden_xml", PASSWD),
    "passwd utf-16": Bad("forbidden_xml", PASSWD.decode().encode("utf-16")),
    "entity parameter": Bad("forbidden_xml", b'<!DOCTYPE annotation [<!ENTITY % p "x">]><annotation></annotation>'),
    "not voc root": Bad("not_voc_xml", b"<html><body>404</body></html>", says="<html>"),
    "not voc namespace": Bad("not_voc_xml", b'<annotation xmlns="http://x">' + voc(thing())[12:]),
    "not voc without name": Bad("not_voc_xml", voc(thing().replace("<name>ant</name>", ""))),
    "not voc blank name": Bad("not_voc_xml", voc(thing("  "))),
    "no bndbox": Bad("incomplete_box", voc("<object><name>ant</name></object>"), says="bndbox"),
    "empty bndbox": Bad("incomplete_box", voc("<object><name>ant</name><bndbox/></object>"), says="xmin"),
    "bndbox of a part alone": Bad(
        "incomplete_box", voc(f"<object><name>ant</name><part>{thing()[8:-9]}</part></object>"), says="bndbox"
    ),
    **{
        f"no {tag}": Bad("incomplete_box", voc(thing(corners=[None if t == tag else 50 for t in TAGS])), says=tag)
        for tag in TAGS
    },
    "blank xmax": Bad("incomplete_box", voc(thing(corners=(30, 20, " ", 100))), says="xmax"),
    **{
        f"number {text}": Bad("bad_number", voc(thing(corners=(30, text, 150, 100))), says="ymin")
        for text in ("ten", "NaN", "inf", "-inf", "1e300", "1e999", "0x10", "1,5", "1_0", "20 30", "1000001")
    },
    "fractions": Bad("in_fractions", voc(thing(corners=(0.1, 0.1, 0.5, 0.5)), thing("bee", (0, 0, 1, 1))), says="0.5"),
    "box of no object": Bad("not_voc_xml", voc(thing(), f"<bndbox>{numbers(BOX)}</bndbox>"), says="outside of any"),
    "object in an object": Bad("not_voc_xml", voc(thing(extra=thing("bee")))),
    "two names": Bad("not_voc_xml", voc(thing(extra="<name>bee</name>"))),
    "only a rotated box": Bad("incomplete_box", voc("<object><name>ant</name><robndbox/></object>")),
    "outside right": Bad("outside_picture", voc(thing(corners=(301, 20, 350, 100)))),
    "outside touching": Bad("outside_picture", voc(thing(corners=(300, 20, 350, 100)))),
    "outside above": Bad("outside_picture", voc(thing(corners=(30, -90, 150, -10)))),
    "outside by far": Bad("outside_picture", voc(thing(corners=(900_000, 900_000, 1_000_000, 1_000_000)))),
    "class unknown": Bad("unknown_class", voc(thing(), thing("zebra")), says="zebra"),
    "class background": Bad("unknown_class", voc(thing("background"))),
    "class of unicode": Bad("unknown_class", voc(thing("M\u00fccke")), says="M\u00fccke"),
    "picture missing": Bad("missing_picture", picture=None),
    "picture empty": Bad("empty_picture", picture=b""),
    "picture truncated": Bad("undecodable_picture", picture=jpeg()[:-500]),
    "picture cut in its header": Bad("undecodable_picture", picture=jpeg()[:40]),
    "picture cut after its header": Bad("undecodable_picture", picture=jpeg()[:700]),
    "picture of text": Bad("undecodable_picture", picture=b"404 not found\n"),
    "picture of zeros": Bad("undecodable_picture", picture=b"\0" * 4000),
    "picture turned and truncated": Bad("undecodable_picture", picture=turned(6)[:-500]),
    "picture png truncated": Bad(
        "undecodable_picture", picture=saved(Image.fromarray(pixels()), "PNG")[:-300], suffix=".png"
    ),
    "picture gigantic": Bad("gigantic_picture", picture=png_that_claims(100_000, 100_000)),
    "picture gigantic png": Bad("gigantic_picture", picture=png_that_claims(100_000, 100_000), suffix=".png"),
    "picture just too large": Bad("gigantic_picture", picture=png_that_claims(10_000, 8_901)),
    "annotation missing": Bad("missing_annotation", None),
    "neither annotation nor picture": Bad("missing_annotation", None, None),
    "../escape": Bad("unsafe_id"),
    "sub/../../../escape": Bad("unsafe_id", None, None),
    "/etc/passwd": Bad("missing_annotation", None, None),
}

GREY_16 = (pixels()[..., 0].astype(np.uint16) << 8)[..., None]
COLOR_16 = pixels().astype(np.uint16) << 8

GOOD = {
    "good 1": Good(voc(thing())),
    "good_2": Good(
        voc(thing("cat", (100, 50, 280, 190)), thing("bee")), (), ([0.25, 1 / 3, 0.95, 14 / 15], FRACTIONS), (CAT, BEE)
    ),
    "good_3": Good(voc(thing("bee")), labels=(BEE,)),
    "blank id 7": Good(voc(thing())),
    "id \u00fcber \u732b": Good(voc(thing())),
    "sub/folder": Good(voc(thing())),
    "id.with.dots": Good(voc(thing())),
    "twice": Good(voc(thing())),
    "xml utf-16 with doctype": Good(
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE annotation>' + voc(thing()).decode()).encode("utf-16")
    ),
    "xml with a doctype": Good(b'<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "voc.dtd">' + voc(thing())),
    "xml with bom": Good(b"\xef\xbb\xbf" + voc(thing())),
    "xml latin-1": Good(
        b'<?xml version="1.0" encoding="iso-8859-1"?>' + voc(thing(), head="<o>\u00e9</o>").decode().encode("latin-1")
    ),
    "xml deep": Good(DEEP),
    "xml of a wide encoding": Good(b'<?xml version="1.0" encoding="shift_jis"?>' + voc(thing())),
    "xml utf8 without its hyphen": Good(b'<?xml version="1.0" encoding="utf8"?>' + voc(thing())),
    "xml that claims utf-16": Good(b'<?xml version="1.0" encoding="utf-16"?>' + voc(thing())),
    "xml gbk": Good(b'<?xml version="1.0" encoding="GBK"?>' + voc(thing(), head="<o>\u732b</o>").decode()
                    .encode("gbk")),
    "objects nested": Good(voc(f"<objects>{thing()}<o>{thing('bee')}</o></objects>"), (), (FRACTIONS, FRACTIONS),
                           (ANT, BEE)),
    "objects in capitals": Good(voc(thing("ant").replace("object>", "Object>").replace("bndbox", "BndBox"))),
    "several boxes in one object": Good(voc(thing().replace("</bndbox>", f"</bndbox><bndbox>{numbers((1, 1, 9, 9))}"
                                        "</bndbox>")), (), (FRACTIONS, [0.005, 1 / 300, 0.045, 0.03]), (ANT, ANT)),
    "area zero width": Good(voc(thing(corners=(30, 20, 30, 100))), ("stray_click", "no_objects"), (), ()),
    "area zero height": Good(voc(thing(corners=(30, 20, 150, 20))), ("stray_click", "no_objects"), (), ()),
    "area zero": Good(voc(thing(), thing("bee", (0, 0, 0, 0))), ("stray_click",)),
    "area beyond float32": Good(voc(thing(corners=("30", "20", "30.0000000001", "100"))),
                                ("stray_click", "no_objects"), (), ()),
    "no objects": Good(voc(), ("no_objects",), (), ()),
    "annotation with nothing": Good(b"<annotation/>", ("no_objects", "missing_size"), (), ()),
    "parts": Good(voc(thing(extra=f"<part>{thing('head', (1, 1, 9, 9))[8:-9]}</part>"))),
    "numbers float": Good(voc(thing(corners=("30.5", "20.25", "150.75", "1e2"))), (),
                          ([0.10125, 30.5 / 300, 0.5, 0.5025],)),
    "numbers padded": Good(voc(thing(corners=(" 30 ", "\n20\n", "\t150", "100 ")))),
    "numbers signed": Good(voc(thing(corners=("+30", "020", "150.", "100")))),
    "clipped by a pixel": Good(voc(thing(corners=(-1, 20, 301, 100))), ("clipped_box",), ([0.1, 0, 0.5, 1],)),
    "clipped by a tenth": Good(voc(thing(corners=(30, 20, 330, 100))), ("clipped_box",), ([0.1, 0.1, 0.5, 1],)),
    "over by a lot": Good(voc(thing(corners=(30, 20, 331, 100))), ("overreaching_box",), ([0.1, 0.1, 0.5, 1],)),
    "over negative": Good(voc(thing(corners=(-900, -20.5, 150, 100))), ("overreaching_box",), ([0, 0, 0.5, 0.5],)),
    "over everywhere": Good(voc(thing(corners=(-1e6, -1e6, 1e6, 1e6))), ("overreaching_box",), ([0, 0, 1, 1],)),
    "border is inside": Good(voc(thing(corners=(1, 1, 300, 200))), (), ([1 / 200, 1 / 300, 1, 1],)),
    "swapped x": Good(voc(thing(corners=(150, 20, 30, 100))), ("swapped_corners",)),
    "swapped y": Good(voc(thing(corners=(30, 100, 150, 20))), ("swapped_corners",)),
    "swapped both": Good(voc(thing(corners=(150, 100, 30, 20))), ("swapped_corners",)),
    "class in capitals": Good(voc(thing("ANT")), ("class_spelling",)),
    "class with spaces": Good(voc(thing("  a nt ")), ("class_spelling",)),
    "class on a line": Good(voc(thing("\n\tant\n"))),
    "duplicate": Good(voc(thing(), thing()), ("duplicate_object",)),
    "duplicate thrice": Good(voc(thing(), thing(), thing()), ("duplicate_object",) * 2),
    "same box of two classes": Good(voc(thing(), thing("bee")), (), (FRACTIONS, FRACTIONS), (ANT, BEE)),
    "size absent": Good(voc(thing(), size=""), ("missing_size",)),
    "size zero": Good(voc(thing(), size=claimed(0, 0)), ("missing_size",)),
    "size negative": Good(voc(thing(), size=claimed(-300, 200)), ("missing_size",)),
    "size text": Good(voc(thing(), size=claimed("wide", "nan")), ("missing_size",)),
    "size inf": Good(voc(thing(), size=claimed("inf", 200)), ("missing_size",)),
    "size half": Good(voc(thing(), size="<size><width>300</width></size>"), ("missing_size",)),
    "size wrong": Good(voc(thing(), size=claimed(640, 480)), ("wrong_size",)),
    "size huge": Good(voc(thing(), size=claimed("1e300", 200)), ("wrong_size",)),
    "size double": Good(voc(thing(corners=(60, 40, 300, 200)), size=claimed(600, 400)), ("resized_picture",)),
    "size a third": Good(voc(thing(corners=(10, 6.7, 50, 33.5)), size=claimed(100, 67)), ("resized_picture",)),
    "size a third without its boxes": Good(voc(thing(), size=claimed(100, 67)), ("wrong_size",)),
    "size a pixel off": Good(voc(thing(), size=claimed(301, 201)), ("wrong_size",)),
    "size swapped": Good(voc(thing(), size=claimed(200, 300)), ("swapped_size",)),
    "filename elsewhere": Good(voc(thing(), head="<folder>/etc</folder><filename>../../secret.jpg</filename>")),
    "gray": Good(voc(thing()), picture=saved(Image.fromarray(pixels()[..., 1]))),
    "end missing": Good(voc(thing()), ("missing_end",), picture=jpeg()[:-2], same_bytes=False, pixel=(64, 150, 90)),
    "end missing of one that is turned": Good(voc(thing()), ("exif_rotated", "missing_end"), picture=turned(6)[:-2],
                                              same_bytes=False),
    "progressive": Good(voc(thing()), picture=jpeg(progressive=True)),
    "several pictures in one": Good(voc(thing()), picture=saved(Image.fromarray(pixels()), "MPO", save_all=True,
                                    append_images=[Image.fromarray(pixels(30, 20))])),
    "png": Good(voc(thing()), ("not_jpeg",), picture=saved(Image.fromarray(pixels()), "PNG"), suffix=".png",
                same_bytes=False, pixel=(64, 150, 90)),
    "png named jpg": Good(voc(thing()), ("not_jpeg",), picture=saved(Image.fromarray(pixels()), "PNG"),
                          same_bytes=False, pixel=(64, 150, 90)),
    "jpeg named PNG": Good(voc(thing()), suffix=".PNG"),
    "capitals": Good(voc(thing()), suffix=".JPG"),
    "cmyk": Good(voc(thing()), ("odd_colors",), picture=saved(Image.fromarray(pixels()).convert("CMYK")),
                 same_bytes=False, pixel=(64, 150, 90)),
    "palette": Good(voc(thing()), ("not_jpeg", "odd_colors"), same_bytes=False, pixel=(60, 150, 90), suffix=".png",
                    picture=saved(Image.fromarray(pixels()).quantize(256), "PNG")),
    "alpha": Good(voc(thing()), ("not_jpeg", "odd_colors"), same_bytes=False, pixel=(64, 150, 90),
                  picture=saved(Image.fromarray(pixels()).convert("RGBA"), "PNG"), suffix=".png"),
    "sixteen bits": Good(voc(thing()), ("not_jpeg", "sixteen_bits"), picture=png_of_16_bits(GREY_16),
                         same_bytes=False, pixel=(64, 64, 64), suffix=".png"),
    "sixteen bits in color": Good(voc(thing()), ("not_jpeg", "sixteen_bits"), picture=png_of_16_bits(COLOR_16),
                                  same_bytes=False, pixel=(64, 150, 90), suffix=".png"),
    "turned upright": Good(voc(thing()), ("exif_rotated",), picture=turned(6), same_bytes=False),
    "turned lying": Good(voc(thing(corners=(20, 30, 100, 150)), size=claimed(200, 300)),
                         ("exif_rotated",), ([0.1, 0.5, 0.5, 0.9],), picture=turned(6), same_bytes=False),
    "turned eight": Good(voc(thing(corners=(20, 30, 100, 150)), size=claimed(200, 300)),
                         ("exif_rotated",), ([0.5, 0.1, 0.9, 0.5],), picture=turned(8), same_bytes=False),
    "turned around": Good(voc(thing()), ("exif_rotated", "exif_unclear"), picture=upside_down(), same_bytes=False),
    "turned and without a size": Good(voc(thing(), size=""), ("exif_rotated", "missing_size", "exif_unclear"),
                                      picture=turned(6), same_bytes=False),
    "turned and doubled": Good(voc(thing(corners=(40, 60, 200, 300)), size=claimed(400, 600)),
                               ("exif_rotated", "resized_picture"), ([0.1, 0.5, 0.5, 0.9],), picture=turned(6),
                               same_bytes=False),
    "exif of no meaning": Good(voc(thing(), size=claimed(200, 300)), (),
                               ([20 / 300, 30 / 200, 100 / 300, 150 / 200],), picture=turned(9)),
    "one pixel": Good(voc(thing(corners=(0, 0, 1, 1)), size=claimed(1, 1)), (),
                      ([0, 0, 1, 1],), picture=jpeg(1, 1)),
    "many objects": Good(voc(*(thing("bee", (x, 20, x + 1, 100)) for x in range(250))), (),
                         tuple([0.1, x / 300, 0.5, (x + 1) / 300] for x in range(250)), (BEE,) * 250),
    "hair": Good(voc(thing(corners=("0", "0", "1e-40", "200")), thing("bee")), (),
                 ([0, 0, 1, 1e-40 / 300], FRACTIONS), (ANT, BEE)),
}  # fmt: skip

SETS = {
    "train": [*GOOD, *BAD, "twice", "no such line  "],
    "again": ["twice", "good_3"],
    "flagged": ["good 1 -1", "good_2  1", "only_here  0"],
}
ONLY_VAL = {"only_here": Good(voc(thing("cat")), labels=(CAT,))}
