"""A small Pascal-VOC tree of drawn shapes, for the demo: data for anyone who has none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "star", "triangle")

_SIDES = (200, 380)  # pixels of an image
_SMALLEST = 20  # pixels of an object's shorter side
# Less of an object than this makes it difficult.
_VISIBLE = 0.6


@dataclass(frozen=True)
class _Shape:
    name: str
    mask: np.ndarray  # bool [H, W]: where the whole shape is
    faint: bool


def write_shapes_tree(
    root: str | Path, image_sets: Mapping[str, int], *, seed: int = 0, tick: Callable[[int], None] | None = None
) -> None:
    """Writes a VOC tree with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.

    An image has 1 to 3 shapes of three classes, textured like its background, from 20 pixels to most of the image;
    some overlap. A shape that is faint or mostly hidden is marked difficult, one cut by the border truncated.

    Args:
        root: folder of the tree; made where it is missing.
        image_sets: number of images by image set.
        seed: the same seed draws the same images.
        tick: called with 1 after each image.
    """
    root = Path(root)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    number = 0
    for set_index, (image_set, count) in enumerate(image_sets.items()):
        ids = []
        for index in range(count):
            number += 1
            picture_id = f"{number:06d}"
            pixels, objects = draw_picture(np.random.default_rng([seed, set_index, index]))
            Image.fromarray(pixels).save(root / "JPEGImages" / f"{picture_id}.jpg", quality=90)
            xml = _annotation(f"{picture_id}.jpg", pixels.shape, objects)
            (root / "Annotations" / f"{picture_id}.xml").write_text(xml, encoding="utf-8")
            ids.append(picture_id)
            if tick is not None:
                tick(1)
        (root / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")


def draw_picture(random: np.random.Generator) -> tuple[np.ndarray, list[dict]]:
    """One image, uint8 ``[H, W, 3]``, and its objects: VOC's fields, corners 1-based and inclusive."""
    width, height = (int(side) for side in random.integers(*_SIDES, size=2, endpoint=True))
    if abs(width - height) < 20:
        width += 40
    background = _color(random)
    pixels = _texture(random, height, width, background)
    owner = np.full((height, width), -1)
    shapes: list[_Shape] = []
    wanted = int(random.integers(1, 3, endpoint=True))
    for _ in range(20):
        if len(shapes) == wanted:
            break
        shape = _shape(random, height, width)
        if shape is None or any(_hides(shape.mask, other.mask) for other in shapes):
            continue
        color = _color(random, unlike=background)
        strength = 0.18 if shape.faint else 1.0
        rows, columns = _extent(shape.mask)
        painted = _texture(random, rows.stop - rows.start, columns.stop - columns.start, color, strength=0.5)
        part = pixels[rows, columns]
        part += strength * (painted - part) * shape.mask[rows, columns, None]
        owner[shape.mask] = len(shapes)
        shapes.append(shape)
    objects = []
    for index, shape in enumerate(shapes):
        visible = owner == index
        rows, columns = _extent(visible)
        border = rows.start == 0 or columns.start == 0 or rows.stop == height or columns.stop == width
        objects.append(
            {
                "name": shape.name,
                "xmin": columns.start + 1,
                "ymin": rows.start + 1,
                "xmax": columns.stop,
                "ymax": rows.stop,
                "truncated": int(border),
                "difficult": int(shape.faint or visible.sum() < _VISIBLE * shape.mask.sum()),
            }
        )
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8), objects


def _extent(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _hides(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether a new shape would hide most of another, or lie so on it that one box would fit both."""
    shared = (mask & other).sum()
    return bool(shared > 0.55 * other.sum() or shared > 0.55 * mask.sum())


def _shape(random: np.random.Generator, height: int, width: int) -> _Shape | None:
    largest = 0.85 * min(height, width)
    # Somewhat more large objects than small ones.
    side = _SMALLEST + float(random.random()) ** 0.8 * (largest - _SMALLEST)
    ratio = float(np.exp(random.uniform(-np.log(1.7), np.log(1.7))))
    shape_width, shape_height = side * max(ratio, 1), side * max(1 / ratio, 1)
    if shape_width > 0.95 * width or shape_height > 0.95 * height:
        return None
    margin = 0.08  # a little of a shape may lie outside
    x = random.uniform(-margin * shape_width, width - (1 - margin) * shape_width)
    y = random.uniform(-margin * shape_height, height - (1 - margin) * shape_height)
    name = CLASSES[random.integers(len(CLASSES))]
    outline = _outline(name, random) * [shape_width, shape_height] + [x, y]
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(px, py) for px, py in outline], fill=1)
    mask = np.asarray(canvas)
    if mask.sum() < 60:
        return None
    return _Shape(name, mask, faint=bool(random.random() < 0.06))


def _outline(name: str, random: np.random.Generator) -> np.ndarray:
    """Corners ``[N, 2]`` of a shape that fills the unit square."""
    if name == "disc":
        angles, radius = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.ones(48)
    else:
        # Upright, leaning up to 15 degrees: a triangle of any orientation is another, harder task.
        up = -np.pi / 2 + random.uniform(-np.pi / 12, np.pi / 12)
        corners = 10 if name == "star" else 3
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + up
        radius = np.tile([1.0, 0.4], 5) if name == "star" else np.ones(3)
    points = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / (high - low)


def _color(random: np.random.Generator, unlike: np.ndarray | None = None) -> np.ndarray:
    for _ in range(50):
        color = random.uniform(20, 235, size=3)
        if unlike is None or np.abs(color - unlike).sum() > 220:
            break
    return color


def _texture(
    random: np.random.Generator, height: int, width: int, color: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """A field around `color`, float32 ``[H, W, 3]``: clouds, stripes or checks, and grain."""
    kind = random.integers(3)
    if kind == 0:
        cells = random.integers(3, 12, size=2, endpoint=True)
        clouds = Image.fromarray(random.normal(0, 1, size=cells).astype(np.float32))
        pattern = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC))
    else:
        angle, period = random.uniform(0, np.pi), random.uniform(8, 40)
        frequency = 2 * np.pi / period
        x = np.arange(width, dtype=np.float32)[None] * frequency
        y = np.arange(height, dtype=np.float32)[:, None] * frequency
        pattern = np.sin(x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)))
        if kind == 2:
            pattern = pattern * np.sin(y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle)))
    tint = (random.uniform(0.5, 1.0, size=3) * random.uniform(6, 20) * strength).astype(np.float32)
    grain = random.standard_normal((height, width, 1), np.float32) * np.float32(random.uniform(2, 7))
    return color.astype(np.float32) + pattern[..., None] * tint + grain


def _annotation(filename: str, shape: tuple[int, ...], objects: list[dict]) -> str:
    height, width, depth = shape
    lines = ["<annotation>", "\t<folder>shapes</folder>", f"\t<filename>{escape(filename)}</filename>"]
    lines.append(f"\t<size><width>{width}</width><height>{height}</height><depth>{depth}</depth></size>")
    for entry in objects:
        lines.append("\t<object>")
        lines += [f"\t\t<{tag}>{entry[tag]}</{tag}>" for tag in ("name", "truncated", "difficult")]
        corners = "".join(f"<{tag}>{entry[tag]}</{tag}>" for tag in ("xmin", "ymin", "xmax", "ymax"))
        lines += [f"\t\t<bndbox>{corners}</bndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>", ""])
