"""The independent references against torchvision itself; `make peers` installs it."""

import numpy as np
import peer_boxes
import pytest
from forward import forward, normalized
from layouts import PEERS
from PIL import Image
from postprocess import postprocess
from torchvision_reference import installed, make, resize
from weight_files import write_torch_zip

from ssd300.model.detection import detect
from ssd300.model.ssd300 import SSD300

pytestmark = pytest.mark.skipif(not installed(), reason="torchvision is not installed: make peers")

PEER = PEERS["torchvision"]


@pytest.fixture(scope="module")
def reference():
    tensors, detector = make(seed=1)
    yield tensors, detector
    detector.close()


@pytest.fixture(scope="module")
def images():
    """Three images 300x300: colored squares with noise, each of another brightness."""
    rng = np.random.default_rng(2)
    squares = rng.integers(0, 256, (3, 10, 10, 3)).repeat(30, axis=1).repeat(30, axis=2)
    noisy = squares + rng.normal(0, 20, (3, 300, 300, 3)) + np.array([-40, 0, 40]).reshape(3, 1, 1, 1)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def raw(reference, images):
    return reference[1].raw(images)


def test_names_shapes_and_order_are_those_of_the_state_dictionary(reference):
    tensors, detector = reference
    assert detector.state_shapes() == [(name, tensor.shape) for name, tensor in tensors.items()]


def test_default_boxes(reference):
    corners = reference[1].default_boxes() / 300
    np.testing.assert_allclose(peer_boxes.centers(corners), peer_boxes.default_boxes(PEER), atol=2e-7)


def test_forward(reference, images, raw):
    logits, offsets = forward(PEER, reference[0], images)
    np.testing.assert_allclose(logits, raw[0], atol=1e-4)
    np.testing.assert_allclose(offsets, raw[1], atol=1e-4)


def test_postprocess(reference, images, raw):
    for result, logits, offsets in zip(reference[1](images), *raw, strict=True):
        detections = postprocess(PEER, logits, offsets)
        assert len(detections) == len(result["labels"]) == 200
        assert [d.label for d in detections] == result["labels"].tolist()
        np.testing.assert_allclose([d.score for d in detections], result["scores"], rtol=1e-5)
        np.testing.assert_allclose(np.stack([d.box for d in detections]) * 300, result["boxes"], atol=1e-3)


@pytest.mark.parametrize("shape", [(300, 300), (240, 411), (1000, 150)])
def test_resize(reference, shape):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_allclose(
        normalized(PEER, resize(image)), reference[1].network_input(image), atol=2e-3, err_msg="of 255"
    )


def test_the_import_finds_what_torchvision_finds(reference, real_data, tmp_path):
    """20 real images: the same classes and scores, boxes to a thousandth of the image."""
    tensors, detector = reference
    write_torch_zip(tmp_path / "ssd300_vgg16_coco.pth", tensors)
    imported = SSD300.from_weights(tmp_path / "ssd300_vgg16_coco.pth")
    files = sorted((real_data / "voc200/VOCdevkit/VOC2007/JPEGImages").glob("*.jpg"))[:20]
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert len(images) == 20
    batch = np.stack([resize(image) for image in images])
    boxes, scores, labels, counts = (a.numpy() for a in detect(imported.model(batch, training=False), imported.spec))
    equal = []
    for row, (image, theirs) in enumerate(zip(images, detector(images), strict=True)):
        assert counts[row] == len(theirs["labels"]) == 200
        height, width = image.shape[:2]
        expected = theirs["boxes"][:, [1, 0, 3, 2]] / [height, width, height, width]
        np.testing.assert_allclose(scores[row], theirs["scores"], atol=1e-3)
        equal.append((labels[row] == theirs["labels"]) & (abs(boxes[row] - expected).max(axis=1) < 1e-3))
    # Two scores or overlaps that differ in the last bits change places; nothing else may differ.
    assert np.mean(equal) > 0.97
