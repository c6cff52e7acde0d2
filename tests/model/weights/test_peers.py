"""The references for imported weights, held against counts, tables and cases worked by hand."""

from dataclasses import replace

import numpy as np
import peer_boxes
import pytest
from forward import forward, l2_normalized, normalized
from layouts import CAFFE_MEANS, COCO_SIZES, PEERS, VOC_SIZES, data_parallel
from peer_boxes import default_boxes

EVERY_PEER = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
PROJECTS = {peer.project: peer for peer in PEERS.values() if peer.name != "mmdetection (old)"}


# Layouts


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("caffe", 26_285_486),
        ("ssd.pytorch", 26_285_486),
        ("torchvision", 35_641_826),
        # Ten classes less than torchvision; a class has sum(boxes x (9 x channels + 1)) = 133,662 numbers.
        ("mmdetection", 34_305_206),
        ("lufficc COCO", 34_305_206),
    ],
)
def test_counts_of_tensors_and_parameters(name, parameters):
    tensors = PEERS[name].random_tensors(0)
    assert len(tensors) == 71
    assert sum(tensor.size for tensor in tensors.values()) == parameters


@EVERY_PEER
def test_tensors_are_seeded_float32_and_each_role_has_its_own_name(peer):
    tensors, again, other = (peer.random_tensors(seed, width=0.03) for seed in (1, 1, 2))
    assert len(tensors) == 71
    assert len(peer.prefixes) == 36
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, again[name])
        assert (tensor != other[name]).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caffe", {"conv1_1/0": (64, 3, 3, 3), "conv6_2/0": (512, 256, 3, 3), "conv9_2_mbox_conf/1": (84,)}),
        ("caffe", {"conv4_3_norm/0": (512,), "conv4_3_norm_mbox_loc/0": (16, 512, 3, 3)}),
        ("ssd_keras", {"fc6/kernel:0": (3, 3, 512, 1024), "conv8_1/kernel:0": (1, 1, 256, 128)}),
        ("ssd_keras", {"conv4_3_norm/conv4_3_norm_gamma:0": (512,), "fc7_mbox_conf/kernel:0": (3, 3, 1024, 126)}),
        ("ssd.pytorch", {"vgg.33.weight": (1024, 1024, 1, 1), "L2Norm.weight": (512,), "extras.7.bias": (256,)}),
        ("ssd.pytorch", {"loc.1.weight": (24, 1024, 3, 3), "conf.5.bias": (84,)}),
        ("lufficc", {"backbone.vgg.28.bias": (512,), "box_head.predictor.cls_headers.2.weight": (126, 512, 3, 3)}),
        ("lufficc COCO", {"backbone.l2_norm.weight": (512,), "box_head.predictor.reg_headers.0.bias": (16,)}),
        ("torchvision", {"backbone.scale_weight": (512,), "backbone.extra.0.7.1.weight": (1024, 512, 3, 3)}),
        ("torchvision", {"backbone.extra.4.2.bias": (256,), "head.classification_head.module_list.5.bias": (364,)}),
        (
            "mmdetection",
            {"neck.extra_layers.3.1.conv.weight": (256, 128, 3, 3), "bbox_head.cls_convs.1.0.bias": (486,)},
        ),
        ("mmdetection (old)", {"backbone.extra.1.weight": (512, 256, 3, 3), "bbox_head.reg_convs.1.bias": (24,)}),
        ("mmdetection (old)", {"backbone.l2_norm.weight": (512,), "backbone.features.31.weight": (1024, 512, 3, 3)}),
        ("chainercv", {"extractor/conv6/W": (1024, 512, 3, 3), "extractor/norm4/scale": (512,)}),
        ("chainercv", {"multibox/conf/3/W": (126, 256, 3, 3), "multibox/loc/3/b": (24,)}),
    ],
)
def test_names_and_shapes(name, expected):
    peer = PEERS[name]
    shapes = {}
    for role in peer.prefixes:
        if role == "norm":
            shapes[peer.kernel(role)] = (512,)
            continue
        size, inputs, outputs = peer.kernel_shape(role)
        oihw = (outputs, inputs, size, size)
        shapes[peer.kernel(role)] = oihw if peer.axes == "OIHW" else (size, size, inputs, outputs)
        shapes[peer.bias(role)] = (outputs,)
    assert {key: shapes[key] for key in expected} == expected


