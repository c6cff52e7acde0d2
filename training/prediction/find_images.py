"""Which images the arguments of a prediction name, and what their annotated copies are called."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape, glob
from pathlib import Path, PurePath

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import files_below
from ssd300.datasets.sources.folder import is_picture, why_ignored
from ssd300.preprocessing.support.outputs import local_path

_JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif")
_IN_WORDS = {"mac_file": "of macOS", "hidden_file": "hidden", "other_file": "not images"}


@dataclass(frozen=True)
class FoundImages:
    """Images to detect objects on.

    Attributes:
        paths: of the images, each once, in a stable order.
        names: path in the output folder of the annotated copy of each, a JPEG: the image's own name and, unless it has
            a JPEG's ending, ``.jpg``. No two are the same, even on disks that know no case.
        ignored: number of files in folders that are passed over, by the names of `ssd300.datasets.faults.FAULTS`.
    """

    paths: tuple[Path, ...]
    names: tuple[PurePath, ...]
    ignored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "FoundImages":
        """Images given by their paths."""
        found = {local_path(str(path), "an image"): PurePath(path.name) for path in paths}
        return cls(tuple(found), _names(found))

    @property
    def ignored_in_words(self) -> str:
        """How many files were ignored and why, as ``ignored 3 files: 2 not images, 1 of macOS``; "" for none."""
        number = self.ignored.total()
        reasons = ", ".join(f"{count:,} {_IN_WORDS[name]}" for name, count in self.ignored.most_common())
        return f"ignored {number:,} {'file' if number == 1 else 'files'}: {reasons}" if number else ""


def find_images(patterns: Sequence[str], *, output: str | Path | None = None) -> FoundImages:
    """The images that paths, folders (with their sub-folders) and globs name.

    A path that exists is taken as it is, whatever characters are in it. Copies keep the sub-folders in which images lie
    in a folder that was named, or below the part of a glob that is no pattern; where that is not enough to tell them
    apart, as much of the rest of their paths as it takes.

    Args:
        patterns: what was named. Hidden files and folders in a named folder are passed over.
        output: the folder of the copies. What lies in it is passed over as well, unless it was named itself.

    Raises:
        InputError: a pattern names nothing, or is a URL.
    """
    found: dict[Path, PurePath] = {}
    ignored: Counter[str] = Counter()
    out = None if output is None else local_path(str(output), "the output")
    for pattern in patterns:
        path = local_path(pattern, "an image")
        named = list(_in_folder(path, out, ignored) if path.is_dir() else _matching(path, out))
        if not named:
            raise InputError(f"{pattern} names no image: expected a file, a folder with images, or a glob")
        for image, inside in named:
            found.setdefault(image, inside)
    return FoundImages(tuple(found), _names(found), ignored)


def _in_folder(folder: Path, out: Path | None, ignored: Counter[str]) -> Iterator[tuple[Path, PurePath]]:
    try:
        names = files_below(str(folder))
    except UnicodeError as error:
        raise InputError(f"{folder}: a file's name is not UTF-8: {error}") from None
    for name in names:
        inside = PurePath(name)
        if _is_output(folder / inside, folder, out):
            continue
        reason = why_ignored(name) or ("hidden_file" if inside.name.startswith(".") else None)
        if reason is None and is_picture(name):
            yield folder / inside, inside
        else:
            ignored[reason or "other_file"] += 1


def _matching(path: Path, out: Path | None) -> Iterator[tuple[Path, PurePath]]:
    if path.is_file():
        yield path, PurePath(path.name)
        return
    # Of the folders that exist under the very names of the pattern none is a pattern itself.
    folder = next(parent for parent in path.parents if parent.is_dir())
    for name in sorted(glob(f"{escape(str(folder))}/{path.relative_to(folder)}", recursive=True)):  # noqa: PTH207
        image = Path(name)
        if image.is_file() and not _is_output(image, folder, out):
            yield image, image.relative_to(folder)


def _is_output(image: Path, folder: Path, out: Path | None) -> bool:
    """Whether an image in a named folder lies in the output, where that is a part of the folder."""
    return out is not None and folder in out.parents and out in image.parents


def _names(found: Mapping[Path, PurePath]) -> tuple[PurePath, ...]:
    """A name for each copy, by the paths of the images and of the part of them that is kept; in any order."""
    whole = _whole_names(found)
    lengths = {path: len(inside.parts) for path, inside in found.items()}
    while True:
        names = {path: PurePath(*whole[path].parts[-length:]) for path, length in lengths.items()}
        alike = defaultdict(list)
        for path, name in names.items():
            alike[_folded(name)].append(path)
        longer = [path for paths in alike.values() if len(paths) > 1 for path in paths]
        if not longer:
            return tuple(names.values())
        for path in longer:
            lengths[path] = min(lengths[path] + 1, len(whole[path].parts))


def _whole_names(paths: Iterable[Path]) -> dict[Path, PurePath]:
    """What the copies would be called next to the images; names that differ in case alone get numbers."""
    names: dict[Path, PurePath] = {}
    used: set[str] = set()
    for path in sorted(paths):
        plain = path if path.suffix.lower() in _JPEGS else path.with_name(f"{path.name}.jpg")
        name, number = plain, 1
        while _folded(name) in used:
            number += 1
            name = plain.with_stem(f"{plain.stem}-{number}")
        used.add(_folded(name))
        names[path] = name.relative_to(path.anchor)
    return names


def _folded(name: PurePath) -> str:
    """What is the same for two names that some disk takes for one."""
    return unicodedata.normalize("NFC", str(name).casefold())
