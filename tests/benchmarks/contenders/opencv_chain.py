"""The usual chain of PyTorch's SSDs, written plainly with NumPy and OpenCV, in a process for each core.

Decode, distort colors in HSV, expand, crop by IoU, mirror, resize, match against the whole IoU matrix.
"""

import argparse
import multiprocessing
import random
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

SIZE = 300
MEAN = (104, 117, 123)
MIN_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU matrix of boxes left, top, right, bottom."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(some[:, 2:] - some[:, :2], axis=1) for some in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def distort(image: np.ndarray) -> np.ndarray:
    """Photometric distortion of float32 BGR pixels."""
    import cv2

    def chance() -> bool:
        return random.random() < 0.5

    if chance():
        image = image + random.uniform(-32, 32)
    contrast_first = chance()
    if contrast_first and chance():
        image = image * random.uniform(0.5, 1.5)
    image = cv2.cvtColor(np.clip(image, 0, 255).astype(np.float32), cv2.COLOR_BGR2HSV)
    if chance():
        image[..., 1] = np.minimum(image[..., 1] * random.uniform(0.5, 1.5), 1)
    if chance():
        image[..., 0] = (image[..., 0] + random.uniform(-36, 36)) % 360
    image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
    if not contrast_first and chance():
        image = image * random.uniform(0.5, 1.5)
    return np.clip(image, 0, 255)


def expand(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image on a canvas of mean color, half of the time."""
    if random.random() < 0.5:
        return image, boxes
    height, width = image.shape[:2]
    ratio = random.uniform(1, 4)
    left, top = (int(random.uniform(0, side * ratio - side)) for side in (width, height))
    canvas = np.empty((int(height * ratio), int(width * ratio), 3), image.dtype)
    canvas[:] = MEAN
    canvas[top : top + height, left : left + width] = image
    return canvas, boxes + np.array([left, top, left, top])


def crop(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop that overlaps an object enough."""
    height, width = image.shape[:2]
    while True:
        least = random.choice(MIN_OVERLAPS)
        if least is None or not len(boxes):
            return image, boxes, labels
        for _ in range(50):
            scale = random.uniform(0.3, 1)
            aspect = random.uniform(max(0.5, scale**2), min(2, scale**-2))
            w, h = int(width * scale * aspect**0.5), int(height * scale / aspect**0.5)
            left, top = int(random.uniform(0, width - w)), int(random.uniform(0, height - h))
            window = np.array([left, top, left + w, top + h])
            if overlaps(boxes, window[None].astype(np.float64)).max() < least:
                continue
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            kept = ((centers > window[:2]) & (centers < window[2:])).all(axis=1)
            if kept.any():
                moved = np.clip(boxes[kept], np.tile(window[:2], 2), np.tile(window[2:], 2)) - np.tile(window[:2], 2)
                return image[top : top + h, left : left + w], moved, labels[kept]


def encode(boxes: np.ndarray, labels: np.ndarray, centers: np.ndarray, anchors: np.ndarray) -> tuple:
    """Dense targets: each default box's object by the IoU matrix, each object's best default box forced."""
    matrix = overlaps(boxes, anchors)
    objects, best = matrix.argmax(axis=0), matrix.max(axis=0)
    forced = matrix.argmax(axis=1)
    best[forced], objects[forced] = 2, np.arange(len(boxes))
    matched = boxes[objects]
    shifts = ((matched[:, :2] + matched[:, 2:]) / 2 - centers[:, :2]) / centers[:, 2:] / 0.1
    sizes = np.log((matched[:, 2:] - matched[:, :2]) / centers[:, 2:]) / 0.2
    return np.where(best >= 0.5, labels[objects], 0), np.concatenate([shifts, sizes], axis=1).astype(np.float32)


def read_annotations(tree: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Path, boxes in pixels and labels of each image."""
    names: dict[str, int] = {}
    found = []
    for file in sorted((tree / "Annotations").glob("*.xml")):
        items = ElementTree.parse(file).getroot().findall("object")
        boxes = [[float(i.findtext(f"bndbox/{n}")) for n in ("xmin", "ymin", "xmax", "ymax")] for i in items]
        labels = [names.setdefault(item.findtext("name"), len(names) + 1) for item in items]
        found.append((str(tree / "JPEGImages" / f"{file.stem}.jpg"), np.array(boxes), np.array(labels)))
    return found


def work(tree: Path, anchors: np.ndarray, seconds: float, seed: int) -> float:
    """Images per second of one process."""
    import cv2

    cv2.setNumThreads(0)
    random.seed(seed)
    centers = np.concatenate([(anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]], axis=1)
    pictures = read_annotations(tree)
    random.shuffle(pictures)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        path, boxes, labels = pictures[done % len(pictures)]
        image = distort(cv2.imread(path).astype(np.float32))
        image, boxes, labels = crop(*expand(image, boxes), labels)
        boxes = boxes / np.tile(image.shape[1::-1], 2)
        if random.random() < 0.5:
            image, boxes = image[:, ::-1], np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
        image = cv2.resize(image, (SIZE, SIZE)).astype(np.uint8)
        if len(boxes):
            encode(boxes, labels, centers, anchors)
        done += 1
    return done / elapsed


def main() -> None:
    """Prints the images per second of all processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("folder", type=Path, help="holds anchors.npy")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    anchors = np.load(arguments.folder / "anchors.npy").astype(np.float64)
    with multiprocessing.get_context("spawn").Pool(arguments.threads) as pool:
        tasks = [(arguments.tree, anchors, arguments.seconds, seed) for seed in range(arguments.threads)]
        print(sum(pool.starmap(work, tasks)))


if __name__ == "__main__":
    main()
