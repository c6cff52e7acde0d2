"""Drawing boxes on images, and contact sheets, with Pillow."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssd300.preprocessing.support.fonts import caption_font, drawable

GROUND_TRUTH, DIFFICULT, MATCHED = (40, 200, 60), (240, 170, 0), (220, 30, 30)


def class_color(label: int) -> tuple[int, int, int]:
    """A color of its own for each class, none of them a green that could be mistaken for ground truth."""
    hue = (0.95 + label * 0.618034) % 1.0  # the golden ratio spreads neighboring labels
    hue = hue * 0.6 + 0.5 if hue < 0.84 else (hue * 0.6 + 0.5) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: Image.Image,
    boxes: np.ndarray,
    *,
    captions: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    thickness: int | None = None,
) -> Image.Image:
    """A copy of `image` with corner boxes ``[N, 4]`` (fractions of it), each in its color with its caption.

    Lines are `thickness` pixels thick, by default what suits the image's size.
    """
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    size = max(11, round(min(image.size) / 28))
    texts = [drawable(caption) for caption in captions]
    thickness = thickness or max(2, round(min(image.size) / 150))
    # Large boxes first, so that small ones inside them stay visible.
    for i in sorted(range(len(boxes)), key=lambda n: -float(np.prod(boxes[n][2:] - boxes[n][:2]))):
        ymin, xmin, ymax, xmax = boxes[i] * np.array([image.height, image.width] * 2)
        draw.rectangle((xmin, ymin, max(xmin, xmax), max(ymin, ymax)), outline=colors[i], width=thickness)
        if texts[i]:
            font = caption_font(texts[i], size)
            _left, _top, right, bottom = draw.textbbox((0, 0), texts[i], font=font)
            x = min(max(xmin, 0), max(image.width - right - 4, 0))
            # Above the box, or inside where there is no room above.
            y = ymin - bottom - 4 if ymin >= bottom + 4 else ymin
            draw.rectangle((x, y, x + right + 4, y + bottom + 4), fill=colors[i])
            draw.text((x + 2, y + 2), texts[i], fill=_readable_on(colors[i]), font=font)
    return image


def draw_objects(image: Image.Image, boxes: np.ndarray, captions: Sequence[str], *, matched: np.ndarray) -> Image.Image:
    """A copy of `image` with ground truth in green over thin red default boxes, all corner boxes in fractions."""
    count = len(matched)
    image = draw_boxes(image, matched, captions=[""] * count, colors=[MATCHED] * count, thickness=1)
    return draw_boxes(image, boxes, captions=captions, colors=[GROUND_TRUTH] * len(captions))


def _readable_on(color: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], *, titles: Sequence[str] = (), cell: tuple[int, int] = (260, 220)
) -> Image.Image:
    """Images in rows and columns, each scaled into its cell with its proportions kept; titles head the columns."""
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        raise ValueError("a contact sheet needs at least one image, got none")
    gap, header = 8, 26 if titles else 0
    width, height = cell
    sheet = Image.new("RGB", (columns * (width + gap) + gap, header + len(rows) * (height + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        draw.text((gap + column * (width + gap), 6), title, fill=(30, 30, 30), font=font)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            fitted = image.copy()
            fitted.thumbnail(cell, Image.Resampling.LANCZOS)
            left = gap + x * (width + gap) + (width - fitted.width) // 2
            top = header + gap + y * (height + gap) + (height - fitted.height) // 2
            sheet.paste(fitted, (left, top))
    return sheet
