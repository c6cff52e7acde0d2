"""JPEGs that lack nothing but their end marker, told from those that lack image data."""

import hashlib
import io
from collections.abc import Iterator

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
_SCAN, _LENGTHLESS = 0xDA, {0x01, 0xD8, *range(0xD0, 0xD8)}
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
# What may follow image data before the end marker. A decoder that needs no more skips it; one that does takes bits
# from it, and the images differ. Some begin with the marker that a decoder of restart intervals would look for.
_RANDOM = [hashlib.sha256(bytes([seed])).digest().replace(b"\xff", b"\xfe") for seed in range(8)]
_TAILS = (
    *(b"\x55" * 64, b"\xaa" * 64, b"\xff\x00" * 64),
    *_RANDOM,
    *(bytes([0xFF, 0xD0 + number]) + b"\x55" * 64 for number in range(8)),
)


def with_end(jpeg: bytes) -> bytes | None:
    """A JPEG with its end marker, if that is all that it lacks; else None."""
    body = jpeg.removesuffix(b"\xff")
    if jpeg.endswith(END) or not _has_all_scans(body):
        return None
    try:
        image, *others = (_pixels(body + tail + END) for tail in (b"", *_TAILS))
    except Exception:  # Pillow's plugins raise whatever their formats' parsers do
        return None
    return body + END if all(image == other for other in others) else None


def _pixels(jpeg: bytes) -> bytes:
    # Not with TensorFlow, which prints a line for each of these.
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        return image.tobytes()


def _has_all_scans(jpeg: bytes) -> bool:
    """Whether the headers of scans cover every coefficient of every component down to its last bit (T.81, B.2.3)."""
    missing: dict[int, set[int]] = {}
    for marker, segment in _segments(jpeg):
        if marker in _FRAMES and len(segment) >= 6:
            missing = {component: set(range(64)) for component in segment[6::3]}
        elif marker == _SCAN and segment:
            count = segment[0]
            if len(segment) < 4 + 2 * count:
                return False
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            for component in segment[1 : 1 + 2 * count : 2]:
                if bits & 0x0F == 0:  # of a progressive scan: no bits are left to later ones
                    missing.get(component, set()).difference_update(range(first, last + 1))
    return bool(missing) and not any(missing.values())


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers and what their headers hold; image data is passed over."""
    position = 0
    while (position := jpeg.find(b"\xff", position)) >= 0 and position + 1 < len(jpeg):
        marker = jpeg[position + 1]
        position += 1 if marker == 0xFF else 2
        if marker in (0x00, 0xFF) or marker in _LENGTHLESS:  # a stuffed byte of image data, a fill byte
            continue
        length = int.from_bytes(jpeg[position : position + 2], "big")
        yield marker, jpeg[position + 2 : position + length]
        position += length
