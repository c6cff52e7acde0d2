"""``report.html``: a dataset's report, to see before a day of training whether the default boxes fit the objects."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ssd300.datasets.classes import ClassList
from ssd300.datasets.faults import FAULTS
from ssd300.datasets.record import Record, parse_record
from ssd300.model import boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import Spec
from ssd300.preprocessing.plan import Plan
from ssd300.preprocessing.report.charts import plot_classes, plot_fit
from ssd300.preprocessing.report.summary import summary
from ssd300.preprocessing.shards.encode_shard import checked_pictures, encode_pictures
from ssd300.preprocessing.shards.shard_report import Reject, ShardReport
from ssd300.preprocessing.support.drawing import contact_sheet, draw_objects
from ssd300.preprocessing.support.html import Section, Table, page

_SAMPLES, _SAMPLES_A_ROW = 12, 4
_FOUND = ("repaired", "kept", "ignored")  # keys of the report
_EXAMPLES = 5  # rejected images listed for each fault


def dataset_page(plan: Plan, report: dict[str, Any], rejects: Sequence[Reject], records: str | None) -> str:
    """The page as text, self-contained.

    Args:
        plan: of the job.
        report: as `ssd300.preprocessing.report.summary.build_report` gives it.
        rejects: all rejected images.
        records: folder of the shards; None if none were written, then the sample images are encoded again.
    """
    settings, whole = plan.settings, report["total"]
    spec = settings.spec
    objects = sum(whole["objects"].values())
    share = f"{whole['unreached_objects'] / objects:.1%}" if objects else "none"
    sections = [
        Section("Totals", preformatted=summary(report)),
        Section("Classes", picture=plot_classes(whole["objects"])),
        Section(
            "Do the default boxes fit the objects?",
            text=(
                f"{whole['unreached_objects']:,} of {objects:,} objects ({share}) have an IoU below {spec.match_iou:g} "
                "with every default box. "
                + (
                    "Each is still matched to its best one, but only to that one."
                    if spec.matching == "bipartite"
                    else f"{whole['unmatched_objects']:,} objects match no default box and are not learned."
                )
            ),
            picture=plot_fit(whole, spec),
            table=_worst(whole["worst_reached"]),
        ),
        Section("Images", picture=_samples(plan, records), caption="green: ground truth; red: matched default boxes"),
        Section("Faults repaired or kept, files ignored", table=_findings(*(whole[k] for k in _FOUND))),
        Section("Rejected images", table=_rejected(rejects)),
    ]
    subtitle = f"{', '.join(settings.source_names)}; preset {spec.name}"
    return page("Encoded dataset" if records else "Checked dataset", sections, subtitle=subtitle)


def _worst(worst: list[dict[str, Any]]) -> Table | None:
    rows = [(f"{one['iou']:.3f}", one["name"], one["picture"]) for one in worst]
    return Table(("best IoU", "class", "image"), rows) if rows else None


def _findings(*findings: dict[str, int]) -> Table:
    rows = [(name, f"{n:,}", FAULTS[name].meaning) for found in findings for name, n in found.items()]
    return Table(("fault", "number", "meaning"), rows)


def _rejected(rejects: Sequence[Reject]) -> Table:
    """The faults, the most frequent first, with a few examples each."""
    rows: list[tuple[str, ...]] = []
    for fault, count in Counter(reject.fault for reject in rejects).most_common():
        examples = [reject for reject in rejects if reject.fault == fault][:_EXAMPLES]
        for number, reject in enumerate(examples):
            head = (fault, f"{count:,}") if number == 0 else ("", "")
            rows.append((*head, reject.picture, reject.message))
    return Table(("fault", "number", "example", "message"), rows)


def _samples(plan: Plan, records: str | None) -> bytes | None:
    samples = list(_written_samples(plan, records) if records else _encoded_samples(plan))[:_SAMPLES]
    if not samples:
        return None
    spec, classes = plan.settings.spec, plan.settings.classes
    pictures = []
    for sample in samples:
        with suppress(OSError):  # an image of which only the header was checked
            pictures.append(_drawn(sample, spec, classes))
    if not pictures:
        return None
    rows = [pictures[start : start + _SAMPLES_A_ROW] for start in range(0, len(pictures), _SAMPLES_A_ROW)]
    buffer = io.BytesIO()
    contact_sheet(rows, cell=(280, 240)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _written_samples(plan: Plan, records: str) -> Iterator[Record]:
    """The first records of shards from all over the dataset: what was really written."""
    chosen = _spread(len(plan.shards))
    for number in chosen:
        path = f"{records}/{plan.shards[number].name}"
        for serialized in tf.data.TFRecordDataset(path).take(-(-_SAMPLES // len(chosen))):
            yield parse_record(serialized.numpy())


def _encoded_samples(plan: Plan) -> Iterator[Record]:
    """Some images from all over the dataset, encoded here; twice as many as needed, as some may be rejected."""
    pictures = [plan.shards[number].pictures for number in _spread(len(plan.shards))]
    wanted = -(-2 * _SAMPLES // len(pictures))
    for some in pictures:
        unused = ShardReport()
        checked = list(checked_pictures(some[:wanted], plan.settings, unused))
        if checked:
            yield from encode_pictures(checked, plan.settings, unused)


def _spread(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, _SAMPLES).round().astype(int)).tolist()


def _drawn(record: Record, spec: Spec, classes: ClassList) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(record.image))
    image.thumbnail((560, 480))  # large images would hide the lines
    matched = box_ops.to_corners(default_boxes(spec)[record.targets[0]])
    return draw_objects(image, record.boxes, [classes.name(label) for label in record.labels], matched=matched)
