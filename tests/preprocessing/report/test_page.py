"""The page of a dataset: self-contained, escaped, with images, and the same each time."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.plan import Plan, make_plan
from ssd300.preprocessing.report.page import dataset_page
from ssd300.preprocessing.report.summary import build_report
from ssd300.preprocessing.settings import PreprocessSettings
from ssd300.preprocessing.shards.encode_shard import ShardWork, encode_shard
from ssd300.preprocessing.shards.shard_report import Reject

BOX = (30, 20, 150, 100)
PICTURES = {f"{number:06d}": [("ant", *BOX), ("bee", 100, 50, 280 - number, 190)] for number in range(7)}
PICTURES["000002"] = [("ant", 30, 20, 33, 22)]  # no default box reaches it
PICTURES["000003"] = [(escape("<b>dog & cat</b>"), *BOX)]
PICTURES["000004"] = []
RED, GREEN = 0, 1


@dataclass
class Job:
    plan: Plan
    report: dict
    rejects: list[Reject]
    folder: str

    def page(self, *, records: bool = True) -> str:
        return dataset_page(self.plan, self.report, self.rejects, self.folder if records else None)


@pytest.fixture
def job(voc_tree, tmp_path) -> Callable[..., Job]:
    """``job(pictures, files=None, **options)``: all shards of a tree encoded."""

    def encode(pictures, *, files=None, **options) -> Job:
        root = voc_tree(pictures, files=files)
        settings = PreprocessSettings(
            sources=(FolderSource("train", str(root), "train"),),
            classes=ClassList(("ant", "bee")),
            **{"shard_size": 3, **options},
        )
        plan, folder = make_plan(settings), str(tmp_path / "dataset")
        Path(folder, "reports").mkdir(parents=True)
        shards = {
            shard.key: encode_shard(shard, ShardWork(settings, folder, f"{folder}/reports")) for shard in plan.shards
        }
        rejects = [reject for shard in shards.values() for reject in shard.rejects]
        return Job(plan, build_report(plan, shards), rejects, folder)

    return encode


class Parsed(HTMLParser):
    """Attributes by tag, and the cells of the tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def pictures_of(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/(png|jpeg);base64,([^"]+)"', page)
    images = [(kind, Image.open(io.BytesIO(base64.b64decode(data, validate=True)))) for kind, data in found]
    assert all(image.format.lower() == kind for kind, image in images)
    return [image.convert("RGB") for _, image in images]


def gray(pictures) -> dict[str, bytes]:
    """Files that make the images gray, so that all colors are those of boxes."""
    buffer = io.BytesIO()
    Image.new("L", (300, 200), 128).save(buffer, "JPEG")
    return {f"JPEGImages/{name}.jpg": buffer.getvalue() for name in pictures}


def has_color(image: Image.Image, channel: int) -> bool:
    pixels = np.asarray(image).astype(int)
    others = np.delete(pixels, channel, axis=-1).max(axis=-1)
    return bool((pixels[..., channel] - others > 60).sum() > 50)


@pytest.mark.parametrize("records", [True, False])
def test_the_page_loads_nothing_from_elsewhere(job, records):
    page = job(PICTURES).page(records=records)
    parsed = Parsed(page)
    sources = [value for _, name, value in parsed.attributes if name in ("src", "href", "srcset", "data", "poster")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/") for source in sources)
    assert not {"script", "link", "iframe"} & {tag for tag, _, _ in parsed.attributes}
    without_data = re.sub(r"base64,[^\"]+", "", page)
    assert "http" not in without_data
    assert "url(" not in without_data
    assert "@import" not in without_data


def test_charts_and_sample_pictures_with_both_kinds_of_boxes_are_in_it(job):
    classes, fit, samples = pictures_of(job(PICTURES, files=gray(PICTURES)).page())
    assert min(*classes.size, *fit.size, *samples.size) > 80
    assert has_color(samples, RED)
    assert has_color(samples, GREEN)
    # Six of seven images are usable: two rows of up to four cells.
    assert samples.width > 4 * 280
    assert 2 * 240 < samples.height < 3 * 240


def test_samples_of_records_and_of_a_check_show_the_same_pictures(job):
    """All images fit on the sheet; the order is the plan's in both."""
    made = job(PICTURES)
    assert np.array_equal(*(np.asarray(pictures_of(made.page(records=records))[2]) for records in (True, False)))


def test_a_page_says_whether_there_are_records(job):
    made = job(PICTURES)
    assert "<h1>Encoded dataset</h1>" in made.page()
    assert "<h1>Checked dataset</h1>" in made.page(records=False)


def test_rejects_are_listed_by_fault_with_escaped_text(job):
    files = {"JPEGImages/000000.jpg": b"", "JPEGImages/000001.jpg": b""}
    page = job(PICTURES, files=files).page()
    assert "<b>" not in page
    assert "&lt;b&gt;dog &amp; cat&lt;/b&gt;" in page
    rejected = page.split("Rejected images</h2>")[1]
    cells = Parsed(rejected).cells
    rows = [tuple(cell.strip() for cell in cells[start : start + 4]) for start in range(0, len(cells), 4)]
    assert [row[:2] for row in rows] == [("empty_picture", "2"), ("", ""), ("unknown_class", "1")]
    assert {row[2] for row in rows[:2]} == {"VOC2007/000000", "VOC2007/000001"}
    assert rows[2][2] == "VOC2007/000003"
    assert "class '<b>dog & cat</b>' is not one of: ant, bee" in rows[2][3]


def test_a_fault_has_five_examples_at_most_and_its_whole_number(job):
    page = job(PICTURES, files={f"JPEGImages/{name}.jpg": b"" for name in list(PICTURES)[1:]}).page()
    assert page.count("the file has no bytes") == 5
    assert "<td>empty_picture</td><td>6</td>" in page


def test_repaired_and_kept_faults_are_explained(job):
    page = job({"a": [("Ant", *BOX)], "b": []}).page()
    assert "<td>class_spelling</td><td>1</td><td>a class name differed in case or whitespace" in page
    assert "<td>no_objects</td><td>1</td><td>the image has no object: a negative example</td>" in page
    assert page.split("Rejected images</h2>")[1].strip().startswith("<p>None.</p>")


def test_the_object_that_nothing_reaches_is_named_with_its_overlap(job):
    """3 x 2 pixels of 300 x 200 are 3 x 3 of the input's 300 x 300; a box of 30 x 30 around them has an IoU of 0.01."""
    page = job({"a": [("ant", 30, 20, 33, 22)]}).page()
    assert "1 of 1 objects (100.0%) have an IoU below 0.5 with every default box" in page
    assert "Each is still matched" in page
    assert "<td>0.010</td><td>ant</td><td>VOC2007/a</td>" in page


def test_under_the_articles_rule_such_objects_teach_nothing(job):
    page = job({"a": [("ant", 30, 20, 33, 22)]}, preset="article").page()
    assert "1 objects match no default box and are not learned" in page


@pytest.mark.parametrize("records", [True, False])
def test_the_page_is_the_same_text_twice(job, records):
    made = job(PICTURES)
    assert made.page(records=records) == made.page(records=records)


@pytest.mark.parametrize("records", [True, False])
def test_pictures_without_any_object_have_a_page(job, records):
    page = job({"a": [], "b": []}, files=gray("ab")).page(records=records)
    assert "0 of 0 objects (none)" in page
    _, _, samples = pictures_of(page)
    assert not has_color(samples, RED)
    assert not has_color(samples, GREEN)


@pytest.mark.parametrize("records", [True, False])
def test_a_dataset_whose_every_picture_was_rejected_has_a_page_without_samples(job, records):
    page = job({"a": [], "b": []}, files={"JPEGImages/a.jpg": b"", "JPEGImages/b.jpg": b"x"}).page(records=records)
    assert len(pictures_of(page)) == 2
    assert "undecodable_picture" in page


@pytest.mark.parametrize("records", [True, False])
def test_a_sample_that_is_broken_after_its_header_is_left_out(job, records, jpeg):
    broken = {"JPEGImages/a.jpg": jpeg()[:-3000]}
    page = job({name: [("ant", *BOX)] for name in "abcde"}, files=broken, verify="header").page(records=records)
    # Four samples fill one row, five would need a second.
    assert 240 < pictures_of(page)[2].height < 2 * 240


def test_no_more_than_a_dozen_samples_are_shown(job):
    page = job({f"{number}": [("ant", *BOX)] for number in range(30)}, shard_size=2).page()
    assert 3 * 240 < pictures_of(page)[2].height < 4 * 240
