"""Which classes a job has: VOC's, those of a file, or all that occur in the annotations."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ssd300.datasets.annotation import parse_annotation
from ssd300.datasets.classes import VOC, ClassList, from_names, read_class_file
from ssd300.datasets.faults import RejectedError
from ssd300.datasets.sources import Source
from ssd300.preprocessing.encode_shard import read_file


def resolve_classes(text: str, sources: Iterable[Source]) -> ClassList:
    """The class list that a ``--classes`` argument means: ``voc``, ``auto`` or a file.

    Raises:
        ValueError: the file cannot be read, or the annotations name no class.
    """
    if text == "voc":
        return VOC
    if text != "auto":
        return read_class_file(text)
    names: list[str] = []
    # Reading waits for disks more than it computes.
    with ThreadPoolExecutor(16) as pool:
        for source in sources:
            for found in pool.map(_names, (source.annotation_path(picture_id) for picture_id in source.ids())):
                names += found
    if not names:
        raise ValueError(f"--classes auto: the annotations of {', '.join(map(str, sources))} name no object")
    return from_names(names)


def _names(path: str) -> list[str]:
    """Class names in an annotation; none if it cannot be used: the job will reject it and say why."""
    xml = read_file(path)
    if xml is None:
        return []
    try:
        return [voc_object.name for voc_object in parse_annotation(xml, path).objects]
    except RejectedError:
        return []
