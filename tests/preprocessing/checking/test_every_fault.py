"""Every fault as a real file on disk, through the real job: its name, its file, its repair, and the totals."""

import io
import json
import resource
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fault_cases import (
    ANT,
    BAD,
    BEE,
    CAT,
    CLASSES,
    FRACTIONS,
    GOOD,
    ONLY_VAL,
    SETS,
    Bad,
    Good,
    jpeg,
    thing,
    voc,
)
from PIL import Image

from ssd300.datasets import record
from ssd300.datasets.faults import FAULTS
from ssd300.datasets.sources.parse import parse_source
from ssd300.preprocessing.job import preprocess
from ssd300.preprocessing.runners.execution import Execution
from ssd300.preprocessing.settings import PreprocessSettings


def write_tree(root: Path, cases: dict, image_sets: dict[str, list[str]]) -> Path:
    for picture_id, case in cases.items():
        for path, data in (
            (f"Annotations/{picture_id}.xml", case.xml),
            (f"JPEGImages/{picture_id}{case.suffix}", case.picture),
        ):
            if data is not None:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)
    (root / "ImageSets/Main").mkdir(parents=True)
    for name, lines in image_sets.items():
        (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return root


@dataclass(frozen=True)
class Done:
    """A job that has run: its tree, its folder, what it reported, what its files hold."""

    tree: Path
    output: Path
    report: dict
    records: dict[str, dict[str, record.Record]]  # by split and id without the tree's name
    rejects: dict[str, dict]  # by id without the tree's name
    grown: int  # bytes of memory


def run(folder: Path, cases: dict, image_sets: dict[str, list[str]], *sources: str, **options) -> Done:
    write_tree(folder / "VOC", cases, image_sets)
    return encoded(folder, *sources, **options)


def encoded(folder: Path, *sources: str, **options) -> Done:
    """Runs a job over the tree ``VOC`` in a folder."""
    tree, output = folder / "VOC", folder / "dataset"
    parsed = tuple(parse_source(source.format(tree)) for source in sources)
    settings = PreprocessSettings(parsed, CLASSES, **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = preprocess(settings, str(output), Execution(workers=1, max_rejected=1.0))
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    records: dict[str, dict[str, record.Record]] = {}
    for split in report["splits"]:
        files = sorted(map(str, output.glob(f"ssd300-{split}.tfrecord-*")))
        found = [record.parse_record(one) for one in tf.data.TFRecordDataset(files).as_numpy_iterator()]
        records[split] = {one.picture_id.removeprefix("VOC/"): one for one in found}
        assert len(records[split]) == len(found)
    rows = [json.loads(line) for line in (output / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    rejects = {row["picture"].removeprefix("VOC/"): row for row in rows}
    assert len(rejects) == len(rows)
    return Done(tree, output, report, records, rejects, grown)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Done:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "secret.jpg").write_bytes(jpeg(64, 64))
    sources = ("train={}:train", "train={}:again", "val={}:flagged")
    return run(folder, {**GOOD, **BAD, **ONLY_VAL}, SETS, *sources, shard_size=20)


@pytest.mark.parametrize("picture_id", BAD)
def test_a_bad_picture_is_rejected_under_its_fault_and_file(done, picture_id):
    case = BAD[picture_id]
    assert picture_id not in done.records["train"]
    row = done.rejects[picture_id]
    assert row.keys() == {"picture", "path", "fault", "message"}
    assert row["picture"] == f"VOC/{picture_id}"
    assert row["fault"] == case.fault
    assert row["path"] == f"{done.tree}/{case.file.format(picture_id)}"
    assert row["message"].strip()
    assert case.says in row["message"]


@pytest.mark.parametrize("picture_id", GOOD)
def test_a_good_or_repaired_picture_is_a_record_with_its_boxes(done, picture_id):
    case = GOOD[picture_id]
    assert picture_id not in done.rejects, done.rejects[picture_id]
    found = done.records["train"][picture_id]
    np.testing.assert_allclose(found.boxes, np.reshape(case.boxes, (-1, 4)), rtol=1e-6, atol=1e-40)
    assert found.labels == list(case.labels)
    assert found.filename == Path(f"{picture_id}{case.suffix}").name
    for indices, labels, offsets in (found.targets, found.flipped_targets):
        assert np.isfinite(offsets).all()
        assert set(labels) <= set(case.labels)
        assert (len(indices) > 0) == (len(case.labels) > 0)
    if case.same_bytes:
        assert found.image == case.picture
    with Image.open(io.BytesIO(found.image)) as image:
        assert image.format in ("JPEG", "MPO")
        assert image.mode in ("L", "RGB")
        assert image.getexif().get(0x0112, 1) not in range(2, 9)
        if case.pixel is not None:
            assert image.size == (300, 200)
            np.testing.assert_allclose(image.convert("RGB").getpixel((75, 50)), case.pixel, atol=16)
        if "exif_rotated" in case.found:
            assert image.size == (300, 200)


def test_the_findings_are_those_of_the_cases_and_no_more(done):
    expected = Counter(name for case in GOOD.values() for name in case.found)
    expected |= Counter(listed_twice=3, in_two_splits=2)
    report = done.report["splits"]["train"]
    assert report["repaired"] | report["kept"] == dict(expected)
    assert all(FAULTS[name].action == "repaired" for name in report["repaired"])
    assert all(FAULTS[name].action == "kept" for name in report["kept"])


def test_the_rejects_by_fault_are_those_of_the_cases(done):
    expected = Counter(case.fault for case in BAD.values()) + Counter(missing_annotation=1)
    assert done.report["splits"]["train"]["rejected_by_fault"] == dict(expected)
    assert done.report["splits"]["val"]["rejected_by_fault"] == {}


def test_flags_of_a_per_class_image_set_are_no_part_of_the_ids(done):
    assert done.records["val"].keys() == {"good 1", "good_2", "only_here"}
    assert done.report["splits"]["val"]["kept"] == {"in_two_splits": 2}
    assert done.records["val"]["only_here"].labels == [CAT]


@pytest.mark.parametrize(("split", "planned"), [("train", len(GOOD) + len(BAD) + 1), ("val", 3)])
def test_what_was_read_is_written_or_rejected_counted_on_the_files(done, split, planned):
    report = done.report["splits"][split]
    rejected = len(done.rejects) if split == "train" else 0
    assert report["read"] == planned
    assert report["written"] == len(done.records[split])
    assert report["rejected"] == rejected
    assert planned == len(done.records[split]) + rejected
    labels = Counter(CLASSES.name(label) for one in done.records[split].values() for label in one.labels)
    assert report["objects"] == {name: labels[name] for name in CLASSES.names}
    assert report["negatives"] == sum(not one.labels for one in done.records[split].values())


def test_the_total_is_the_sum_of_the_splits(done):
    for name in ("read", "written", "rejected", "bytes"):
        assert done.report["total"][name] == sum(part[name] for part in done.report["splits"].values())


def test_an_external_entity_leaks_nothing_into_the_dataset(done):
    secrets = [line for line in Path("/etc/passwd").read_bytes().splitlines() if line]
    for path in done.output.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [secret for secret in secrets if secret in data], path


def test_a_picture_that_claims_ten_billion_pixels_takes_no_memory(done):
    assert done.grown < 2e9


SMALL = {
    "large": Good(voc(thing())),
    "large and small": Good(voc(thing(), thing("bee", (30, 20, 39, 100))), ("small_object",)),
    "flat": Good(voc(thing(), thing("bee", (30, 20, 150, 29.5))), ("small_object",)),
    "just large enough": Good(
        voc(*(thing("bee", (x, 20, x + 10, 100)) for x in range(1, 290))), (),
        tuple([0.1, x / 300, 0.5, (x + 10) / 300] for x in range(1, 290)), (BEE,) * 289,
    ),
}  # fmt: skip
DROPPED = {
    "small alone": Bad("dropped_empty", voc(thing(corners=(30, 20, 39, 100)))),
    "nothing": Bad("dropped_empty", voc()),
}


@pytest.fixture(scope="module")
def dropping(tmp_path_factory) -> Done:
    cases = {**SMALL, **DROPPED}
    folder = tmp_path_factory.mktemp("small")
    return run(folder, cases, {"train": list(cases)}, "train={}:train", min_size=10.0, drop_empty=True)


def test_small_objects_are_left_out_and_counted(dropping):
    records = dropping.records["train"]
    assert records.keys() == SMALL.keys()
    for name in ("large", "large and small", "flat"):
        assert records[name].labels == [ANT]
        np.testing.assert_allclose(records[name].boxes, [FRACTIONS], rtol=1e-6)


def test_an_object_of_exactly_the_least_size_is_not_left_out(dropping):
    case = SMALL["just large enough"]
    assert dropping.records["train"]["just large enough"].labels == list(case.labels)
    assert dropping.report["total"]["repaired"] == {"small_object": 2}


def test_pictures_without_an_object_are_dropped_where_that_is_asked_for(dropping):
    assert {name: row["fault"] for name, row in dropping.rejects.items()} == dict.fromkeys(DROPPED, "dropped_empty")
    total = dropping.report["total"]
    assert (total["read"], total["written"], total["rejected"]) == (6, 4, 2)
    assert total["kept"] == {}


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Done:
    """A job over all of a flat folder, with what else lies in such folders."""
    folder = tmp_path_factory.mktemp("flat")
    files = {
        "good.jpg": jpeg(), "good.xml": voc(thing()), "two.jpg": jpeg(), "two.png": jpeg(), "two.xml": voc(thing()),
        "click.jpg": jpeg(), "click.xml": voc(thing(corners=(9, 9, 9, 9))), "classes.txt": b"ant",
        "._good.jpg": b"mac", "._good.xml": b"mac", "__MACOSX/good.jpg": jpeg(), ".git/config": b"x",
    }  # fmt: skip
    for name, data in files.items():
        (folder / "VOC" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "VOC" / name).write_bytes(data)
    return encoded(folder, "train={}", strict=True)


def test_what_is_passed_over_is_counted_and_a_strict_job_rejects_stray_clicks(flat):
    total = flat.report["total"]
    assert total["ignored"] == {"mac_file": 3, "hidden_file": 1, "other_file": 1}
    assert flat.records["train"].keys() == {"good"}
    assert {name: row["fault"] for name, row in flat.rejects.items()} == {
        "click": "no_area", "two.jpg": "shared_annotation", "two.png": "shared_annotation",
    }  # fmt: skip
    assert total["read"] == total["written"] + total["rejected"] == 4


def test_the_cases_cover_every_fault(done, dropping, flat):
    met: set[str] = set()
    for job in (done, dropping, flat):
        for part in job.report["splits"].values():
            met |= {name for key in ("rejected_by_fault", "repaired", "kept", "ignored") for name in part[key]}
    assert met == set(FAULTS)
