"""Images with an XML each in folders: a VOC tree, or a flat folder as LabelImg writes it."""

import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from ssd300.datasets.annotation import parse_annotation
from ssd300.datasets.errors import InputError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import exists, is_folder, names_in, read_file, real_path
from ssd300.datasets.sources.base import RawPicture, check_split_name

# An image is looked for under these endings, in this order.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")

# Where annotations and images are in a tree, likeliest first; in a flat folder together.
_LAYOUTS = (("Annotations", "JPEGImages"), ("annotations", "images"), ("", ""))
_IMAGE_SETS = ("ImageSets/Main", "ImageSets", "")


@dataclass(frozen=True)
class FolderSource:
    """Images and annotations of one tree or flat folder, destined for one split.

    Attributes:
        split: name of the split in the encoded dataset, letters, digits and underscores.
        root: the folder: with ``Annotations`` and ``JPEGImages``, with ``annotations`` and ``images``, or with
            images and XML together.
        image_set: a list of ids such as ``trainval``, in ``ImageSets/Main``, ``ImageSets`` or the folder itself; None
            takes all that is there.
    """

    split: str
    root: str
    image_set: str | None = None

    # Images may be read in any order.
    sequential = False

    def __post_init__(self) -> None:
        check_split_name(self.split)
        if not self.root or (
            self.image_set is not None and PurePosixPath(self.image_set).name != (self.image_set or None)
        ):
            raise InputError(
                f"expected a folder and the name of an image set, got {self.root!r} and {self.image_set!r}"
            )
        if "://" not in self.root:  # one spelling for one folder: sources are compared by it
            object.__setattr__(self, "root", posixpath.normpath(self.root))

    def __str__(self) -> str:
        return f"{self.split}={self.root}" + ("" if self.image_set is None else f":{self.image_set}")

    @property
    def real_root(self) -> str:
        """The folder, whatever links lead to it."""
        return real_path(self.root)

    @property
    def path_parts(self) -> tuple[str, ...]:
        """The parts of the root's path, of which the last name it best."""
        return PurePosixPath(self.root).parts

    @property
    def content(self) -> str:
        """What of the tree it takes."""
        return "*" if self.image_set is None else self.image_set

    def ids(self) -> list[str]:
        """The ids of the image set in its order; the flags of a per-class file (``000012 -1``) are cut off.

        Without an image set: of all annotations and images, sorted, so that one without the other is reported.

        Raises:
            InputError: the folder or the image set does not exist or cannot be read, or lists no images.
        """
        if not is_folder(self.root):
            raise InputError(f"source {self}: {self.root} is not a folder")
        ids = self._all_ids() if self.image_set is None else self._listed_ids()
        if not ids:
            where = self._annotations if self.image_set is None else self.image_set_path
            raise InputError(f"source {self}: {where} lists no images")
        return ids

    def read(self, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
        """The images of these ids in their order, or why one cannot be used."""
        for picture_id in ids:
            try:
                yield self._read(picture_id)
            except RejectedError as error:
                yield error

    def class_names(self) -> Iterator[str]:
        """The class names of all annotations, as often as they occur; files that cannot be used give none."""
        # Reading waits for disks more than it computes.
        with ThreadPoolExecutor(16) as pool:
            for found in pool.map(_class_names, map(self.annotation_path, filter(_stays_inside, self.ids()))):
                yield from found

    @cached_property
    def image_set_path(self) -> str:
        """Path of the text file that lists the ids: the first that exists, or where VOC has it."""
        paths = [_join(self.root, folder, f"{self.image_set}.txt") for folder in _IMAGE_SETS]
        return next((path for path in paths if exists(path)), paths[0])

    def annotation_path(self, picture_id: str) -> str:
        """Path of the XML of an image."""
        return f"{self._annotations}/{picture_id}.xml"

    def picture_paths(self, picture_id: str) -> list[str]:
        """Paths where the image may be, likeliest first. The XML's own <filename> is never followed."""
        return [f"{self._pictures}/{picture_id}{suffix}" for suffix in PICTURE_SUFFIXES]

    @cached_property
    def _folders(self) -> tuple[str, str]:
        layouts = [tuple(_join(self.root, folder) for folder in layout) for layout in _LAYOUTS]
        annotations, pictures = next(pair for pair in layouts if is_folder(pair[0]) or pair is layouts[-1])
        return annotations, pictures

    @property
    def _annotations(self) -> str:
        return self._folders[0]

    @property
    def _pictures(self) -> str:
        return self._folders[1]

    def _all_ids(self) -> list[str]:
        ids = set()
        for folder, suffixes in ((self._annotations, (".xml",)), (self._pictures, PICTURE_SUFFIXES)):
            if not is_folder(folder):
                continue
            try:
                names = [PurePosixPath(name) for name in names_in(folder)]
            except UnicodeDecodeError as error:
                raise InputError(f"source {self}: a file's name in {folder} is not UTF-8: {error.object!r}") from None
            ids |= {name.stem for name in names if name.suffix in suffixes}
        return sorted(ids)

    def _listed_ids(self) -> list[str]:
        content = read_file(self.image_set_path)
        if content is None:
            raise InputError(f"source {self}: cannot read {self.image_set_path}")
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"source {self}: {self.image_set_path} is not UTF-8: {error}") from None
        return _without_flags([line.strip() for line in lines if line.strip()])

    def _read(self, picture_id: str) -> RawPicture:
        if not _stays_inside(picture_id):
            raise RejectedError("unsafe_id", self.annotation_path(picture_id), f"{picture_id!r} leads out of the tree")
        annotation_path = self.annotation_path(picture_id)
        xml = read_file(annotation_path)
        if xml is None:
            raise RejectedError("missing_annotation", annotation_path, "there is no such file that can be read")
        annotation = parse_annotation(xml, annotation_path)
        paths = self.picture_paths(picture_id)
        for path in paths:
            data = read_file(path)
            if data is not None:
                return RawPicture(annotation, data, path, annotation_path)
        raise RejectedError("missing_picture", paths[0], "there is no such file that can be read")


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _stays_inside(picture_id: str) -> bool:
    """Whether an image of this id is in its tree."""
    return ".." not in PurePosixPath(picture_id).parts


def _without_flags(lines: list[str]) -> list[str]:
    """Ids of a per-class file without their flags. It is one if every line has a flag: an id may end in " 1", too."""
    parts = [line.rsplit(None, 1) for line in lines]
    if all(len(part) == 2 and part[1] in ("-1", "0", "1") for part in parts):
        return [part[0] for part in parts]
    return lines


def _class_names(path: str) -> list[str]:
    """Class names in an annotation; none if it cannot be used: the job will reject it and say why."""
    xml = read_file(path)
    try:
        return [] if xml is None else [voc_object.name for voc_object in parse_annotation(xml, path).objects]
    except RejectedError:
        return []
