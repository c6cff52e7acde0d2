"""The drawn shapes: a VOC tree like any other, whose boxes fit what was drawn."""

import numpy as np
import pytest
from helpers import content
from PIL import Image

from ssd300.datasets.annotation import parse_annotation
from ssd300.datasets.shapes import CLASSES, draw_picture, write_shapes_tree
from ssd300.datasets.sources.folder import FolderSource

PICTURES = range(40)


@pytest.fixture(scope="module")
def drawn():
    return [draw_picture(np.random.default_rng([7, 0, index])) for index in PICTURES]


def test_the_tree_is_a_voc_tree(tmp_path):
    write_shapes_tree(tmp_path, {"train": 5, "test": 3}, seed=1)
    train, test = (FolderSource(split, str(tmp_path), split).ids() for split in ("train", "test"))
    assert (len(train), len(test)) == (5, 3)
    assert not set(train) & set(test)
    source = FolderSource("train", str(tmp_path), "train")
    for picture_id in train + test:
        with open(source.annotation_path(picture_id), "rb") as file:  # noqa: PTH123
            annotation = parse_annotation(file.read(), picture_id)
        with Image.open(next(source.read([picture_id])).path) as image:
            assert image.format == "JPEG"
            assert image.size == annotation.size
        assert 1 <= len(annotation.objects) <= 3
        assert {voc_object.name for voc_object in annotation.objects} <= set(CLASSES)


def test_the_same_seed_draws_the_same_tree_and_another_seed_another(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shapes_tree(tmp_path / folder, {"train": 3}, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    first, other = content(tmp_path / "a"), content(tmp_path / "c")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.startswith("JPEGImages"))


def test_pictures_of_two_image_sets_differ(tmp_path):
    write_shapes_tree(tmp_path, {"train": 1, "test": 1}, seed=1)
    assert (tmp_path / "JPEGImages/000001.jpg").read_bytes() != (tmp_path / "JPEGImages/000002.jpg").read_bytes()


def test_tick_is_called_once_a_picture(tmp_path):
    ticks = []
    write_shapes_tree(tmp_path, {"train": 2, "test": 1}, tick=ticks.append)
    assert ticks == [1, 1, 1]


def test_pictures_are_not_square_and_of_different_sizes(drawn):
    shapes = {pixels.shape for pixels, _ in drawn}
    assert len(shapes) > 10
    assert all(height != width and depth == 3 for height, width, depth in shapes)


def test_boxes_are_inside_and_no_thinner_than_a_few_pixels(drawn):
    for pixels, objects in drawn:
        height, width, _ = pixels.shape
        assert objects
        for entry in objects:
            assert 1 <= entry["xmin"] < entry["xmax"] <= width
            assert 1 <= entry["ymin"] < entry["ymax"] <= height


def test_an_object_at_the_border_is_truncated_and_no_other(drawn):
    flags = set()
    for pixels, objects in drawn:
        height, width, _ = pixels.shape
        for entry in objects:
            at_border = entry["xmin"] == 1 or entry["ymin"] == 1 or entry["xmax"] == width or entry["ymax"] == height
            assert entry["truncated"] == at_border
            flags.add(entry["truncated"])
    assert flags == {0, 1}


def test_all_classes_and_some_difficult_objects_occur(drawn):
    objects = [entry for _, entries in drawn for entry in entries]
    assert {entry["name"] for entry in objects} == set(CLASSES)
    assert 0 < sum(entry["difficult"] for entry in objects) < len(objects) / 2


def test_a_box_frames_its_shape(drawn):
    """Inside an object that is not difficult and alone, the color differs from that of the rest of the image."""
    checked = 0
    for pixels, objects in drawn:
        if len(objects) != 1 or objects[0]["difficult"] or objects[0]["name"] != "disc":
            continue
        entry = objects[0]
        y, x = (entry["ymin"] + entry["ymax"]) // 2, (entry["xmin"] + entry["xmax"]) // 2
        inside = pixels[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3).mean(axis=0)
        outside = pixels.astype(float)
        outside[entry["ymin"] - 1 : entry["ymax"], entry["xmin"] - 1 : entry["xmax"]] = np.nan
        assert np.abs(inside - np.nanmean(outside, axis=(0, 1))).sum() > 60
        checked += 1
    assert checked >= 2
