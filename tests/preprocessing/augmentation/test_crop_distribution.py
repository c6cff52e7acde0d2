"""What the expansion and crop do to many images, compared with Caffe's own code and another random generator.

`CaffeSampler` is a port of the ssd branch (util/sampler.cpp, util/bbox_util.cpp, data_transformer.cpp) to plain
Python, with canvases in whole pixels. Both go over the same images; only chance differs. So if they are the same at
heart, the differences of a measure, image by image, are independent with mean 0, and their sum has the variance of
the sum of their squares. It may be five such standard deviations from 0, which chance exceeds once in 1.7 million
comparisons; there are some 600 here, of fixed seeds. Caffe rounds a canvas down to whole pixels, which moves a mean by
less than .002: less than a tenth of what is allowed.
"""

import math
import random
from functools import lru_cache
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from helpers import changed

from ssd300.preprocessing.augmentation.random import stream, uniform
from ssd300.preprocessing.augmentation.settings import PAPER_AUGMENTATION as PAPER
from ssd300.preprocessing.augmentation.windows import draw_windows, number_of_draws, place, project_objects

VARIANTS = {
    "the whole chain": PAPER,
    "without expansion": changed(PAPER, ["expand=off"]),
    "without crop": changed(PAPER, ["crop=off"]),
    **{f"crops of IoU {least} alone": changed(PAPER, ["expand=off", f"crop={least}"]) for least in PAPER.crop},
}


class CaffeSampler:
    """Expansion, crop and projection of one image at a time; boxes are ``(xmin, ymin, xmax, ymax)`` as in Caffe."""

    def __init__(self, augmentation, seed):
        self.augmentation, self.random = augmentation, random.Random(seed)

    def window(self, size, objects):
        """The window in fractions of the image, ``(ymin, xmin, ymax, xmax)``, and the objects in it, likewise."""
        canvas, objects = self.expand(size, objects)
        samples = self.generate_batch_samples(objects) if self.augmentation.crop is not None else []
        if samples:
            crop = samples[self.random.randrange(len(samples))]
            objects = transform_annotation(objects, crop)
            width, height = canvas[2] - canvas[0], canvas[3] - canvas[1]
            canvas = (
                canvas[0] + crop[0] * width,
                canvas[1] + crop[1] * height,
                canvas[0] + crop[2] * width,
                canvas[1] + crop[3] * height,
            )
        return [(ymin, xmin, ymax, xmax) for xmin, ymin, xmax, ymax in [canvas, *objects]]

    def expand(self, size, objects):
        """ExpandImage."""
        if self.augmentation.expand is None or self.random.uniform(0, 1) > self.augmentation.expand_probability:
            return (0.0, 0.0, 1.0, 1.0), objects
        picture_width, picture_height = size
        ratio = self.random.uniform(1, self.augmentation.expand)
        height, width = int(picture_height * ratio), int(picture_width * ratio)
        top = math.floor(self.random.uniform(0, height - picture_height))
        left = math.floor(self.random.uniform(0, width - picture_width))
        canvas = (
            -left / picture_width,
            -top / picture_height,
            (width - left) / picture_width,
            (height - top) / picture_height,
        )
        return canvas, transform_annotation(objects, canvas)

    def generate_batch_samples(self, objects):
        """GenerateBatchSamples with the batch samplers of ssd_pascal.py, each of them with max_sample 1."""
        samples = [(0.0, 0.0, 1.0, 1.0)]  # the first one, `sampler: {}`, scale and aspect ratio 1
        for least in self.augmentation.crop:
            for _ in range(self.augmentation.crop_tries):
                sample = self.sample_box()
                if any(jaccard_overlap(sample, one) >= least for one in objects):
                    samples.append(sample)
                    break
        for _ in range(self.augmentation.crop_tries):  # the last one, `max_jaccard_overlap: 1.0`
            sample = self.sample_box()
            if any(jaccard_overlap(sample, one) <= 1 for one in objects):
                samples.append(sample)
                break
        return samples

    def sample_box(self):
        """SampleBBox."""
        scale = self.random.uniform(*self.augmentation.crop_scale)
        aspect = self.random.uniform(*self.augmentation.crop_aspect)
        aspect = max(aspect, scale**2)
        aspect = min(aspect, 1 / scale**2)
        width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
        left, top = self.random.uniform(0, 1 - width), self.random.uniform(0, 1 - height)
        return left, top, left + width, top + height


