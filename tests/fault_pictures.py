"""Images of all kinds for the cases of fault_cases.py."""

import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image


def pixels(width: int = 300, height: int = 200) -> np.ndarray:
    across, down = np.linspace(0, 255, width)[None], np.linspace(200, 0, height)[:, None]
    return np.stack([across + 0 * down, 0 * across + down, 0 * (across + down) + 90], axis=-1).astype(np.uint8)


def saved(image: Image.Image, encoding: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def jpeg(width: int = 300, height: int = 200, **options) -> bytes:
    return saved(Image.fromarray(pixels(width, height)), **options)


def turned(orientation: int) -> bytes:
    """A JPEG of 200x300 in the file that is 300x200 when it stands upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(200, 300, exif=exif)


def upside_down() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return jpeg(exif=exif)


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    return tf.io.encode_png(pixels.astype(np.uint16)).numpy()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
