"""An image and its objects, checked and repaired, before they become a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ssd300.datasets.record import Record
from ssd300.datasets.sources.base import RawPicture
from ssd300.preprocessing.checking.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.checking.picture import Picture, check_picture
from ssd300.preprocessing.settings import PreprocessSettings

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # indices, labels and offsets of matched default boxes


@dataclass(frozen=True)
class CheckedPicture:
    """An image that will be a record."""

    name: str  # its name in the dataset, such as ``VOC2007/000012``
    filename: str  # of its file, without folders
    picture: Picture  # its JPEG and size
    truth: GroundTruth  # its objects

    def record(self, targets: Arrays, flipped_targets: Arrays, shown: Sequence[int] | None = None) -> Record:
        """The record of this image with these targets; `shown` as `Record` has it."""
        return Record(
            image=self.picture.jpeg,
            height=self.picture.height,
            width=self.picture.width,
            filename=self.filename,
            picture_id=self.name,
            boxes=self.truth.boxes,
            labels=self.truth.labels.tolist(),
            difficult=self.truth.difficult.tolist(),
            truncated=self.truth.truncated.tolist(),
            targets=targets,
            flipped_targets=flipped_targets,
            shown=shown,
        )


def check_raw_picture(raw: RawPicture, name: str, settings: PreprocessSettings) -> CheckedPicture:
    """Checks and repairs one image and its objects.

    Raises:
        RejectedError: it cannot be used.
    """
    # Making a copy decodes all of an image; what cannot be decoded must not stop the job there.
    picture = check_picture(raw.data, raw.path, decode=settings.copies > 0 or settings.verify == "decode")
    truth = ground_truth(
        raw.annotation,
        picture,
        classes=settings.classes,
        convention=settings.coordinates,
        path=raw.annotation_path,
        min_size=settings.min_size,
        drop_empty=settings.drop_empty,
        strict=settings.strict,
    )
    return CheckedPicture(name, PurePosixPath(raw.path).name, picture, truth)
