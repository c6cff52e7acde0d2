"""Images with an XML each in folders: a VOC tree, or a flat folder as LabelImg writes it."""

import io
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from ssd300.datasets.annotation import Annotation, parse_annotation
from ssd300.datasets.errors import InputError, StorageError
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import (
    exists,
    files_below,
    holds_anything,
    is_folder,
    names_in,
    read_file,
    real_path,
    resolve_path,
)
from ssd300.datasets.sources.base import RawPicture, check_split_name

# Endings of images, in any case.
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# Those that are tried before the folder is listed, the likeliest first.
_USUAL_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")

# Where annotations and images are in a tree, as VOC, CVAT and Label Studio write it; in a flat folder together.
_ANNOTATIONS, _PICTURES = ("Annotations", "annotations"), ("JPEGImages", "images", "Images")
_IMAGE_SETS = ("ImageSets/Main", "ImageSets", "")


@dataclass(frozen=True)
class FolderSource:
    """Images and annotations of one tree or flat folder, destined for one split.

    Attributes:
        split: name of the split in the encoded dataset, letters, digits and underscores.
        root: the folder: with ``Annotations`` and ``JPEGImages`` or ``images``, or with images and XML together; all
            of them may have sub-folders. Made absolute.
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
        object.__setattr__(self, "root", resolve_path(self.root))

    def __str__(self) -> str:
        return f"{self.split}={self.root}" + ("" if self.image_set is None else f":{self.image_set}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str | None]]:
        return type(self), (self.split, self.root, self.image_set)  # without the listing

    @property
    def real_root(self) -> str:
        """What tells trees apart, however their paths are spelled and linked."""
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

        Without an image set: of all annotations and images, sorted, so that one without the other is reported. An id
        is a path in the folder without the file's ending, which it keeps where several images differ in nothing else.

        Raises:
            InputError: the folder or the image set does not exist or cannot be read, or lists no images.
        """
        if not is_folder(self.root):
            raise InputError(f"source {self}: {self.root} is not a folder")
        ids = self._listing[0] if self.image_set is None else self._listed_ids()
        if not ids:
            where = self._annotations if self.image_set is None else self.image_set_path
            raise InputError(f"source {self}: {where} lists no images")
        return ids

    def ignored(self) -> Counter[str]:
        """Number of files that are passed over, by the names of `ssd300.datasets.faults.FAULTS`."""
        return Counter() if self.image_set is not None else self._listing[1]

    def read(self, ids: Sequence[str]) -> Iterator[RawPicture | RejectedError]:
        """The images of these ids in their order, or why one cannot be used.

        Raises:
            StorageError: the whole tree is not there, as on a machine that lacks its mount; or a file cannot be read.
        """
        if not holds_anything(self.root):
            raise StorageError(self.root, "there is nothing where the images were listed")
        for picture_id in ids:
            try:
                yield self._read(picture_id)
            except RejectedError as error:
                yield error

    def class_names(self) -> Iterator[str | RejectedError]:
        """The class names of all annotations, as often as they occur, or why one cannot be used."""
        # Reading waits for disks more than it computes.
        with ThreadPoolExecutor(16) as pool:
            for found in pool.map(self._class_names, self.ids()):
                yield from found

    @cached_property
    def image_set_path(self) -> str:
        """Path of the text file that lists the ids: the first that exists, or where VOC has it."""
        paths = [_join(self.root, folder, f"{self.image_set}.txt") for folder in _IMAGE_SETS]
        return next((path for path in paths if exists(path)), paths[0])

    def annotation_path(self, picture_id: str) -> str:
        """Path of the XML of an image."""
        return f"{self._annotations}/{picture_id}.xml"

    @cached_property
    def _folders(self) -> tuple[str, str]:
        def first(names: Iterable[str]) -> str | None:
            return next((path for name in names if is_folder(path := _join(self.root, name))), None)

        annotations = first(_ANNOTATIONS)
        return (self.root, self.root) if annotations is None else (annotations, first(_PICTURES) or self.root)

    @property
    def _annotations(self) -> str:
        return self._folders[0]

    @property
    def _pictures(self) -> str:
        return self._folders[1]

    @cached_property
    def _listing(self) -> tuple[list[str], Counter[str]]:
        """All ids, sorted, and what is passed over."""
        annotations: set[str] = set()
        pictures: dict[str, list[str]] = {}
        ignored: Counter[str] = Counter()
        for folder in dict.fromkeys(self._folders):
            for path in self._files(folder):
                stem, suffix = posixpath.splitext(path)
                reason = why_ignored(path)
                if reason is not None:
                    ignored[reason] += 1
                elif folder == self._annotations and suffix.lower() == ".xml":
                    annotations.add(stem)
                elif folder == self._pictures and suffix.lower() in PICTURE_SUFFIXES:
                    pictures.setdefault(stem, []).append(path)
                else:
                    ignored["other_file"] += 1
        ids = set(annotations)
        for stem, paths in pictures.items():
            # Some tools write a.jpg.xml; such an image has its annotation under its whole name.
            rest = [path for path in paths if path not in annotations]
            if len(paths) == 1:
                ids.update([] if not rest else [stem])
            elif rest:  # which of them the annotation of their common name belongs to, it must say itself
                ids.discard(stem)
                ids.update(rest)
        return sorted(ids), ignored

    def _files(self, folder: str) -> Iterator[str]:
        try:
            found = files_below(folder)
        except UnicodeError as error:
            raise InputError(f"source {self}: a file's name in {folder} is not UTF-8: {error}") from None
        if folder == self.root and self._annotations != self.root:
            inside = f"{self._annotations.removeprefix(f'{self.root}/')}/"
            found = [path for path in found if not path.startswith(inside)]
        return iter(found)

    def _listed_ids(self) -> list[str]:
        content = read_file(self.image_set_path)
        if content is None:
            raise InputError(f"source {self}: there is no file {self.image_set_path}")
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"source {self}: {self.image_set_path} is not UTF-8: {error}") from None
        ids = _without_flags([line.strip() for line in lines if line.strip()])
        stems = [posixpath.splitext(picture_id)[0] for picture_id in ids if is_picture(picture_id)]
        # VoTT lists file names. Their endings are no part of the ids, unless the annotations have them too.
        names_files = (
            0 < len(ids) == len(stems) and len(set(ids)) == len(set(stems)) and not exists(self.annotation_path(ids[0]))
        )
        return stems if names_files else ids

    def _read(self, picture_id: str) -> RawPicture:
        annotation, annotation_path, named = self._read_annotation(picture_id)
        for path in self._candidates(picture_id, named, annotation, annotation_path):
            data = read_file(path)
            if data is not None:
                return RawPicture(annotation, data, path, annotation_path)
        endings = ", ".join(PICTURE_SUFFIXES)
        message = f"there is no image of this name; it may end in {endings}"
        raise RejectedError("missing_picture", f"{self._pictures}/{picture_id}.jpg", message)

    def _candidates(
        self, picture_id: str, named: str | None, annotation: Annotation, annotation_path: str
    ) -> Iterator[str]:
        """Paths where an image may be, likeliest first; `named` is the path if its id is the name of a file."""
        if named is not None:
            yield named
        base = f"{self._pictures}/{picture_id}"
        # The XML's own <filename> is never followed. It only says which of several endings is meant.
        suffix = posixpath.splitext(annotation.filename)[1]
        if suffix.lower() in PICTURE_SUFFIXES:
            yield f"{base}{suffix}"
        # By ending without its case, as on some disks that makes no difference.
        usual = {suffix.lower(): f"{base}{suffix}" for suffix in _USUAL_SUFFIXES[::-1] if exists(f"{base}{suffix}")}
        paths = list(usual.values()) or self._siblings(picture_id)
        if paths:
            yield self._owner(annotation, annotation_path, paths)

    def _read_annotation(self, picture_id: str) -> tuple[Annotation, str, str | None]:
        """The annotation of an image, its path, and the image's path if the id is the name of its file."""
        path = self.annotation_path(picture_id)
        if ".." in PurePosixPath(picture_id).parts:
            raise RejectedError("unsafe_id", path, f"{picture_id!r} leads out of the tree")
        named = f"{self._pictures}/{picture_id}" if is_picture(picture_id) else None
        stem = posixpath.splitext(picture_id)[0] if named else picture_id
        for tried in dict.fromkeys((path, f"{self._annotations}/{picture_id}.XML", self.annotation_path(stem))):
            xml = read_file(tried)
            if xml is None:
                continue
            annotation = parse_annotation(xml, tried)
            alike = self._siblings(stem) if named and tried == self.annotation_path(stem) else []
            if named in alike and (owner := self._owner(annotation, tried, alike)) != named:
                raise RejectedError("missing_annotation", path, f"no such file; {tried} is that of {owner}")
            return annotation, tried, named
        raise RejectedError("missing_annotation", path, "there is no such file")

    def _owner(self, annotation: Annotation, annotation_path: str, paths: Sequence[str]) -> str:
        """Which of the images that differ in their endings alone an annotation describes."""
        if len(paths) == 1:
            return paths[0]
        owners = [path for path in paths if posixpath.basename(path) == annotation.filename]
        owners = owners or [path for path in paths if _size(read_file(path)) == annotation.size is not None]
        if len(owners) != 1:
            names = ", ".join(map(posixpath.basename, paths))
            raise RejectedError("shared_annotation", annotation_path, f"nothing tells whose it is: {names}")
        return owners[0]

    def _siblings(self, stem: str) -> list[str]:
        """Paths of the images of this name with any ending, in any case; for the rare name that the usual miss."""
        folder, name = posixpath.split(f"{self._pictures}/{stem}")
        by_stem = self._folder_names.get(folder)
        if by_stem is None:
            by_stem = self._folder_names[folder] = {}
            for one in sorted(names_in(folder)) if is_folder(folder) else ():
                if is_picture(one):
                    by_stem.setdefault(posixpath.splitext(one)[0], []).append(f"{folder}/{one}")
        return [path for path in by_stem.get(name, []) if not is_folder(path)]

    @cached_property
    def _folder_names(self) -> dict[str, dict[str, list[str]]]:
        return {}

    def _class_names(self, picture_id: str) -> list[str | RejectedError]:
        try:
            return [voc_object.name for voc_object in self._read_annotation(picture_id)[0].objects]
        except RejectedError as error:
            return [error]


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def is_picture(path: str) -> bool:
    """Whether a file's name ends as an image's."""
    return posixpath.splitext(path)[1].lower() in PICTURE_SUFFIXES


def why_ignored(path: str) -> str | None:
    """Why a file is passed over whatever its ending, as the name of a fault; None if it is not."""
    *folders, name = path.split("/")
    if name.startswith("._") or "__MACOSX" in folders:
        return "mac_file"
    return "hidden_file" if any(folder.startswith(".") for folder in folders) else None


def _without_flags(lines: list[str]) -> list[str]:
    """Ids of a per-class file without their flags. It is one if every line has a flag: an id may end in " 1", too."""
    parts = [line.rsplit(None, 1) for line in lines]
    if all(len(part) == 2 and part[1] in ("-1", "0", "1") for part in parts):
        return [part[0] for part in parts]
    return lines


def _size(data: bytes | None) -> tuple[int, int] | None:
    """Width and height of an image, None if it is none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data or b"")) as image:
            return image.size
    except Exception:  # Pillow's plugins raise whatever their formats' parsers do
        return None