def jaccard_overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (area - shared)


def transform_annotation(objects, crop):
    """TransformAnnotation with the emit constraint CENTER: MeetEmitConstraint, ProjectBBox, ClipBBox."""
    kept = []
    for one in objects:
        x, y = (one[0] + one[2]) / 2, (one[1] + one[3]) / 2
        if not (crop[0] <= x <= crop[2] and crop[1] <= y <= crop[3]):
            continue
        low, size = crop[:2] * 2, (crop[2] - crop[0], crop[3] - crop[1]) * 2
        box = tuple(min(max((one[i] - low[i]) / size[i], 0.0), 1.0) for i in range(4))
        if (box[2] - box[0]) * (box[3] - box[1]) > 0:
            kept.append(box)
    return kept


def by_caffe(pictures, augmentation, seed=1):
    """Windows ``[B, 4]`` and the objects seen in each, by the port."""
    sampler = CaffeSampler(augmentation, seed)
    found = [
        sampler.window(size, [(xmin, ymin, xmax, ymax) for ymin, xmin, ymax, xmax in boxes.tolist()])
        for size, boxes in pictures
    ]
    return np.array([window for window, *_ in found]), [np.array(seen).reshape(-1, 4) for _, *seen in found]


@lru_cache
def chain(augmentation):
    """From keys to windows and objects as the reader runs it."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 4], tf.float32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, 2], tf.int32),
            tf.TensorSpec([None, 2], tf.int64),
        ],
        autograph=False,
    )
    def run(boxes, owners, sizes, keys):
        drawn = draw_windows(boxes, owners, uniform(keys, number_of_draws(augmentation)), augmentation)
        placement = place(drawn, sizes)
        return drawn, *project_objects(placement.windows, boxes, owners)

    return run


def by_ours(pictures, augmentation, seed=7):
    """Windows ``[B, 4]`` and the objects seen in each, by the chain."""
    windows, objects = [], []
    for start in range(0, len(pictures), 500):
        some = pictures[start : start + 500]
        owners = np.repeat(np.arange(len(some), dtype=np.int32), [len(boxes) for _, boxes in some])
        boxes = np.concatenate([boxes for _, boxes in some]).astype(np.float32)
        sizes = np.array([(height, width) for (width, height), _ in some], np.int32)
        keys = stream(seed, 0, np.arange(start, start + len(some)))
        drawn, numbers, found = (array.numpy() for array in chain(augmentation)(boxes, owners, sizes, keys))
        windows.append(drawn)
        objects += [found[owners[numbers] == i] for i in range(len(some))]
    return np.concatenate(windows).astype(float), objects


def statistics(pictures, windows, objects):
    """Measures by name, one number an image."""
    height, width = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    overlap = np.array(
        [
            max((jaccard_overlap(window, one) for one in boxes.tolist()), default=-1.0)
            for window, (_, boxes) in zip(windows.tolist(), pictures, strict=True)
        ]
    )
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in objects]
    center_y, center_x = (windows[:, 0] + windows[:, 2]) / 2, (windows[:, 1] + windows[:, 3]) / 2
    # In steps above what Caffe's canvases of whole pixels deviate from the image's aspect.
    log_aspect = np.round(np.log(width / height), 2)
    measures = {
        "the whole picture": (np.abs(windows - [0, 0, 1, 1]) < 1e-6).all(axis=1),
        "reaches beyond the picture": (windows.min(axis=1) < -1e-6) | (windows.max(axis=1) > 1 + 1e-6),
        "shows nothing of the picture": (windows[:, :2] >= 1).any(axis=1) | (windows[:, 2:] <= 0).any(axis=1),
        "log area": np.log(height * width),
        "log area squared": np.log(height * width) ** 2,
        "log aspect": log_aspect,
        "log aspect squared": log_aspect**2,
        "center, vertical": center_y,
        "center, horizontal": center_x,
        "center, spread": (center_y - 0.5) ** 2 + (center_x - 0.5) ** 2,
        "objects kept": np.array([len(area) for area in areas]),
        "no object kept": np.array([len(area) == 0 for area in areas]),
        "area of the objects": np.array([area.sum() for area in areas]),
        "small objects": np.array([(area < 0.01).sum() for area in areas]),
        # Not at it exactly: annotations are on whole pixels, and the chain moves windows to them.
        "objects near a border": np.array([((boxes < 0.01) | (boxes > 0.99)).any(axis=1).sum() for boxes in objects]),
    }
    for area in (0.15, 0.3, 0.5, 0.8, 0.999, 2, 5):
        measures[f"area below {area}"] = height * width < area
    for aspect in (0.6, 0.8, 0.99, 1.01, 1.25, 1.6):
        measures[f"aspect below {aspect}"] = width / height < aspect
    for low in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        measures[f"highest IoU from {low}"] = overlap >= low
    return {name: values.astype(float) for name, values in measures.items()}


def deviations(pictures, ours, caffe):
    """By measure, how many standard deviations the two are apart."""
    ours, caffe = (statistics(pictures, *one) for one in (ours, caffe))
    apart = {}
    for name in ours:
        difference = ours[name] - caffe[name]
        # Two more, so that of an event that is never seen on one side a few on the other are no contradiction.
        apart[name] = difference.sum() / math.sqrt((difference**2).sum() + 2)
    return apart


def check_same(pictures, augmentation):
    ours, caffe = by_ours(pictures, augmentation), by_caffe(pictures, augmentation)
    apart = deviations(pictures, ours, caffe)
    assert max(abs(number) for number in apart.values()) < 5, apart
    return ours, caffe


def synthetic_pictures(count):
    """Images 500 x 375 and 333 x 500 with up to six objects of all sizes, one in ten without any."""
    chance, pictures = random.Random(0), []
    for i in range(count):
        boxes = []
        for _ in range(0 if i % 10 == 9 else min(6, 1 + int(chance.expovariate(0.7)))):
            height, width = (math.exp(chance.uniform(math.log(0.04), 0)) for _ in range(2))
            top, left = chance.uniform(0, 1 - height), chance.uniform(0, 1 - width)
            boxes.append((top, left, top + height, left + width))
        pictures.append(((500, 375) if i % 3 else (333, 500), np.array(boxes).reshape(-1, 4)))
    return pictures


def voc_pictures(folder):
    """Sizes and boxes of VOC2007's annotations, coordinates divided by the size as Caffe does."""
    pictures = []
    for path in sorted((folder / "voc07_train/VOCdevkit/VOC2007/Annotations").glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        width, height = (int(root.findtext(f"size/{name}")) for name in ("width", "height"))
        corners = [
            [float(box.findtext(name)) for name in ("ymin", "xmin", "ymax", "xmax")] for box in root.iter("bndbox")
        ]
        pictures.append(((width, height), np.array(corners).reshape(-1, 4) / [height, width, height, width]))
    return pictures


@pytest.fixture(scope="module")
def synthetic():
    return synthetic_pictures(3000)


@pytest.fixture(scope="module")
def synthetic_by_caffe(synthetic):
    return by_caffe(synthetic, PAPER)


@pytest.mark.parametrize("name", VARIANTS)
def test_synthetic_pictures_are_cropped_as_by_caffe(synthetic, name):
    check_same(synthetic, VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_real_pictures_are_cropped_as_by_caffe(real_data, name):
    pictures = voc_pictures(real_data)
    assert len(pictures) >= 1000
    check_same((pictures * 2)[:2000], VARIANTS[name])


@pytest.mark.parametrize(
    "change",
    ["crop-tries=5", "crop-scale=.35,1", "crop-aspect=.6,2", "expand-probability=.4", "expand=3", "crop=.3,.5,.7,.9"],
)
def test_the_comparison_notices_other_settings(synthetic, synthetic_by_caffe, change):
    ours = by_ours(synthetic, changed(PAPER, [change]))
    apart = deviations(synthetic, ours, synthetic_by_caffe)
    assert max(abs(number) for number in apart.values()) > 5, apart


def test_pictures_without_objects_are_expanded_only(synthetic):
    (ours, _), (caffe, _) = check_same(synthetic[9::10] * 5, PAPER)
    for windows in (ours, caffe):
        height, width = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
        # Caffe's canvases are rounded down to whole pixels of at least 333 a side.
        np.testing.assert_allclose(height, width, rtol=0, atol=1 / 333)
        assert height.min() > 1 - 1e-6