@EVERY_PEER
def test_the_narrow_tensors_have_the_declared_axes(peer):
    tensors = peer.random_tensors(0, width=0.03)
    conv1_1 = {"OIHW": (8, 3, 3, 3), "HWIO": (3, 3, 3, 8)}[peer.axes]
    fc6 = {"OIHW": (31, 15, 3, 3), "HWIO": (3, 3, 15, 31)}[peer.axes]
    assert (tensors[peer.kernel("conv1_1")].shape, tensors[peer.kernel("fc6")].shape) == (conv1_1, fc6)


def test_what_surrounds_the_tensors():
    tensors = {"a": np.zeros(1, np.float32)}
    assert list(PEERS["lufficc"].contents(tensors)) == ["model", "optimizer", "scheduler", "iteration"]
    assert list(PEERS["mmdetection"].contents(tensors)) == ["meta", "state_dict", "optimizer"]
    assert PEERS["torchvision"].contents(tensors) is tensors
    assert list(data_parallel(tensors)) == ["module.a"]


@pytest.mark.parametrize("name", ["caffe", "ssd_keras"])
def test_layers_of_a_file_include_those_without_weights(name):
    peer = PEERS[name]
    layers = [layer for layer, _ in peer.file_layers()]
    assert len(set(layers)) == len(layers)
    assert set(peer.prefixes.values()) < set(layers)
    assert {"pool1", "pool5", "fc7_relu", "conv9_2_mbox_priorbox"} <= set(layers)
    assert layers.index("conv6_1") == layers.index("fc7_relu") + 1


# Default boxes


@EVERY_PEER
def test_order_of_the_boxes_in_a_cell(peer):
    boxes = default_boxes(peer)
    assert boxes.shape == (8732, 4)
    assert boxes.dtype == np.float32
    s, t = peer.sizes[1] / 300, np.sqrt(peer.sizes[1] * peer.sizes[2]) / 300
    wide, tall = np.sqrt(2), np.sqrt(3)
    shapes = [(s, s), (t, t), (s * wide, s / wide), (s / wide, s * wide), (s * tall, s / tall), (s / tall, s * tall)]
    # Second stage, third row and second column: behind 38 x 38 cells of 4 boxes and 39 cells of 6.
    cell = boxes[5776 + 39 * 6 :][:6]
    np.testing.assert_allclose(cell[:, 2:], shapes, rtol=2e-6)
    np.testing.assert_allclose(cell[:, :2], [(1.5 * 16 / 300, 2.5 * 16 / 300)] * 6, rtol=2e-6)


@EVERY_PEER
def test_the_peers_differ_in_their_sizes_and_clamping_only(peer):
    free = peer_boxes.chainercv(peer.sizes)
    if peer.project in ("ssd.pytorch", "lufficc"):
        free = free.clip(0, 1)
    if peer.project == "torchvision":
        free[:, 2:] = free[:, 2:].clip(0, 1)
    np.testing.assert_allclose(default_boxes(peer), free, atol=2e-7)


@pytest.mark.parametrize(
    ("maker", "sizes", "changed"),
    [
        (peer_boxes.ssd_pytorch, VOC_SIZES, 134),
        (peer_boxes.ssd_pytorch, COCO_SIZES, 116),
        (peer_boxes.torchvision, COCO_SIZES, 2),
    ],
)
def test_how_many_boxes_clamping_changes(maker, sizes, changed):
    difference = np.abs(maker(sizes) - peer_boxes.caffe(sizes)).max(axis=1)
    assert (difference > 1e-5).sum() == changed


# The network


