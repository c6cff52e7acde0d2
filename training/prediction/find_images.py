"""Which images the arguments of a prediction name, and what their annotated copies are called."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import escape, glob
from pathlib import Path, PurePath

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import files_below, resolve_path
from ssd300.datasets.sources.folder import is_picture, why_ignored


@dataclass(frozen=True)
class FoundImages:
    """Images to detect objects on.

    Attributes:
        paths: of the images, each once, in a stable order.
        names: path in the output folder of the annotated copy of each, a JPEG; no two are the same, even on disks that
            know no case.
        ignored: number of files in folders that are passed over, by the names of `ssd300.datasets.faults.FAULTS`.
    """

    paths: tuple[Path, ...]
    names: tuple[PurePath, ...]
    ignored: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "FoundImages":
        """Images given by their paths."""
        found = {path: PurePath(path.name) for path in paths}
        return cls(tuple(found), tuple(_names(found)))


def find_images(patterns: Sequence[str], *, output: str | Path | None = None) -> FoundImages:
    """The images that paths, folders (with their sub-folders) and globs name.

    A path that exists is taken as it is, whatever characters are in it. Copies keep the sub-folders in which images lie
    in a folder that was named, or below the part of a glob that is no pattern.

    Args:
        patterns: what was named; a sub-folder, or a file in a folder, whose name begins with a dot is passed over.
        output: the folder of the copies, which is passed over as well.

    Raises:
        InputError: a pattern names nothing.
    """
    found: dict[Path, PurePath] = {}
    ignored: Counter[str] = Counter()
    out = None if output is None else Path(resolve_path(str(output)))
    for pattern in patterns:
        path = Path(resolve_path(pattern))
        named = list(_in_folder(path, out, ignored) if path.is_dir() else _matching(path))
        if not named:
            raise InputError(f"{pattern} names no image: expected a file, a folder with images, or a glob")
        for image, inside in named:
            found.setdefault(image, inside)
    return FoundImages(tuple(found), tuple(_names(found)), ignored)


def _in_folder(folder: Path, out: Path | None, ignored: Counter[str]) -> Iterator[tuple[Path, PurePath]]:
    for inside in files_below(str(folder)):
        path = folder / inside
        if out is not None and out != folder and out in path.parents:
            continue
        reason = why_ignored(inside) or (None if is_picture(inside) else "other_file")
        if reason is None:
            yield path, PurePath(inside)
        else:
            ignored[reason] += 1


def _matching(path: Path) -> Iterator[tuple[Path, PurePath]]:
    if path.is_file():
        yield path, PurePath(path.name)
        return
    # Of the folders that exist under the very names of the pattern none is a pattern itself.
    folder = next(parent for parent in path.parents if parent.is_dir())
    rest = path.relative_to(folder)
    for name in sorted(glob(f"{escape(str(folder))}/{rest}", recursive=True)):  # noqa: PTH207
        if Path(name).is_file():
            yield Path(name), Path(name).relative_to(folder)


def _names(found: dict[Path, PurePath]) -> Iterator[PurePath]:
    """A name for each copy: as the image's, then with more of its path, and at last with a number."""
    used: set[str] = set()
    for path, inside in found.items():
        for name in _candidates(path, inside):
            if str(name).casefold() not in used:
                used.add(str(name).casefold())
                yield name
                break


def _candidates(path: Path, inside: PurePath) -> Iterator[PurePath]:
    plain = inside.with_suffix(".jpg")
    yield plain
    yield inside.with_name(f"{inside.name}.jpg")
    parts = path.parts[1 : -len(inside.parts)]
    for length in range(1, len(parts) + 1):
        yield PurePath(*parts[-length:]) / plain
    number = 2
    while True:
        yield plain.with_stem(f"{plain.stem}-{number}")
        number += 1
