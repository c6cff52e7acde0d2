"""Fixtures shared by all tests. All data is made by code; nothing is downloaded."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import Object, make_jpeg, make_xml, write_voc_tree

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """``jpeg(width=300, height=200, *, seed=0)``: bytes of a baseline RGB JPEG of that size."""
    return make_jpeg


@pytest.fixture(scope="session")
def voc_xml() -> Callable[..., bytes]:
    """``voc_xml(objects, *, size=(300, 200))``: bytes of an annotation; objects are (name, xmin, ymin, xmax, ymax)."""
    return make_xml


@pytest.fixture
def voc_tree(tmp_path: Path) -> Callable[..., Path]:
    """A builder of miniature VOC trees.

    ``voc_tree(pictures, *, name="VOC2007", image_sets=None, size=(300, 200), files=None) -> Path``: `write_voc_tree` in
    ``tmp_path/name``.
    """

    def build(pictures: Mapping[str, Sequence[Object]], *, name: str = "VOC2007", **options: Any) -> Path:
        return write_voc_tree(tmp_path / name, pictures, **options)

    return build


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images and annotations, where the environment names one."""
    folder = os.environ.get("SSD300_REAL_DATA")
    if not folder:
        pytest.skip("SSD300_REAL_DATA is not set: it names the folder of the real data that this test reads")
    if not Path(folder).is_dir():
        pytest.fail(f"SSD300_REAL_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def encode_shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``encode_shapes(pictures, *, seed=0, **settings)``: folder of an encoded dataset of drawn shapes.

    - images: number by split.
    - settings: of the job, such as ``shard_size`` or ``copies``.
    """
    from ssd300.datasets.classes import ClassList
    from ssd300.datasets.shapes import CLASSES, write_shapes_tree
    from ssd300.datasets.sources.folder import FolderSource
    from ssd300.preprocessing.job import preprocess
    from ssd300.preprocessing.runners.execution import Execution
    from ssd300.preprocessing.settings import PreprocessSettings

    def encode(pictures: Mapping[str, int], *, seed: int = 0, **settings: Any) -> str:
        folder = tmp_path_factory.mktemp("shapes")
        write_shapes_tree(folder / "tree", dict(pictures), seed=seed)
        sources = tuple(FolderSource(split, str(folder / "tree"), split) for split in pictures)
        job = PreprocessSettings(sources=sources, classes=ClassList(CLASSES), **settings)
        preprocess(job, str(folder / "dataset"), Execution(workers=1, max_rejected=0.0))
        return str(folder / "dataset")

    return encode


@pytest.fixture(scope="session")
def shapes_dataset(encode_shapes: Callable[..., str]) -> str:
    """Folder of an encoded dataset of drawn shapes, preset `paper`: 24 images in `train`, 12 in `test`. Read only."""
    return encode_shapes({"train": 24, "test": 12})
