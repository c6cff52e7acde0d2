"""Parsing VOC XML, good and bad, and coordinates as fractions."""

import http.server
import threading

import pytest
from hypothesis import given, strategies as st

from ssd300.datasets.annotation import Annotation, VocObject, fractions, parse_annotation
from ssd300.datasets.faults import RejectedError

# As the VOC2007 development kit writes them: a person with parts, flags, a part's box inside the object's.
FULL = b"""<annotation>
\t<folder>VOC2007</folder>
\t<filename>000003.jpg</filename>
\t<size><width>300</width><height>200</height><depth>3</depth></size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
\t\t<bndbox><xmin>8</xmin><ymin>12</ymin><xmax>120</xmax><ymax>199</ymax></bndbox>
\t\t<part><name>head</name><bndbox><xmin>50</xmin><ymin>20</ymin><xmax>70</xmax><ymax>40</ymax></bndbox></part>
\t\t<part><name>hand</name><bndbox><xmin>10</xmin><ymin>90</ymin><xmax>20</xmax><ymax>99</ymax></bndbox></part>
\t</object>
\t<object>
\t\t<name>dog</name><difficult>1</difficult><truncated>0</truncated>
\t\t<bndbox><xmax>299.5</xmax><xmin>45.70000076293945</xmin><ymax>150</ymax><ymin>1e1</ymin></bndbox>
\t</object>
</annotation>
"""


def one_object(*, name: str = "<name>dog</name>", box: str | None = None, **corners: str) -> bytes:
    numbers = {"xmin": "10", "ymin": "20", "xmax": "30", "ymax": "40"} | corners
    box = box or "<bndbox>" + "".join(f"<{tag}>{text}</{tag}>" for tag, text in numbers.items()) + "</bndbox>"
    return f"<annotation><object>{name}{box}</object></annotation>".encode()


def fault_of(xml: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        parse_annotation(xml, "Annotations/bad.xml")
    assert caught.value.path == "Annotations/bad.xml"
    assert caught.value.message
    return caught.value.fault


def test_a_full_annotation_is_read_in_order_without_the_parts():
    assert parse_annotation(FULL, "a.xml") == Annotation(
        size=(300, 200),
        filename="000003.jpg",
        objects=(
            VocObject("person", xmin=8, ymin=12, xmax=120, ymax=199, difficult=False, truncated=True),
            VocObject("dog", xmin=45.70000076293945, ymin=10, xmax=299.5, ymax=150, difficult=True, truncated=False),
        ),
    )


def test_a_part_before_the_objects_own_box_is_ignored_too():
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    (dog,) = parse_annotation(one_object(name=part + "<name>dog</name>"), "a.xml").objects
    assert (dog.name, dog.xmin, dog.ymin, dog.xmax, dog.ymax) == ("dog", 10, 20, 30, 40)


def test_an_annotation_without_objects_is_a_negative():
    assert parse_annotation(b"<annotation><filename>x</filename></annotation>", "a.xml") == Annotation(
        None, (), filename="x"
    )


def test_spaces_around_numbers_and_newlines_around_names_do_not_matter():
    xml = one_object(name="<name>\n\tdog\r\n</name>", xmin="\n 10 ", ymax="\t40.0\n")
    assert parse_annotation(xml, "a.xml").objects == (VocObject("dog", 10, 20, 30, 40),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("0", False), (" 1\n", True), ("true", True), ("True", True), ("", False), ("Unspecified", False)],
)
def test_flags(text, expected):
    name = f"<name>dog</name><difficult>{text}</difficult><truncated>{text}</truncated>"
    (dog,) = parse_annotation(one_object(name=name), "a.xml").objects
    assert (dog.difficult, dog.truncated) == (expected, expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("<size><width>500</width><height>375</height></size>", (500, 375)),
        ("<size><width>500.0</width><height>375.0</height></size>", (500, 375)),
        ("", None),
        ("<size/>", None),
        ("<size><width>500</width></size>", None),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width>-5</width><height>7</height></size>", None),
        ("<size><width>wide</width><height>7</height></size>", None),
        ("<size><width>nan</width><height>7</height></size>", None),
        ("<size><width>inf</width><height>7</height></size>", None),
    ],
)
def test_an_unusable_size_is_none_and_no_reason_to_reject(size, expected):
    assert parse_annotation(f"<annotation>{size}</annotation>".encode(), "a.xml").size == expected


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "Infinity", "1e999", "1e300", "-1e7", "ten", "12px", "1,5", "0x10", "1 2", "1_0"]
)
@pytest.mark.parametrize("corner", ["xmin", "ymax"])
def test_a_coordinate_that_is_no_finite_number_is_rejected(corner, text):
    assert fault_of(one_object(**{corner: text})) == "bad_number"


