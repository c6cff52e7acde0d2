"""What a command writes: never over a file that it has not made itself, and known to be writable before the work.

Images and JSON files say that they were made here, so that running a command again may replace them.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ssd300.datasets.errors import InputError
from ssd300.datasets.files import real_path, resolve_path

MADE_BY = "ssd300"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # with one slash: what pathlib makes of two
# The keys by which JSON files of evaluation and prediction are known.
METRICS = frozenset({"split", "pictures", "step", "dataset", "iou_threshold", "mAP", "classes"})
DETECTION = frozenset({"image_id", "file_name", "category_id", "category_name", "bbox", "score"})


def local_path(path: str, what: str) -> Path:
    """The absolute path of an output on this machine's disks.

    Raises:
        InputError: it is a URL; `what` says in the message which output it is.
    """
    if _URL.match(path):
        raise InputError(f"{what} must be on this machine's disks, got {path}")
    return Path(resolve_path(path))


def check_replaceable(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Checks that outputs replace nothing but earlier outputs.

    Raises:
        InputError: one exists and was not made here, or is an input; it is named.
    """
    read = {real_path(str(path)) for path in inputs}
    for path in outputs:
        if real_path(str(path)) in read:
            raise InputError(f"{path} would be replaced, which is read as well; choose another output")
        if path.exists() and not _is_ours(path):
            raise InputError(f"{path} exists and was not made by {MADE_BY}; choose another output, or remove it")


def save_image(image: Image.Image, path: Path, *, quality: int = 92) -> None:
    """Saves an image as a JPEG or PNG that says that it was made here."""
    if path.suffix.lower() == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", MADE_BY)
        image.save(path, pnginfo=text)
    else:
        image.save(path, "JPEG", quality=quality, comment=MADE_BY.encode())


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
