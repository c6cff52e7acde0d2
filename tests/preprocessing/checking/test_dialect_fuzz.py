"""Whatever a tool's dialect, no object and no file gets lost: each is used, or dropped under a name."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings, strategies as st

from ssd300.datasets.annotation import parse_annotation
from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import FAULTS, RejectedError
from ssd300.datasets.sources.folder import PICTURE_SUFFIXES, FolderSource
from ssd300.preprocessing.checking.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.checking.picture import Picture

CLASSES = ClassList(("ant", "traffic light", "B", "b"))
WIDTH, HEIGHT = 300, 200
# Faults that drop one object and keep the image.
DROPPING = ("stray_click", "duplicate_object", "small_object")

names = st.sampled_from(
    ["ant", "Ant", " a nt", "traffic light", "traffic\n\t light", "TrafficLight", "B", "b"] * 8 + ["a\u0301", "zebra"]
)
good, odd = st.integers(1, 190).map(str), st.sampled_from(["7.5", "0.25", "1", "1.0", "-3", "320", "1e6", "nan", ""])
boxes = st.one_of(*[st.tuples(good, good, good, good)] * 9, st.tuples(*[good | odd] * 4))
cases = st.sampled_from([str, str.upper, str.capitalize])
PART = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"


@st.composite
def annotations(draw) -> tuple[bytes, int]:
    """An annotation in some dialect, and the number of its boxes."""
    case, count = draw(cases), 0

    def tag(name: str, content: str) -> str:
        return f"<{case(name)}>{content}</{case(name)}>"

    def box(corners: tuple[str, ...]) -> str:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        return tag("bndbox", "".join(tag(name, text) for name, text in tags))

    elements = []
    for _ in range(draw(st.integers(0, 4))):
        own = draw(st.lists(boxes, min_size=1, max_size=3))
        count += len(own)
        parts = [tag("name", draw(names)), *map(box, own), *[PART] * draw(st.integers(0, 1))]
        element = tag("object", "".join(draw(st.permutations(parts))))
        for wrapper in draw(st.lists(st.sampled_from(["objects", "layer", "o"]), max_size=2)):
            element = f"<{wrapper}>{element}</{wrapper}>"
        elements.append(element)
    if draw(st.sampled_from([False] * 9 + [True])):
        count += 1
        elements.append(box(draw(boxes)))
    width, height = draw(st.sampled_from([(WIDTH, HEIGHT), (2 * WIDTH, 2 * HEIGHT), (HEIGHT, WIDTH), (640, 480)]))
    size = tag("size", tag("width", f"{width}") + tag("height", f"{height}"))
    encoding = draw(st.sampled_from(["utf-8", "utf8", "gbk", "GB2312", "utf-16", "iso-8859-1"]))
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + tag("annotation", size + "".join(elements))
    return text.encode({"iso-8859-1": "iso-8859-1"}.get(encoding, encoding), "xmlcharrefreplace"), count


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(annotation=annotations(), min_size=st.sampled_from([0.0, 12.0]), strict=st.booleans())
def test_every_object_is_written_or_dropped_by_name(annotation, min_size, strict):
    xml, count = annotation
    truth = outcome(xml, count, min_size=min_size, strict=strict)
    if isinstance(truth, str):
        assert FAULTS[truth].action == "rejected"
        assert truth != "malformed_xml"
        return
    dropped = sum(truth.repairs.count(fault) for fault in DROPPING)
    assert len(truth.boxes) + dropped == count
    assert ("no_objects" in truth.repairs) == (len(truth.boxes) == 0)


def outcome(xml: bytes, count: int, **options) -> GroundTruth | str:
    """The ground truth of an annotation of so many boxes, or the fault that rejects it."""
    picture = Picture(b"", WIDTH, HEIGHT, (WIDTH, HEIGHT), ())
    try:
        parsed = parse_annotation(xml, "a.xml")
        assert len(parsed.objects) == count
        return ground_truth(parsed, picture, classes=CLASSES, convention="caffe", path="a.xml", **options)
    except RejectedError as error:
        return error.fault


stems = st.sampled_from(["a", "b", "cam0/a", "cam0/c", "a.b", ".x", "a.jpg"])
endings = st.sampled_from([*PICTURE_SUFFIXES[:6], ".JPG", ".Png", ".TIFF"])
LAYOUTS = [("Annotations", "JPEGImages"), ("Annotations", "images"), ("annotations", "images"), ("", "")]
others = st.sampled_from(["notes.txt", "._a.jpg", "._a.xml", ".cache/a.jpg", "__MACOSX/a.xml", "cam0/classes.txt"])


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    pictures=st.sets(st.tuples(stems, endings), max_size=6),
    xmls=st.sets(stems, max_size=5),
    other=st.sets(others, max_size=3),
    layout=st.sampled_from(LAYOUTS),
    filename=st.booleans(),
)  # fmt: skip
def test_every_file_of_a_tree_is_used_rejected_or_ignored(pictures, xmls, other, layout, filename):
    with tempfile.TemporaryDirectory() as folder:
        annotation_folder, picture_folder = (Path(folder, part) for part in layout)
        files = {picture_folder / f"{stem}{suffix}": b"picture" for stem, suffix in pictures}
        for stem in xmls:
            named = next((f"{Path(stem).name}{suffix}" for one, suffix in sorted(pictures) if one == stem), "")
            files[annotation_folder / f"{stem}.xml"] = (
                f"<annotation>{f'<filename>{named}</filename>' if filename else ''}</annotation>".encode()
            )
        files |= {picture_folder / name: b"other" for name in other}
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for part in (annotation_folder, picture_folder):
            part.mkdir(exist_ok=True)
        source = FolderSource("train", folder)
        if not pictures and not xmls:
            return
        ids = source.ids()
        assert len(set(ids)) == len(ids)
        met: Counter[str] = Counter()
        for picture_id, found in zip(ids, source.read(ids), strict=True):
            own = [f"{picture_id}", *(f"{picture_id}{suffix}" for _, suffix in pictures)]
            if isinstance(found, RejectedError):
                assert found.fault in ("missing_annotation", "missing_picture", "shared_annotation")
                met.update(name for name in own if (picture_folder / name).is_file())
                met.update([f"{picture_id}.xml"] if (annotation_folder / f"{picture_id}.xml").is_file() else [])
            else:
                met.update([str(Path(found.path).relative_to(picture_folder))])
                met.update([str(Path(found.annotation_path).relative_to(annotation_folder))])
        expected = {f"{stem}{suffix}" for stem, suffix in pictures} | {f"{stem}.xml" for stem in xmls}
        shared = {f"{Path(name).with_suffix('')}.xml" for name in met if Path(name).suffix.lower() in PICTURE_SUFFIXES}
        assert expected - met.keys() <= shared, (ids, met)
        assert sum(source.ignored().values()) == len(other)
