"""Files of all projects, imported: the network's output and its detections against independent references."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import peer_boxes
import pytest
import tensorflow as tf
from forward import forward
from layouts import COCO_SIZES, PEERS, data_parallel
from postprocess import postprocess
from weight_files import write_peer, write_torch_zip

from ssd300.datasets.classes import COCO, COCO91, VOC, ClassList
from ssd300.datasets.errors import InputError
from ssd300.model.default_boxes import default_boxes
from ssd300.model.detection import detect
from ssd300.model.spec import PAPER_COCO
from ssd300.model.ssd300 import SSD300

VARIANTS = {
    **PEERS,
    "caffe COCO": replace(PEERS["caffe"], classes=81, sizes=COCO_SIZES),
}
OLD = {"caffe", "ssd.pytorch"}  # also in the earlier form of their container
FILES = [(name, False) for name in VARIANTS] + [(name, True) for name in sorted(OLD)]
CLASSES = {21: VOC, 81: COCO, 91: COCO91}


@lru_cache(maxsize=1)
def tensors_of(name):
    return VARIANTS[name].random_tensors(seed=3)


@pytest.fixture(scope="module")
def image():
    """One of soft edges and noise, uint8 [1, 300, 300, 3]."""
    rng = np.random.default_rng(2)
    squares = rng.integers(0, 256, (1, 10, 10, 3)).repeat(30, axis=1).repeat(30, axis=2)
    return (squares + rng.normal(0, 20, (1, 300, 300, 3))).clip(0, 255).astype(np.uint8)


def imported(name, folder, *, old=False, **options):
    peer, path = VARIANTS[name], folder / ("ssd_300_VOC0712.pth" if name.endswith("BGR") else "weights.npz")
    write_peer(path, peer, tensors_of(name), old=old)
    result = SSD300.from_weights(path, **options)
    path.unlink()
    return result


@pytest.mark.parametrize(("name", "old"), FILES, ids=[f"{name}{', old' * old}" for name, old in FILES])
def test_an_imported_network_gives_the_original_s_output_and_detections(name, old, image, tmp_path):
    peer, found = VARIANTS[name], imported(name, tmp_path, old=old)
    assert found.classes == CLASSES[peer.classes]
    assert len(found.passport["tensors"]) == found.passport["self_test"]["tensors_read_back"] == 71
    np.testing.assert_allclose(default_boxes(found.spec), peer_boxes.default_boxes(peer), atol=3e-7)

    logits, offsets = forward(peer, tensors_of(name), image)
    outputs = {key: value.numpy() for key, value in found.model(image, training=False).items()}
    ours = np.roll(outputs["logits"], -1, axis=-1) if peer.background else outputs["logits"]
    np.testing.assert_allclose(ours, logits, atol=1e-4)
    order = [1, 0, 3, 2] if peer.project == "chainercv" else [0, 1, 2, 3]
    np.testing.assert_allclose(outputs["offsets"][..., order], offsets, atol=1e-4)

    # The same numbers for both: an overlap that lies at the threshold must not fall on two sides.
    detections = detect({key: tf.constant(value) for key, value in outputs.items()}, found.spec)
    expected = postprocess(peer, ours[0], outputs["offsets"][0][:, order])
    shift = 1 - min(1, 1 if peer.project not in ("mmdetection", "chainercv") else 0)
    count = int(detections.count[0])
    assert count == min(len(expected), found.spec.suppression.keep) > 50
    by_rank = sorted(expected[:count], key=lambda one: (-float(one.score), one.label))
    rank = np.lexsort([detections.labels[0, :count], -detections.scores[0, :count].numpy().astype(np.float64)])
    np.testing.assert_allclose(detections.scores.numpy()[0, rank], [one.score for one in by_rank], rtol=1e-4)
    labels = detections.labels.numpy()[0, rank]
    same = labels == [one.label + shift for one in by_rank]
    assert same.mean() > 0.99  # two equal scores may change places
    boxes = np.stack([one.box for one in by_rank])[:, [1, 0, 3, 2]].clip(0, 1)
    np.testing.assert_allclose(detections.boxes.numpy()[0, rank][same], boxes[same], atol=1e-4)


def test_the_released_means_and_the_order_of_the_colors(tmp_path):
    assert imported("caffe", tmp_path).spec.pixels.mean == (104, 117, 123)
    rgb, bgr = imported("ssd.pytorch", tmp_path), imported("ssd.pytorch BGR", tmp_path)
    assert (rgb.spec.pixels.channels, rgb.spec.pixels.mean) == ("rgb", (123, 117, 104))
    assert (bgr.spec.pixels.channels, bgr.spec.pixels.mean) == ("bgr", (104, 117, 123))
    assert bgr.passport["pixels"]["decided_by"] == "name of the published file"
    told = imported("ssd.pytorch", tmp_path, channels="bgr")
    assert (told.spec.pixels, told.passport["pixels"]["decided_by"]) == (bgr.spec.pixels, "as given")


def test_what_a_file_holds_beside_its_weights_is_named(tmp_path):
    assert imported("lufficc", tmp_path).passport["file"]["passed_over"] == ["iteration", "optimizer", "scheduler"]
    assert imported("mmdetection", tmp_path).passport["file"]["passed_over"] == ["meta", "optimizer"]


def narrow(name, **changes):
    """A network of the real layout with few classes of one's own."""
    peer = replace(VARIANTS[name], classes=3, **changes)
    return peer, peer.random_tensors(seed=0)


