"""Fixtures shared by all tests. All data is made by code; nothing is downloaded."""

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# An object of an annotation: name, xmin, ymin, xmax, ymax, in pixels as VOC counts them.
Object = tuple[str, float, float, float, float]


def _jpeg(width: int = 300, height: int = 200, *, seed: int = 0) -> bytes:
    """A baseline RGB JPEG: a gradient that differs along both axes, and blocks of noise by the seed."""
    random = np.random.default_rng(seed)
    x, y = np.linspace(0, 255, width)[None], np.linspace(255, 0, height)[:, None]
    pixels = np.stack([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1)
    cells = random.uniform(-60, 60, (-(-height // 20), -(-width // 20), 3))
    pixels += cells.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _xml(objects: Iterable[Object] = (), *, size: tuple[int, int] | None = (300, 200)) -> bytes:
    """A VOC annotation of these objects; `size` is (width, height), None to leave the element out."""
    lines = ["<annotation>"]
    if size is not None:
        lines.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, *corners in objects:
        tags = ("xmin", "ymin", "xmax", "ymax")
        numbers = "".join(f"<{tag}>{number}</{tag}>" for tag, number in zip(tags, corners, strict=True))
        lines.append(f"<object><name>{name}</name><bndbox>{numbers}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"]).encode()


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """``jpeg(width=300, height=200, *, seed=0)``: bytes of a baseline RGB JPEG of that size."""
    return _jpeg


@pytest.fixture(scope="session")
def voc_xml() -> Callable[..., bytes]:
    """``voc_xml(objects, *, size=(300, 200))``: bytes of an annotation; objects are (name, xmin, ymin, xmax, ymax)."""
    return _xml


@pytest.fixture
def voc_tree(tmp_path: Path) -> Callable[..., Path]:
    """A builder of miniature VOC trees.

    ``voc_tree(pictures, *, name="VOC2007", image_sets=None, size=(300, 200), files=None) -> Path``

    - pictures: objects ``[(name, xmin, ymin, xmax, ymax), ...]`` by picture id; each gets a JPEG of its own.
    - name: the tree's folder, in ``tmp_path``.
    - image_sets: lines by image set; one set ``train`` of all pictures by default.
    - size: (width, height) of all pictures.
    - files: content by path in the tree, over what was written before; None removes the file.
    """

    def build(
        pictures: Mapping[str, Sequence[Object]],
        *,
        name: str = "VOC2007",
        image_sets: Mapping[str, Iterable[str]] | None = None,
        size: tuple[int, int] = (300, 200),
        files: Mapping[str, bytes | None] | None = None,
    ) -> Path:
        root = tmp_path / name
        content: dict[str, bytes | None] = {}
        for seed, (picture_id, objects) in enumerate(pictures.items()):
            content[f"JPEGImages/{picture_id}.jpg"] = _jpeg(*size, seed=seed)
            content[f"Annotations/{picture_id}.xml"] = _xml(objects, size=size)
        for image_set, lines in (image_sets or {"train": pictures}).items():
            content[f"ImageSets/Main/{image_set}.txt"] = "".join(f"{line}\n" for line in lines).encode()
        for path, data in {**content, **(files or {})}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                (root / path).unlink(missing_ok=True)
            else:
                (root / path).write_bytes(data)
        return root

    return build


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real pictures and annotations, where the environment names one."""
    folder = os.environ.get("SSD300_REAL_DATA")
    if not folder:
        pytest.skip("SSD300_REAL_DATA is not set: it names the folder of the real data that this test reads")
    if not Path(folder).is_dir():
        pytest.fail(f"SSD300_REAL_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def encode_shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``encode_shapes(pictures, *, seed=0, **settings)``: folder of an encoded dataset of drawn shapes.

    - pictures: number by split.
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
    """Folder of an encoded dataset of drawn shapes, preset `paper`: 24 pictures in `train`, 12 in `test`. Read only."""
    return encode_shapes({"train": 24, "test": 12})
