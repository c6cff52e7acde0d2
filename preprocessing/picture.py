"""Checking a picture's bytes before they become a record, and mending what readers would get wrong."""

import io
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf
from PIL import Image, ImageOps

from ssd300.datasets.faults import RejectedError

Verify = Literal["decode", "header"]
_ORIENTATION = 0x0112  # the EXIF tag
# Just under the size from which Pillow warns of a decompression bomb.
MAX_PIXELS = 89_000_000


@dataclass(frozen=True)
class Picture:
    """A usable picture.

    Attributes:
        jpeg: an upright grey or RGB JPEG: the file's own bytes wherever they are one.
        width: in pixels.
        height: in pixels.
        stored_size: ``(width, height)`` in the file, before it was turned upright.
        orientation: EXIF's, 1 where there is none.
        repairs: names of the faults that were repaired.
    """

    jpeg: bytes
    width: int
    height: int
    stored_size: tuple[int, int]
    repairs: tuple[str, ...]
    orientation: int = 1


def check_picture(data: bytes, path: str, *, verify: Verify = "decode", max_pixels: int = MAX_PIXELS) -> Picture:
    """Checks the picture in `data`; `path` only serves the messages.

    Args:
        data: the file's content.
        path: the file.
        verify: ``decode`` decodes all of the picture, ``header`` trusts what follows a good header.
        max_pixels: pictures of more pixels are rejected unread.

    Raises:
        RejectedError: the picture cannot be used.
    """
    if not data:
        raise RejectedError("empty_picture", path, "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RejectedError(
                    "gigantic_picture", path, f"{width}x{height} pixels are more than the limit of {max_pixels:,}"
                )
            orientation = image.getexif().get(_ORIENTATION, 1)
            turned = orientation in range(2, 9)
            plain = image.format == "JPEG" and image.mode in ("L", "RGB")
            if plain and not turned:
                if verify == "decode":
                    _decode(data, path)
                return Picture(data, width, height, (width, height), ())
            # Readers would ignore the EXIF orientation, and disagree on CMYK, palettes, alpha and 16 bits.
            upright = _to_rgb(ImageOps.exif_transpose(image))
            buffer = io.BytesIO()
            upright.save(buffer, "JPEG", quality=95, subsampling=0)
    except RejectedError:
        raise
    except Image.DecompressionBombError as error:
        raise RejectedError("gigantic_picture", path, str(error)) from None
    except Exception as error:  # Pillow's plugins raise whatever their formats' parsers do
        raise RejectedError("undecodable_picture", path, f"not a readable picture: {error!r}") from None
    repairs = (("exif_rotated",) if turned else ()) + (() if plain else ("not_jpeg",))
    size = upright.width, upright.height
    return Picture(buffer.getvalue(), *size, (width, height), repairs, orientation if turned else 1)


def _decode(jpeg: bytes, path: str) -> None:
    try:
        # An eighth of the size: the whole entropy-coded stream is still read, the costly transforms are not made.
        tf.io.decode_jpeg(jpeg, channels=3, ratio=8)
    except tf.errors.InvalidArgumentError as error:
        raise RejectedError("undecodable_picture", path, f"the JPEG is corrupt or truncated: {error.message}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a channel: keep the upper 8, which `convert` would clip instead
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGB")
