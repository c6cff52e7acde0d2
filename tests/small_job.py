"""A small job on nine images, for tests of jobs; its fixtures are in preprocessing/conftest.py."""

from helpers import content

from ssd300.datasets.classes import ClassList
from ssd300.datasets.sources.folder import FolderSource
from ssd300.preprocessing.settings import PreprocessSettings

BOX = (30, 20, 150, 100)
GOOD = {f"{number:06d}": [("ant", *BOX), ("bee", number + 1, 50, 280, 190)] for number in range(9)}
BROKEN = {"JPEGImages/000002.jpg": b"broken", "Annotations/000005.xml": None}


def settings_of(*sources: FolderSource, **options) -> PreprocessSettings:
    return PreprocessSettings(sources=sources, classes=ClassList(("ant", "bee")), **{"shard_size": 3, **options})


def assert_looks_unfinished(folder) -> None:
    assert not {"COMPLETED", "dataset_info.json", "features.json", "identity.json"} & content(folder).keys()
