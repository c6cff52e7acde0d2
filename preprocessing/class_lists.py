"""Which classes a job has: VOC's, those of a file, or all that occur in the annotations."""

from collections.abc import Sequence
from itertools import chain

from ssd300.datasets.classes import VOC, ClassList, from_names, read_class_file
from ssd300.datasets.sources import Source


def resolve_classes(text: str, sources: Sequence[Source]) -> ClassList:
    """The class list that a ``--classes`` argument means: ``voc``, ``auto`` or a file.

    Raises:
        ValueError: the file cannot be read, or the annotations name no class.
    """
    if text == "voc":
        return VOC
    if text != "auto":
        return read_class_file(text)
    try:
        return from_names(chain.from_iterable(source.class_names() for source in sources))
    except ValueError as error:
        raise ValueError(f"--classes auto: {', '.join(map(str, sources))}: {error}") from None
