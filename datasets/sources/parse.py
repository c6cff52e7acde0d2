"""Sources: which images of which trees, folders or TFDS datasets go into which split."""

from collections.abc import Sequence
from itertools import chain

from ssd300.datasets.classes import KNOWN_LISTS, ClassList, from_names, read_class_file
from ssd300.datasets.errors import InputError
from ssd300.datasets.faults import RejectedError, most_frequent
from ssd300.datasets.sources.base import Source
from ssd300.datasets.sources.folder import FolderSource
from ssd300.datasets.sources.tfds import SCHEME, TfdsSource

_EXAMPLES = (
    "expected SPLIT=TREE:IMAGE_SET, SPLIT=FOLDER or SPLIT=tfds:DATASET:SPLIT, for example "
    "train=VOCdevkit/VOC2007:trainval, train=my/images or train=tfds:voc/2012:train"
)


def parse_source(text: str) -> Source:
    """The source that a ``--source`` argument names.

    Raises:
        InputError: the text names no source; the message says what is expected.
    """
    split, equals, rest = text.partition("=")
    if not equals:
        raise InputError(f"source {text}: {_EXAMPLES}")
    try:
        if rest.startswith(SCHEME):
            # The last colon that is not of a slice, as in tfds:voc/2012:5.0.0:train[:80%].
            head, bracket, slices = rest.removeprefix(SCHEME).partition("[")
            name, _, tfds_split = head.rpartition(":")
            return TfdsSource(split, name, tfds_split + bracket + slices)
        root, colon, image_set = rest.rpartition(":")
        if not colon or "/" in image_set:  # the colon of gs://, or none
            return FolderSource(split, rest.rstrip("/") or rest)
        if not image_set:
            raise InputError("the name of an image set is missing after the colon")
        return FolderSource(split, root.rstrip("/") or root, image_set)
    except InputError as error:
        raise InputError(f"source {text}: {error}; {_EXAMPLES}") from None


def tree_names(sources: Sequence[Source]) -> dict[str, str]:
    """Names of the trees by their roots: as much of the end of each path as it takes to tell them apart."""
    paths = {source.root: source.path_parts for source in sources}
    for length in range(1, max(map(len, paths.values())) + 1):
        names = {root: "/".join(parts[-length:]).strip("/") for root, parts in paths.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def resolve_classes(text: str, sources: Sequence[Source]) -> ClassList:
    """The class list that a ``--classes`` argument means: ``voc`` or another known list, ``auto``, or a file.

    Raises:
        InputError: the file cannot be read, or the annotations name no class; the message says why.
    """
    if text in KNOWN_LISTS:
        return KNOWN_LISTS[text]
    if text != "auto":
        return read_class_file(text)
    names: list[str] = []
    rejected: list[RejectedError] = []
    for found in chain.from_iterable(source.class_names() for source in sources):
        (rejected if isinstance(found, RejectedError) else names).append(found)  # type: ignore[arg-type]
    if names:
        return from_names(names)
    where = ", ".join(map(str, sources))
    if not rejected:
        raise InputError(f"classes from {where}: no annotation has an object")
    raise InputError(
        f"classes from {where}: no annotation with an object can be used; the most frequent reasons:\n"
        f"{most_frequent(rejected)}"
    )
