"""How TFDS datasets store boxes, where it is not as TFDS itself does."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from ssd300.datasets.errors import InputError
from ssd300.datasets.sources.parse import parse_source
from ssd300.datasets.sources.tfds import TfdsSource


@pytest.mark.parametrize("stored", ["XYXY", "XYWH", "REL_XYXY"])
def test_boxes_that_are_stored_in_another_order_are_refused(tmp_path, stored):
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(bbox_format=stored)}),
        }
    )
    (tmp_path / "dataset_info.json").write_text(json.dumps({"name": "mine", "version": "1.0.0", "splits": []}))
    features.save_config(str(tmp_path))
    with pytest.raises(InputError, match=f"stored as {stored}"):
        parse_source(f"train=tfds:{tmp_path}:train").ids()


def test_kittis_boxes_count_from_the_bottom(jpeg):
    def generate(*_):
        yield {
            "image": jpeg(),
            "image/file_name": "0.png",
            "objects": {
                "alpha": np.zeros(1, np.float32),
                "bbox": np.array([[0.1, 0.2, 0.4, 0.8]], np.float32),  # top .6, bottom .9
                "dimensions": np.zeros((1, 3), np.float32),
                "location": np.zeros((1, 3), np.float32),
                "occluded": np.zeros(1, np.int64),
                "rotation_y": np.zeros(1, np.float32),
                "truncated": np.zeros(1, np.float32),
                "type": np.zeros(1, np.int64),
            },
        }

    source = TfdsSource("train", "kitti", "train")
    with tfds.testing.mock_data(num_examples=1, as_dataset_fn=lambda *_, **__: tf.data.Dataset.from_generator(
        generate, output_signature=tf.nest.map_structure(
            lambda array: tf.TensorSpec(np.shape(array), tf.string if isinstance(array, bytes | str) else array.dtype),
            next(generate()),
        )
    )):  # fmt: skip
        (found,) = source.read(["train/00000000"])
    (box,) = found.annotation.objects
    np.testing.assert_allclose((box.ymin, box.xmin, box.ymax, box.xmax), (0.6, 0.2, 0.9, 0.8), rtol=1e-6)