def test_classes_of_ones_own_need_their_names(tmp_path):
    peer, tensors = narrow("ssd.pytorch")
    write_peer(tmp_path / "own.pth", peer, data_parallel(tensors))
    with pytest.raises(InputError, match=r"own.pth has 3 classes .*; expected 21 \(voc\) or 81 \(coco\)"):
        SSD300.from_weights(tmp_path / "own.pth")
    with pytest.raises(InputError, match="the class list has 20 names, expected 2"):
        SSD300.from_weights(tmp_path / "own.pth", classes=VOC)
    found = SSD300.from_weights(tmp_path / "own.pth", classes=ClassList(("cat", "dog")))
    assert (found.classes.names, found.passport["classes"]["list"]) == (("cat", "dog"), "given")
    assert found.passport["self_test"]["outcome"].split(":")[0] in ("passed", "doubtful")


def test_default_boxes_of_another_preset(tmp_path):
    peer, tensors = narrow("ssd.pytorch")
    write_peer(tmp_path / "own.pth", peer, tensors)
    own = {"classes": ClassList(("cat", "dog"))}
    spec = SSD300.from_weights(tmp_path / "own.pth", preset="paper-coco", **own).spec
    assert (spec.name, spec.clamp, spec.pixels.channels, spec.suppression.candidates) == (
        "paper-coco",
        "none",
        "rgb",
        200,
    )
    np.testing.assert_array_equal(default_boxes(spec), default_boxes(PAPER_COCO))
    with pytest.raises(InputError, match="preset article encodes boxes otherwise"):
        SSD300.from_weights(tmp_path / "own.pth", preset="article", **own)


def torch_file(folder, change):
    _, tensors = narrow("ssd.pytorch")
    change(tensors)
    write_torch_zip(folder / "changed.pth", tensors)
    return folder / "changed.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("vgg.31.weight"), "an SSD300 of ssd.pytorch has 71 tensors; vgg.31.weight is missing"),
        (lambda t: [t.pop("vgg.31.weight"), t.pop("L2Norm.weight")], "and 1 more are missing"),
        (
            lambda t: t.update({"vgg.31.weight": np.zeros((1024, 512, 1, 1), np.float32)}),
            r"vgg.31.weight has the shape",
        ),
        (lambda t: t.update({"vgg.31.weight": np.zeros(7, np.float32)}), r"vgg.31.weight has the shape \(7,\)"),
        (lambda t: t["vgg.31.weight"].fill(np.nan), "vgg.31.weight holds NaN"),
        (
            lambda t: t.update({"conf.0.bias": np.zeros(13, np.float32)}),
            "conf.0.bias has 13 values; expected a multiple of 4",
        ),
        (
            lambda t: t.update({"conf.0.bias": np.zeros(8, np.float32)}),
            "differ in their number of classes: conf.0.b",
        ),
        (lambda t: t.update({"conf.6.weight": np.zeros((12, 256, 3, 3), np.float32)}), "is an SSD512 of ssd.pytorch"),
    ],
)
def test_what_does_not_fit_is_named(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        SSD300.from_weights(torch_file(tmp_path, change), classes=ClassList(("cat", "dog")))


def test_another_network_is_refused(tmp_path):
    write_torch_zip(tmp_path / "resnet.pth", {"layer1.0.conv1.weight": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match=r"found 1 tensors, such as layer1.0.conv1.weight"):
        SSD300.from_weights(tmp_path / "resnet.pth")
