"""No input crashes the encoding of a shard: generated annotations, mutated annotations and images."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from ssd300.datasets import record
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import FAULTS
from ssd300.datasets.files import unsealed
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import make_plan
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard

CLASSES = ClassList(("ant", "bee", "cat"))
FILES = 20  # an example

fuzz = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def encode_and_check(files: list[tuple[bytes, bytes]], **options) -> tuple[set[str], int]:
    """Encodes pairs of an XML and an image as one shard; gives the faults met and the number of records."""
    with tempfile.TemporaryDirectory() as folder:
        root, reports = Path(folder, "tree"), Path(folder, "reports")
        for path in (root, reports):
            path.mkdir()
        for number, (xml, picture) in enumerate(files):
            (root / f"{number:03d}.xml").write_bytes(xml)
            (root / f"{number:03d}.jpg").write_bytes(picture)
        job = PreprocessSettings((FolderSource("train", str(root)),), CLASSES, shard_size=1000, **options)
        plan = make_plan(job)
        rejects, names = [], []
        for shard in plan.shards:
            report = encode_shard(shard, ShardWork(job, folder, str(reports)))
            assert report.read == len(shard.pictures) == report.written + len(report.rejects)
            assert json.loads(unsealed(str(reports / f"{shard.key}.json")))["written"] == report.written
            rejects += report.rejects
            for name, count in report.findings.items():
                assert FAULTS[name].action in ("repaired", "kept")
                assert count > 0
            for one in tf.data.TFRecordDataset(f"{folder}/{shard.name}").as_numpy_iterator():
                found = record.parse_record(one)
                names.append(found.picture_id)
                assert_usable(found)
        for reject in rejects:
            assert FAULTS[reject.fault].action == "rejected"
            assert reject.message.strip()
            assert reject.path.startswith(f"{root}/")
        all_names = sorted([*names, *(reject.picture for reject in rejects)])
        assert all_names == [f"tree/{number:03d}" for number in range(len(files))]
        return {reject.fault for reject in rejects}, len(names)


def assert_usable(found: record.Record) -> None:
    boxes = found.boxes
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(found.labels) == len(boxes) == len(found.difficult) == len(found.truncated)
    assert set(found.labels) <= {1, 2, 3}
    for indices, labels, offsets in (found.targets, found.flipped_targets):
        assert np.isfinite(offsets).all()
        assert len(indices) == len(labels) == len(offsets)
        assert set(labels.tolist()) <= set(found.labels)
        assert all(0 <= index < 8732 for index in indices.tolist())
    decoded = tf.io.decode_jpeg(found.image, channels=3)
    assert decoded.shape[-1] == 3


def picture(encoding: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    """An image of 60x40 in which little is the same twice."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, encoding, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(exif=exif)


GOOD_XML = b"""<?xml version="1.0" encoding="utf-8"?>
<annotation><folder>VOC2007</folder><filename>000001.jpg</filename>
<size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>ant</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>6</xmin><ymin>4</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>
<object><name>bee</name><difficult>1</difficult>
<bndbox><xmin>20</xmin><ymin>10</ymin><xmax>56</xmax><ymax>38</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
</annotation>
"""

numbers = st.one_of(
    st.integers(-20, 80).map(str),
    st.floats(-20, 80).map(str),
    st.floats().map(str),
    st.sampled_from(["", " ", "NaN", "-inf", "1e300", "1e-320", "-0", "1_0", "\u0663", "0x1f", "1e6", "-1000000"]),
    st.sampled_from(["6", " 7 ", "\t8\n", "9.", ".5", "60", "40", "61", "<b/>", "5<!-- c -->0", "&#49;", "&amp;"]),
)
texts = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&"),
        max_size=6,
    ),
    st.sampled_from(["ant", "BEE", " c at ", "\n ant", "background", "&e;", "&lt;ant&gt;", "<b>ant</b>", "ant<x/>"]),
)
tags = st.sampled_from(
    ["annotation", "object", "name", "bndbox", "xmin", "ymin", "xmax", "ymax", "size", "width", "height", "part", "x:y"]
)


def rarely(usual, *unusual, times: int = 25):
    """Mostly the usual one."""
    return st.integers(0, times + len(unusual) - 1).map(lambda i: unusual[i - times] if i >= times else usual)


@st.composite
def elements(draw, tag: str, content) -> str:
    """An element that is sometimes absent, twice, or next to another one."""
    kind = draw(rarely("once", "absent", "twice", "stranger"))
    inner = draw(content)
    if kind == "absent":
        return ""
    if kind == "stranger":
        return draw(trees) + f"<{tag}>{inner}</{tag}>"
    return f"<{tag}>{inner}</{tag}>" * (2 if kind == "twice" else 1)


trees = st.recursive(
    texts,
    lambda inner: st.tuples(tags, st.lists(inner, max_size=3)).map(lambda t: f"<{t[0]}>{''.join(t[1])}</{t[0]}>"),
    max_leaves=5,
)


def in_order(*parts):
    return st.tuples(*parts).map("".join)


