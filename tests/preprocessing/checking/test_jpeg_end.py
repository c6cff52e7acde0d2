"""JPEGs without their end: repaired if all pixels are there, and never if one is not."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers import make_jpeg
from hypothesis import given, settings, strategies as st
from PIL import Image

from ssd300.preprocessing.checking.jpeg_end import with_end

OPTIONS = (
    {},
    {"progressive": True},
    {"optimize": True},
    {"subsampling": 0},
    {"restart_marker_blocks": 4},
    {"quality": 30},
)


def noisy(width: int, height: int, noise: float, mode: str, **options) -> bytes:
    x, y = np.linspace(0, 255, width)[None], np.linspace(0, 255, height)[:, None]
    pixels = np.stack([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1)
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def decoded(jpeg: bytes) -> np.ndarray:
    return tf.io.decode_jpeg(jpeg, channels=3).numpy()


KINDS = list(itertools.product(((300, 200), (33, 17), (1, 1)), (30,), ("RGB", "L"), OPTIONS))


@pytest.mark.parametrize(("size", "noise", "mode", "options"), KINDS)
def test_the_end_alone_is_added_and_cut_image_data_is_not_made_up(size, noise, mode, options):
    whole = noisy(*size, noise, mode, **options)
    pixels = decoded(whole)
    for missing in (1, 2):
        repaired = with_end(whole[:-missing])
        assert repaired == whole
    for missing in (3, 4, 5, 6, 8, 11, 16, 42, 100):
        repaired = with_end(whole[:-missing])
        assert repaired is None or np.array_equal(decoded(repaired), pixels), missing


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(kind=st.sampled_from(KINDS), share=st.floats(0, 1))
def test_a_jpeg_cut_anywhere_is_repaired_with_all_its_pixels_or_not_at_all(kind, share):
    size, noise, mode, options = kind
    whole = noisy(*size, noise, mode, **options)
    repaired = with_end(whole[: int(share * (len(whole) - 1))])
    assert repaired is None or np.array_equal(decoded(repaired), decoded(whole))


def test_the_cut_between_two_scans_of_a_progressive_jpeg_is_no_end():
    whole = noisy(300, 200, 30, "RGB", progressive=True)
    scans = [place for place in range(len(whole) - 1) if whole[place : place + 2] == b"\xff\xda"]
    tables = [whole.rfind(b"\xff\xc4", 0, scan) for scan in scans]
    assert len(scans) > 3
    assert [with_end(whole[:table]) for table in tables[1:]] == [None] * len(tables[1:])


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"no image", make_jpeg(), make_jpeg()[:300]])
def test_what_is_whole_or_no_image_gives_none(data):
    assert with_end(data) is None
