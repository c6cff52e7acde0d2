"""Helpers that several test files use."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ssd300.preprocessing.augmentation.settings import Augmentation
from ssd300.training.cli.main import main
from ssd300.training.cli.options import parse_changes


def changed(augmentation: Augmentation, texts: Iterable[str]) -> Augmentation:
    """The augmentation with fields given as text, as ``--augment`` takes them: ``hue=18``, ``expand=off``."""
    return replace(augmentation, **parse_changes(Augmentation, texts))


def exit_code(arguments: Sequence[str]) -> int:
    """The exit code of ``ssd300`` with these arguments."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def content(folder: str | Path) -> dict[str, bytes]:
    """The bytes of all files in a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# An object of an annotation: name, xmin, ymin, xmax, ymax, in pixels as VOC counts them.
Object = tuple[str, float, float, float, float]


def make_jpeg(width: int = 300, height: int = 200, *, seed: int = 0) -> bytes:
    """A baseline RGB JPEG: a gradient that differs along both axes, and blocks of noise by the seed."""
    random = np.random.default_rng(seed)
    x, y = np.linspace(0, 255, width)[None], np.linspace(255, 0, height)[:, None]
    pixels = np.stack([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1)
    cells = random.uniform(-60, 60, (-(-height // 20), -(-width // 20), 3))
    pixels += cells.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def make_xml(objects: Iterable[Object] = (), *, size: tuple[int, int] | None = (300, 200)) -> bytes:
    """A VOC annotation of these objects; `size` is (width, height), None to leave the element out."""
    lines = ["<annotation>"]
    if size is not None:
        lines.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, *corners in objects:
        tags = ("xmin", "ymin", "xmax", "ymax")
        numbers = "".join(f"<{tag}>{number}</{tag}>" for tag, number in zip(tags, corners, strict=True))
        lines.append(f"<object><name>{name}</name><bndbox>{numbers}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"]).encode()


def write_voc_tree(
    root: Path,
    pictures: Mapping[str, Sequence[Object]],
    *,
    image_sets: Mapping[str, Iterable[str]] | None = None,
    size: tuple[int, int] = (300, 200),
    files: Mapping[str, bytes | None] | None = None,
) -> Path:
    """Writes a miniature VOC tree and returns its root.

    Args:
        root: folder of the tree.
        pictures: objects ``[(name, xmin, ymin, xmax, ymax), ...]`` by image id; each gets a JPEG of its own.
        image_sets: lines by image set; one set ``train`` of all images by default.
        size: (width, height) of all images.
        files: content by path in the tree, over what was written before; None removes the file.
    """
    written: dict[str, bytes | None] = {}
    for seed, (picture_id, objects) in enumerate(pictures.items()):
        written[f"JPEGImages/{picture_id}.jpg"] = make_jpeg(*size, seed=seed)
        written[f"Annotations/{picture_id}.xml"] = make_xml(objects, size=size)
    for image_set, lines in (image_sets or {"train": pictures}).items():
        written[f"ImageSets/Main/{image_set}.txt"] = "".join(f"{line}\n" for line in lines).encode()
    for path, data in {**written, **(files or {})}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            (root / path).unlink(missing_ok=True)
        else:
            (root / path).write_bytes(data)
    return root
