"""What a command writes: never over a file that it has not made itself, and known to be writable before the work.

Images and JSON files say that they were made here, so that running a command again may replace them.
"""

import io
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import real_path, resolve_path, write_atomically

MADE_BY = "ssd300"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # with one slash: what pathlib makes of two
# The keys by which JSON files of evaluation and prediction are known.
METRICS = frozenset({"split", "pictures", "step", "dataset", "iou_threshold", "mAP", "classes"})
DETECTION = frozenset({"image_id", "file_name", "category_id", "category_name", "bbox", "score"})


def local_path(path: str, what: str) -> Path:
    """The absolute path of a file or folder on this machine's disks.

    Raises:
        InputError: it is a URL, or empty; `what` says in the message which path it is.
    """
    if not path or _URL.match(path):
        raise InputError(f"{what} must be a path on this machine's disks, got {path or 'an empty one'}")
    return Path(resolve_path(path))


def check_replaceable(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Checks that outputs replace nothing but earlier outputs.

    Raises:
        InputError: one is an input, exists and was not made here, is below a file, or is a URL; it is named.
    """
    outputs = list(outputs)
    read = {real_path(str(path)) for path in inputs}
    for path in outputs:
        local_path(str(path), "an output")
        if real_path(str(path)) in read:
            raise InputError(f"{path} is an input and would be replaced; choose another output")
        if path.is_dir():
            raise InputError(f"{path} is a folder, where a file is to be written; choose another output")
        if os.path.lexists(path) and not _is_ours(path):
            raise InputError(f"{path} exists and was not made by {MADE_BY}; choose another output, or remove it")
    files = set(outputs)
    for folder in {parent for path in outputs for parent in path.parents}:
        if folder in files or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder} is a file, where a folder is needed; choose another output")


def save_image(image: Image.Image, path: Path, *, quality: int = 92) -> None:
    """Saves an image as a JPEG or PNG that says that it was made here; StorageError if it cannot be written."""
    buffer = io.BytesIO()
    if path.suffix.lower() == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", MADE_BY)
        image.save(buffer, "PNG", pnginfo=text)
    else:
        image.save(buffer, "JPEG", quality=quality, comment=MADE_BY.encode())
    write_atomically(str(path), buffer.getvalue())  # a part of an image might not be known as made here


def _is_ours(path: Path) -> bool:
    if path.suffix == ".json":
        return _is_our_json(path)
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", image.info.get("Software", ""))
    except Exception:  # Pillow's plugins raise whatever their formats' parsers do
        return False
    return (comment.decode("latin-1") if isinstance(comment, bytes) else comment) == MADE_BY


def _is_our_json(path: Path) -> bool:
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    if isinstance(content, dict):
        return content.keys() >= METRICS
    return isinstance(content, list) and all(isinstance(one, dict) and one.keys() >= DETECTION for one in content)