names = st.integers(0, 9).flatmap(
    lambda kind: texts if kind == 9 else st.sampled_from(["ant", "bee", "cat", "Ant", " cat"])
)
corners = st.integers(0, 9).flatmap(lambda kind: numbers if kind == 9 else st.integers(0, 60).map(str))
boxes = in_order(*(elements(tag, corners) for tag in ("xmin", "ymin", "xmax", "ymax")))
objects = in_order(
    elements("name", names), elements("difficult", st.sampled_from(["0", "1", "x"])), elements("bndbox", boxes)
)
sizes = in_order(elements("width", numbers), elements("height", numbers))
bodies = in_order(
    elements("size", sizes),
    st.lists(elements("object", objects), min_size=1, max_size=3).map("".join),
    rarely("", "<owner/>").flatmap(lambda usual: trees if usual else st.just("")),
)
ENCODINGS = ("utf-16", "latin-1", "cp037", "idna", "rot13", "utf-7", "undefined", "big5", "x" * 300)
heads = rarely(
    "",
    '<?xml version="1.0"?>',
    '<?xml version="1.1" standalone="yes"?>',
    "<!DOCTYPE annotation>",
    '<!DOCTYPE annotation SYSTEM "file:///etc/passwd">',
    '<!DOCTYPE annotation [<!ENTITY e "ant">]>',
    '<!DOCTYPE annotation [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "<!DOCTYPE annotation [<!ELEMENT annotation ANY>]>",
    '<!DOCTYPE annotation [<!ATTLIST annotation a CDATA "1">]>',
    "<!-- a comment --><?pi x?>",
    " ",
    "\ufeff",
    *(f'<?xml version="1.0" encoding="{name}"?>' for name in ENCODINGS),
    times=50,
)


@st.composite
def annotations(draw) -> bytes:
    root = draw(rarely("annotation", "Annotation", "annotations", "x:annotation"))
    xml = f"{draw(heads)}<{root}>{draw(bodies)}</{root}>"
    return xml.encode(draw(rarely("utf-8", "utf-16", "utf-16-be", "utf-32", "utf-8-sig")))


@fuzz
@given(xmls=st.lists(annotations(), min_size=FILES, max_size=FILES), min_size=st.sampled_from([0.0, 1.0, 10.0]))
def test_generated_annotations_end_as_records_or_rejects(xmls, min_size):
    encode_and_check([(xml, picture()) for xml in xmls], min_size=min_size)


def mutate(data: bytes, changes, end: int | None) -> bytes:
    """Bytes changed, inserted and cut out at places that are shares of the length, then truncated."""
    changed = bytearray(data)
    for kind, place, value in changes:
        at = int(place * len(changed))
        if kind == "set":
            changed[at : at + 1] = bytes([value])
        elif kind == "insert":
            changed[at:at] = bytes([value]) * (1 + value % 5)
        elif kind == "remove":
            del changed[at : at + 1 + value % 40]
        else:  # repeat
            changed[at:at] = changed[at : at + value]
    return bytes(changed if end is None else changed[: int(end * len(changed) / 1000)])


changes = st.lists(
    st.tuples(st.sampled_from(["set", "set", "insert", "remove", "repeat"]), st.floats(0, 1), st.integers(0, 255)),
    max_size=4,
)
# Headers are short and matter: half of the places lie in the first tenth.
early = st.lists(
    st.tuples(st.sampled_from(["set", "set", "insert", "remove"]), st.floats(0, 0.1), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)
ends = st.one_of(st.none(), st.none(), st.integers(0, 1000))
mutations = st.lists(st.tuples(changes | early, ends), min_size=FILES, max_size=FILES)


@fuzz
@given(chosen=mutations)
def test_mutated_annotations_end_as_records_or_rejects(chosen):
    encode_and_check([(mutate(GOOD_XML, *how), picture()) for how in chosen])


PICTURES = {
    "jpeg": picture(),
    "progressive": picture(progressive=True),
    "gray": picture(mode="L"),
    "cmyk": picture(mode="CMYK"),
    "turned": turned(),
    "png": picture("PNG"),
    "palette": picture("PNG", mode="P"),
    "gif": picture("GIF"),
    "bmp": picture("BMP"),
    "tiff": picture("TIFF"),
    "webp": picture("WEBP"),
}


@fuzz
@given(chosen=mutations, kinds=st.lists(st.sampled_from(list(PICTURES)), min_size=FILES, max_size=FILES))
def test_mutated_pictures_end_as_records_or_rejects(chosen, kinds):
    files = [(GOOD_XML, mutate(PICTURES[kind], *how)) for kind, how in zip(kinds, chosen, strict=True)]
    encode_and_check(files)


@fuzz
@given(chosen=mutations, verify=st.sampled_from(["decode", "header"]))
def test_a_picture_whose_header_alone_is_trusted_ends_as_a_record_or_reject(chosen, verify):
    # Without a mutation after the header: what follows it is trusted with verify=header.
    files = [(GOOD_XML, PICTURES["jpeg"] if verify == "header" else mutate(PICTURES["jpeg"], *how)) for how in chosen]
    encode_and_check(files, verify=verify)


@fuzz
@given(data=st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), min_size=FILES, max_size=FILES))
def test_random_bytes_are_rejected(data):
    faults, written = encode_and_check(data)
    assert written == 0
    assert faults <= {"malformed_xml"}


@pytest.mark.parametrize("kind", PICTURES)
def test_the_pictures_that_are_mutated_are_good_ones(kind):
    assert encode_and_check([(GOOD_XML, PICTURES[kind])]) == (set(), 1)


@pytest.mark.parametrize("text", ["1e-36", "1e-37", "1e-38", "1e-40", "1e-43"])
@pytest.mark.parametrize("side", ["xmax", "ymax"])
def test_a_box_of_next_to_no_area_has_finite_targets_or_is_rejected(side, text):
    corners = {"xmin": "0", "ymin": "0", "xmax": "60", "ymax": "40", side: text}
    tagged = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners.items())
    xml = f"<annotation><object><name>ant</name><bndbox>{tagged}</bndbox></object></annotation>".encode()
    encode_and_check([(xml, picture())])