@EVERY_PEER
def test_forward_of_a_narrow_network(peer):
    pixels = np.random.default_rng(3).integers(0, 256, (2, 300, 300, 3), np.uint8)
    tensors = peer.random_tensors(4, width=0.06)
    logits, offsets = forward(peer, tensors, pixels)
    assert logits.shape == (2, 8732, peer.classes)
    assert offsets.shape == (2, 8732, 4)
    assert np.isfinite(logits).all()
    # A head's channel is box x values + value: the last box of the last stage has the last channels.
    tensors[peer.bias("logits_5")][-peer.classes :] += 100
    tensors[peer.bias("offsets_0")][1] += 100  # dy of the first box of each cell (ChainerCV: dx)
    changed_logits, changed_offsets = forward(peer, tensors, pixels)
    np.testing.assert_allclose((changed_logits - logits)[:, -1], 100, rtol=1e-4)
    np.testing.assert_array_equal(changed_logits[:, :-1], logits[:, :-1])
    np.testing.assert_allclose((changed_offsets - offsets)[:, :5776:4, 1], 100, rtol=1e-4)
    np.testing.assert_array_equal(changed_offsets[:, 5776:], offsets[:, 5776:])


@EVERY_PEER
def test_the_same_weights_in_every_layout_give_the_same_output(peer):
    caffe = PEERS["caffe"]
    peer = replace(peer, classes=21, background=0, means=CAFFE_MEANS)
    tensors = caffe.random_tensors(5, width=0.06)
    carried = {}
    for role in peer.prefixes:
        kernel = tensors[caffe.kernel(role)]
        if role == "norm":
            carried[peer.kernel(role)] = kernel
            continue
        bias = tensors[caffe.bias(role)]
        if role == "conv1_1" and peer.channels == "RGB":
            kernel = kernel[:, ::-1]
        if role.startswith("offsets") and peer.project == "chainercv":
            order = np.arange(len(bias)).reshape(-1, 4)[:, [1, 0, 3, 2]].reshape(-1)
            kernel, bias = kernel[order], bias[order]
        carried[peer.kernel(role)] = kernel if peer.axes == "OIHW" else kernel.transpose(2, 3, 1, 0)
        carried[peer.bias(role)] = bias
    pixels = np.random.default_rng(6).integers(0, 256, (1, 300, 300, 3), np.uint8)
    logits, offsets = forward(peer, carried, pixels)
    if peer.project == "chainercv":
        offsets = offsets[..., [1, 0, 3, 2]]
    expected = forward(caffe, tensors, pixels)
    # torchvision's means are a thousandth of a gray level lower.
    tolerance = 1e-2 if peer.project == "torchvision" else 1e-3
    np.testing.assert_allclose(logits, expected[0], atol=tolerance)
    np.testing.assert_allclose(offsets, expected[1], atol=tolerance)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caffe", (30 - 104, 20 - 117, 10 - 123)),
        ("ssd_keras", (30 - 104, 20 - 117, 10 - 123)),
        ("ssd.pytorch", (10 - 123, 20 - 117, 30 - 104)),
        ("ssd.pytorch BGR", (30 - 104, 20 - 117, 10 - 123)),
        ("torchvision", (10 - 122.99925, 20 - 116.9991, 30 - 103.9992)),
        ("mmdetection", (10 - 123.675, 20 - 116.28, 30 - 103.53)),
        ("chainercv", (10 - 123, 20 - 117, 30 - 104)),
    ],
)
def test_what_the_network_sees_of_a_pixel(name, expected):
    pixels = np.array([10, 20, 30], np.uint8).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(normalized(PEERS[name], pixels)[0, 0, 0], expected, rtol=1e-5)


@EVERY_PEER
def test_the_norm_of_a_cell(peer):
    cells = np.array([[3, 0, 4], [0, 0, 0]], np.float32).reshape(1, 1, 2, 3)
    result = l2_normalized(peer, cells)
    np.testing.assert_allclose(result[0, 0], [(0.6, 0, 0.8), (0, 0, 0)], rtol=1e-5)
