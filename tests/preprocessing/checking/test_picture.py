"""Checking and mending images: every kind of file ends as an upright RGB or gray JPEG, or is rejected."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssd300.datasets.faults import RejectedError
from ssd300.preprocessing.checking.picture import Picture, check_picture

ORIENTATION = 0x0112


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def corners() -> Image.Image:
    """30 wide, 20 high: red, green above blue, yellow. No turn or mirror image of it looks alike."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10, :15], pixels[:10, 15:] = (220, 20, 20), (20, 220, 20)
    pixels[10:, :15], pixels[10:, 15:] = (20, 20, 220), (220, 220, 20)
    return Image.fromarray(pixels)


def pixels_of(picture: Picture) -> np.ndarray:
    """What the reader will see: TensorFlow's decoding."""
    return tf.io.decode_jpeg(picture.jpeg, channels=3).numpy()


def assert_looks_like(picture: Picture, expected: Image.Image, tolerance: int = 12) -> None:
    got, wanted = pixels_of(picture).astype(int), np.asarray(expected.convert("RGB")).astype(int)
    assert got.shape == wanted.shape
    assert (picture.height, picture.width) == wanted.shape[:2]
    # The middle of each quarter: away from the edges that JPEG blurs.
    ys, xs = (wanted.shape[0] // 4, wanted.shape[0] * 3 // 4), (wanted.shape[1] // 4, wanted.shape[1] * 3 // 4)
    for y in ys:
        for x in xs:
            assert np.abs(got[y, x] - wanted[y, x]).max() <= tolerance, (y, x, got[y, x], wanted[y, x])


def fault_of(data: bytes, **options) -> str:
    with pytest.raises(RejectedError) as caught:
        check_picture(data, "JPEGImages/bad.jpg", **options)
    assert caught.value.path == "JPEGImages/bad.jpg"
    return caught.value.fault


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"quality": 60}, {"progressive": True}, {"subsampling": 0}, {"comment": b"hi"}])
def test_a_plain_jpeg_keeps_its_bytes(mode, options, decode):
    data = encoded(corners().convert(mode), "JPEG", **options)
    assert check_picture(data, "a.jpg", decode=decode) == Picture(data, 30, 20, (30, 20), ())


def test_a_grey_jpeg_is_read_as_grey_rgb():
    picture = check_picture(encoded(Image.new("L", (30, 20), 77), "JPEG"), "a.jpg")
    assert np.abs(pixels_of(picture).astype(int) - 77).max() <= 2


def test_a_cmyk_jpeg_becomes_rgb_with_the_right_colors():
    picture = check_picture(encoded(corners().convert("CMYK"), "JPEG", quality=95), "a.jpg")
    assert picture.repairs == ("odd_colors",)
    assert_looks_like(picture, corners())
    assert Image.open(io.BytesIO(picture.jpeg)).mode == "RGB"


