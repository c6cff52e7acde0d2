"""A contact sheet of what the reader makes of records, to check the augmentation and the targets by eye."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from ssd300.datasets.classes import ClassList
from ssd300.datasets.encoded_dataset import EncodedDataset
from ssd300.datasets.errors import InputError
from ssd300.datasets.files import writable_folder
from ssd300.datasets.record import Record, parse_record
from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import Spec, spec_named
from ssd300.preprocessing.augmentation.batch import augment_batch
from ssd300.preprocessing.support.drawing import contact_sheet, draw_objects
from ssd300.preprocessing.support.outputs import check_replaceable, save_image
from ssd300.training.reading.broken_records import naming_broken_records
from ssd300.training.reading.record_order import ordered_records
from ssd300.training.settings import InspectSettings

_EPOCHS = 4  # augmented samples of each image
_CELL = (240, 240)


def write_inspection_sheet(dataset: EncodedDataset, path: Path, settings: InspectSettings) -> None:
    """Writes a contact sheet with a row for each of some records, as a JPEG or PNG by the name of `path`.

    A row shows the record's image with its objects and stored targets, its mirror image with the targets stored for
    that, and what the reader makes of the record in several epochs. There the objects are decoded from the targets, so
    that a box in the right place has come through the whole chain.

    Raises:
        InputError: the dataset has no such split, or the file cannot be written or exists and was not made here.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"a contact sheet is a .jpg or .png file, got {path}")
    check_replaceable([path])
    spec, classes = spec_named(dataset.identity.preset), dataset.identity.classes
    files = dataset.files(settings.split, copies=settings.copies)
    originals = dataset.files(settings.split)
    writable_folder(str(path.parent))
    chosen = ordered_records(originals, seed=settings.seed).take(min(settings.images, files.records))
    rows = []
    with naming_broken_records(dataset, settings.split, copies=settings.copies):
        for serialized, number in chosen:  # of epoch 0, in which a record's place is its number
            record = parse_record(serialized.numpy())
            variants = files.read(int(number))
            shown = [variants[epoch % len(variants)] for epoch in range(_EPOCHS)]
            augmented = _augmented(shown, int(number), spec, classes, settings)
            rows.append([*(_stored(record, spec, classes, is_flipped) for is_flipped in (False, True)), *augmented])
    titles = ["record", "mirrored, stored targets", *(f"reader, epoch {epoch}" for epoch in range(_EPOCHS))]
    save_image(contact_sheet(rows, titles=titles, cell=_CELL), path)


def _stored(record: Record, spec: Spec, classes: ClassList, is_flipped: bool) -> Image.Image:
    """The record's image, or its mirror image, with the targets that are stored for it."""
    image: Image.Image = Image.open(io.BytesIO(record.image))
    boxes, targets = record.boxes, record.targets
    if is_flipped:
        image, boxes, targets = ImageOps.mirror(image), box_ops.flip(boxes), record.flipped_targets
    return _drawn(image, boxes, record.labels, box_ops.to_corners(default_boxes(spec)[targets[0]]), classes)


def _augmented(
    serialized: list[tf.Tensor], number: int, spec: Spec, classes: ClassList, settings: InspectSettings
) -> Iterator[Image.Image]:
    epochs = tf.range(_EPOCHS, dtype=tf.int64)
    pixels, targets = augment_batch(
        tf.stack(serialized),
        epochs,
        tf.fill([_EPOCHS], tf.constant(number, tf.int64)),
        spec=spec,
        augmentation=settings.augmentation,
        seed=settings.seed,
    )
    for image, labels, offsets in zip(pixels.numpy(), targets.labels.numpy(), targets.offsets.numpy(), strict=True):
        matched = np.flatnonzero(labels)
        centers = default_boxes(spec)[matched]
        boxes = box_coder.decode(offsets[matched], centers, variances=spec.variances)
        # All default boxes of an object decode to the same box, up to rounding.
        objects, first = np.unique(np.round(boxes, 3), axis=0, return_index=True)
        yield _drawn(Image.fromarray(image), objects, labels[matched][first], box_ops.to_corners(centers), classes)


def _drawn(
    image: Image.Image, boxes: np.ndarray, labels: Iterable[int], matched: np.ndarray, classes: ClassList
) -> Image.Image:
    image.thumbnail((2 * _CELL[0], 2 * _CELL[1]))  # large images would hide the lines
    return draw_objects(image, boxes, [classes.name(label) for label in labels], matched=matched)