def test_the_message_of_a_bad_number_quotes_object_corner_and_text():
    with pytest.raises(RejectedError, match=r"'dog'.*<ymin>.*'12px'"):
        parse_annotation(one_object(ymin="12px"), "a.xml")


def test_negative_coordinates_are_numbers():
    assert parse_annotation(one_object(xmin="-3"), "a.xml").objects[0].xmin == -3


@pytest.mark.parametrize(
    "xml",
    [
        one_object(box="<pose/>"),
        one_object(box="<bndbox/>"),
        one_object(box="<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax></bndbox>"),
        one_object(ymin=""),
        one_object(xmax="  \n"),
        # A part's box is not the object's.
        one_object(box="<part><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"),
    ],
    ids=["no bndbox", "empty bndbox", "no ymax", "empty ymin", "blank xmax", "only a part's"],
)
def test_an_incomplete_box_is_rejected(xml):
    assert fault_of(xml) == "incomplete_box"


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"   \n",
        FULL[: len(FULL) // 2],
        FULL.replace(b"</annotation>", b""),
        FULL + b"<annotation/>",
        b"\xff\xd8\xff\xe0 a jpeg",
        b"\0" * 100,
        b"no markup at all",
        b"<annotation><object></annotation></object>",
        b'<?xml version="1.0" encoding="no-such-code"?><annotation/>',
        b"<annotation><name>caf\xe9</name></annotation>",
        b"<annotation>&undeclared;</annotation>",
    ],
    ids=lambda xml: repr(bytes(xml[:24])),
)
def test_malformed_xml_is_rejected(xml):
    assert fault_of(xml) == "malformed_xml"


@pytest.mark.parametrize(
    "xml",
    [
        b"<html><body/></html>",
        b"<annotations/>",
        one_object(name=""),
        one_object(name="<name/>"),
        one_object(name="<name> \n</name>"),
    ],
    ids=["another root", "a plural root", "no name", "empty name", "blank name"],
)
def test_xml_that_is_not_voc_is_rejected(xml):
    assert fault_of(xml) == "not_voc_xml"


BOMB = (
    '<?xml version="1.0"{declaration}?><!DOCTYPE annotation [<!ENTITY a "dog">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_an_entity_bomb_is_refused(encoding):
    declaration = "" if encoding == "utf-8" else ' encoding="utf-16"'
    text = BOMB.replace("{declaration}", declaration)
    if encoding.startswith("utf-16-"):
        text = "\ufeff" + text
    assert fault_of(text.encode(encoding)) == "forbidden_xml"


def test_an_external_entity_is_refused_and_nothing_is_fetched(tmp_path):
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "secret.txt").write_text("dog")
        for identifier in (f"{address}/x.txt", f"file://{tmp_path}/secret.txt"):
            entity = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{identifier}">]>'.encode()
            assert fault_of(entity + one_object(name="<name>&x;</name>")) == "forbidden_xml"
        parameter = f'<!DOCTYPE annotation [<!ENTITY % x SYSTEM "{address}/p.dtd"> %x;]>'.encode()
        assert fault_of(parameter + one_object()) == "forbidden_xml"
        parse_annotation(f'<!DOCTYPE annotation SYSTEM "{address}/voc.dtd">'.encode() + one_object(), "a.xml")
        server.shutdown()
        thread.join()
    assert requests == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
def test_other_encodings_are_read(encoding):
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>' + one_object(name="<name>caf\u00e9</name>").decode()
    assert parse_annotation(text.encode(encoding), "a.xml").objects[0].name == "caf\u00e9"


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"<annotation>{text}</annotation>".encode()))
def test_any_bytes_either_parse_or_are_rejected(xml):
    try:
        annotation = parse_annotation(xml, "a.xml")
    except RejectedError:
        return
    assert annotation.objects == ()


def test_fractions_of_caffe_divide_the_numbers_as_they_are():
    # 300 x 200: x / 300, y / 200; ymin, xmin, ymax, xmax.
    got = fractions((30, 50, 150, 120), width=300, height=200)
    assert got == pytest.approx((0.25, 0.1, 0.6, 0.5), abs=1e-12)


def test_fractions_of_inclusive_subtract_one_from_the_minima_alone():
    got = fractions((31, 51, 150, 120), width=300, height=200, convention="inclusive")
    assert got == pytest.approx((50 / 200, 30 / 300, 120 / 200, 150 / 300), abs=1e-12)


def test_the_whole_picture_in_both_conventions():
    whole = (1, 1, 300, 200)
    assert fractions(whole, width=300, height=200, convention="inclusive") == (0, 0, 1, 1)
    assert fractions(whole, width=300, height=200, convention="caffe") == pytest.approx((1 / 200, 1 / 300, 1, 1))


def test_fractions_clip_nothing():
    assert fractions((-30, -50, 600, 400), width=300, height=200) == pytest.approx((-0.25, -0.1, 2, 2))