# How a camera stored the upright image, by EXIF orientation: EXIF 2.32, tag 274.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_every_exif_orientation_is_turned_upright(orientation, image_format):
    turn = STORED[orientation]
    stored = corners() if turn is None else corners().transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(stored, image_format, exif=exif, **({"quality": 95} if image_format == "JPEG" else {}))
    picture = check_picture(data, "a.jpg")
    assert_looks_like(picture, corners(), tolerance=25)
    assert picture.stored_size == stored.size
    turned, transcoded = ("exif_rotated",) * (orientation > 1), ("not_jpeg",) * (image_format == "PNG")
    assert picture.repairs == turned + transcoded
    assert (picture.jpeg == data) == (not picture.repairs)
    assert Image.open(io.BytesIO(picture.jpeg)).getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_an_invalid_orientation_changes_nothing(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(corners(), "JPEG", exif=exif)
    assert check_picture(data, "a.jpg").jpeg == data


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"garbage!!", b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_damaged_exif_is_no_reason_to_reject(exif):
    data = encoded(corners(), "JPEG", exif=b"Exif\0\0" + exif)
    assert check_picture(data, "a.jpg").jpeg == data


@pytest.mark.parametrize(
    ("image", "image_format", "more"),
    [
        (corners(), "PNG", ()),
        (corners().convert("L"), "PNG", ()),
        (corners().convert("RGBA"), "PNG", ("odd_colors",)),
        (corners().quantize(16), "PNG", ("odd_colors",)),
        (corners().quantize(16), "GIF", ("odd_colors",)),
        (corners().convert("CMYK"), "TIFF", ("odd_colors",)),
        (corners(), "BMP", ()),
        (corners(), "TIFF", ()),
        (corners(), "WEBP", ()),
    ],
    ids=["PNG", "gray PNG", "PNG with alpha", "palette PNG", "GIF", "CMYK TIFF", "BMP", "TIFF", "WebP"],
)
def test_other_formats_under_a_jpegs_name_become_jpeg(image, image_format, more):
    picture = check_picture(encoded(image, image_format), "a.jpg")
    assert picture.repairs == ("not_jpeg", *more)
    assert Image.open(io.BytesIO(picture.jpeg)).format == "JPEG"
    assert_looks_like(picture, image, tolerance=25)


def test_a_sixteen_bit_png_keeps_its_upper_bits():
    levels = np.repeat(np.array([[0x0000, 0x4000, 0x8000, 0xFFFF]], np.uint16), 8, axis=1).repeat(16, axis=0)
    picture = check_picture(encoded(Image.fromarray(levels), "PNG"), "a.png")
    assert (picture.width, picture.height, picture.repairs) == (32, 16, ("not_jpeg", "sixteen_bits"))
    got = pixels_of(picture)[8, 4::8].astype(int)
    assert np.abs(got - np.array([0x00, 0x40, 0x80, 0xFF])[:, None]).max() <= 3


def test_a_bilevel_png_is_black_and_white():
    picture = check_picture(encoded(Image.new("1", (9, 5), 1), "PNG"), "a.png")
    assert pixels_of(picture).min() > 250


def test_one_pixel_is_a_picture():
    data = encoded(Image.new("RGB", (1, 1), (200, 30, 30)), "JPEG")
    assert check_picture(data, "a.jpg") == Picture(data, 1, 1, (1, 1), ())


def test_an_empty_file():
    assert fault_of(b"") == "empty_picture"


@pytest.mark.parametrize(
    "data", [b"<html>404 Not Found</html>", b"\0" * 4096, b"\xff\xd8\xff\xe0", b"x", b"%PDF-1.4\n"], ids=repr
)
def test_files_that_are_no_pictures(data):
    assert fault_of(data[:4096]) == "undecodable_picture"


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_jpeg_is_rejected_by_decoding(jpeg, left):
    data = jpeg(300, 200)
    assert fault_of(data[: int(len(data) * left)]) == "undecodable_picture"


def test_a_truncated_jpeg_passes_the_check_of_the_header_alone(jpeg):
    data = jpeg(300, 200)[:-500]
    assert check_picture(data, "a.jpg", decode=False).jpeg == data


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "GIF"])
def test_other_truncated_pictures_are_always_rejected(image_format, decode):
    random = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    data = encoded(Image.fromarray(random), image_format)
    assert fault_of(data[: len(data) // 2], decode=decode) == "undecodable_picture"


@pytest.mark.parametrize("decode", [True, False])
def test_more_pixels_than_the_limit_are_rejected(jpeg, decode):
    data = jpeg(300, 200)
    assert check_picture(data, "a.jpg", decode=decode, max_pixels=60_000).width == 300
    assert fault_of(data, decode=decode, max_pixels=59_999) == "gigantic_picture"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_100, 60_000])
def test_a_decompression_bomb_is_rejected_unread(side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert fault_of(bomb) == "gigantic_picture"


def test_mending_gives_the_same_bytes_each_time():
    data = encoded(corners(), "PNG")
    assert check_picture(data, "a.png") == check_picture(data, "a.png")
