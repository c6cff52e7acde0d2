"""A picture and its objects, checked and repaired, before they become a record."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from ssd300.datasets.sources.base import RawPicture
from ssd300.preprocessing.checking.ground_truth import GroundTruth, ground_truth
from ssd300.preprocessing.checking.picture import Picture, check_picture
from ssd300.preprocessing.settings import PreprocessSettings


@dataclass(frozen=True)
class CheckedPicture:
    """A picture that will be a record.

    Attributes:
        name: its name in the dataset, such as ``VOC2007/000012``.
        filename: of its file, without folders.
        picture: its JPEG and size.
        truth: its objects.
    """

    name: str
    filename: str
    picture: Picture
    truth: GroundTruth


def check(raw: RawPicture, name: str, settings: PreprocessSettings) -> CheckedPicture:
    """Checks and repairs one picture and its objects.

    Raises:
        RejectedError: it cannot be used.
    """
    # Making a copy decodes all of a picture; what cannot be decoded must not stop the job there.
    picture = check_picture(raw.data, raw.path, verify="decode" if settings.copies else settings.verify)
    truth = ground_truth(
        raw.annotation,
        picture,
        classes=settings.classes,
        convention=settings.convention,
        path=raw.annotation_path,
        min_size=settings.min_size,
        drop_empty=settings.drop_empty,
    )
    return CheckedPicture(name, PurePosixPath(raw.path).name, picture, truth)
