"""Checking an image's bytes before they become a record, and repairing what readers would get wrong."""

import io
import re
import warnings
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from ssd300.datasets.faults import RejectedError
from ssd300.datasets.files import plain_message
from ssd300.preprocessing.checking.jpeg_end import END, START, with_end

_ORIENTATION = 0x0112  # the EXIF tag
# What annotated images come as; others make Pillow start programs (EPS) or are not images (PDF).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
Image.init()  # given a list of formats, Pillow expects their plugins to be there
_JPEGS = ("JPEG", "MPO")  # an MPO is a JPEG followed by more images, which readers do not see
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes
# Just under the size from which Pillow warns of a decompression bomb.
MAX_PIXELS = 89_000_000


@dataclass(frozen=True)
class Picture:
    """A usable image."""

    jpeg: bytes  # an upright gray or RGB JPEG: the file's own bytes wherever they are one
    width: int  # in pixels
    height: int  # in pixels
    stored_size: tuple[int, int]  # ``(width, height)`` in the file, before it was turned upright
    repairs: tuple[str, ...]  # names of the faults that were repaired
    orientation: int = 1  # EXIF's, 1 where there is none


def check_picture(data: bytes, path: str, *, decode: bool = True, max_pixels: int = MAX_PIXELS) -> Picture:
    """Checks the image in `data`; `path` only serves the messages.

    Args:
        data: the file's content.
        path: the file.
        decode: whether all of the image is decoded, or what follows a good header is trusted.
        max_pixels: images of more pixels are rejected unread.

    Raises:
        RejectedError: the image cannot be used.
    """
    if not data:
        raise RejectedError("empty_picture", path, "the file has no bytes")
    whole = _completed(data)
    if whole is not None:
        picture = check_picture(whole, path, decode=decode, max_pixels=max_pixels)
        return replace(picture, repairs=(*picture.repairs, "missing_end"))
    try:
        # Pillow warns of what it reads all the same (EXIF cut short, a palette with transparency) and names no file.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RejectedError(
                    "gigantic_picture", path, f"{width}x{height} pixels are more than the limit of {max_pixels:,}"
                )
            orientation = image.getexif().get(_ORIENTATION, 1)
            repairs = {
                "exif_rotated": orientation in range(2, 9),
                "not_jpeg": image.format not in _JPEGS,
                "sixteen_bits": _has_sixteen_bits(image, data),
                "odd_colors": image.mode not in ("L", "RGB", *_SIXTEEN_BITS),
            }
            if not any(repairs.values()):
                if decode and (reason := _why_undecodable(data)) is not None:
                    raise RejectedError("undecodable_picture", path, f"the JPEG is corrupt or truncated: {reason}")
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
        # Without addresses in memory: the same file gives the same message every time.
        what = "of no known format" if isinstance(error, UnidentifiedImageError) else repr(error)
        what = re.sub(r" at 0x[0-9a-f]+", "", what)
        raise RejectedError("undecodable_picture", path, f"not a readable picture: {what}") from None
    found = tuple(name for name, present in repairs.items() if present)
    return Picture(
        buffer.getvalue(),
        upright.width,
        upright.height,
        stored_size=(width, height),
        repairs=found,
        orientation=orientation if repairs["exif_rotated"] else 1,
    )


def _completed(data: bytes) -> bytes | None:
    """The JPEG with its end marker, if it cannot be decoded for the lack of that alone; None for all others."""
    if not data.startswith(START) or data.endswith(END) or _why_undecodable(data) is None:
        return None
    return with_end(data)


def _why_undecodable(jpeg: bytes) -> str | None:
    """Why a JPEG cannot be decoded, None if it can."""
    try:
        # An eighth of the size: the whole entropy-coded stream is still read, the costly transforms are not made.
        tf.io.decode_jpeg(tf.constant(jpeg), channels=3, ratio=8)
    except tf.errors.InvalidArgumentError as error:
        return plain_message(error)
    return None


def _has_sixteen_bits(image: Image.Image, data: bytes) -> bool:
    # Pillow silently reads 16-bit colors as 8 bits; byte 24 of a PNG tells.
    return image.mode in _SIXTEEN_BITS or (image.format == "PNG" and data[24] == 16)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        # Keep the upper 8 of 16 bits, which `convert` would clip instead; 32 bits may hold any range.
        wide = image.convert("I")
        scale = 256 if image.mode in _SIXTEEN_BITS or np.asarray(wide).max() > 255 else 1
        image = wide.point(lambda value: value / scale).convert("L")
    return image.convert("RGB")
