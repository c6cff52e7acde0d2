"""The references for imported weights, held against counts, tables and cases worked by hand."""

from dataclasses import replace

import numpy as np
import peer_boxes
import pytest
from forward import forward, l2_normalized, normalized
from layouts import CAFFE_MEANS, COCO_SIZES, PEERS, VOC_SIZES, data_parallel
from peer_boxes import default_boxes
from postprocess import decode, iou, postprocess, rules, suppress

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


# From the output to detections

SQUARE = (0.5, 0.5, 0.5, 0.5)


def run(project, boxes, scores, offsets=None, **options):
    """Detections of center boxes with probabilities of the peer's classes, the background's filled in."""
    scores = np.asarray(scores, np.float64)
    peer = replace(PROJECTS[project], classes=scores.shape[1] + 1)
    peer = replace(peer, background=scores.shape[1] if project == "mmdetection" else 0)
    rest = 1 - scores.sum(axis=1, keepdims=True)
    logits = np.log(np.concatenate([scores, rest] if peer.background else [rest, scores], axis=1))
    offsets = np.zeros((len(boxes), 4)) if offsets is None else offsets
    return postprocess(peer, logits, offsets, boxes=boxes, **{"stages": (len(boxes),), **options})


EVERY_PROJECT = pytest.mark.parametrize("project", PROJECTS)


@EVERY_PROJECT
def test_two_overlapping_boxes_and_one_apart(project):
    first = rules(PROJECTS[project]).first_label
    # The first box is a part of the second: IoU .2 x .2 / (.2 x .25) = .8.
    boxes = [(0.3, 0.3, 0.2, 0.2), (0.3, 0.3, 0.2, 0.25), (0.7, 0.7, 0.2, 0.2)]
    found = run(project, boxes, [(0.3, 0.02), (0.6, 0.03), (0.4, 0.05)])
    assert [(d.label - first, round(float(d.score), 4)) for d in found] == [(0, 0.6), (0, 0.4), (1, 0.05), (1, 0.03)]
    np.testing.assert_allclose(found[0].box, (0.2, 0.175, 0.4, 0.425), atol=1e-6)
    np.testing.assert_allclose(found[1].box, (0.6, 0.6, 0.8, 0.8), atol=1e-6)


@EVERY_PROJECT
def test_the_background_is_never_detected(project):
    assert run(project, [SQUARE], [(0.004, 0.004)]) == []


@EVERY_PROJECT
def test_classes_do_not_suppress_each_other(project):
    assert len(run(project, [SQUARE], [(0.5, 0.4)])) == 2


@pytest.mark.parametrize(("project", "threshold"), [(p, 0.02 if p == "mmdetection" else 0.01) for p in PROJECTS])
def test_scores_at_the_threshold(project, threshold):
    """Float32 probabilities at the threshold, a step over and a step below it; only ChainerCV takes the first."""
    at = np.float32(threshold)
    scores = np.array([at, np.nextafter(at, np.float32(1)), np.nextafter(at, np.float32(0))])
    boxes = np.array([(0.1, 0.1, 0.1, 0.1), (0.5, 0.5, 0.1, 0.1), (0.9, 0.9, 0.1, 0.1)])
    peer = replace(PROJECTS[project], classes=2, background=int(project == "mmdetection"))
    columns = [1 - scores, scores] if peer.background == 0 else [scores, 1 - scores]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postprocess.softmax", lambda _: np.stack(columns, axis=1).astype(np.float32))
        found = postprocess(peer, np.zeros((3, 2)), np.zeros((3, 4)), boxes=boxes, stages=(3,))
    assert len(found) == (2 if project == "chainercv" else 1)


@pytest.mark.parametrize(("part", "kept", "kept_if_equal_drops"), [(0.44, 2, 2), (0.45, 2, 1), (0.46, 1, 1)])
def test_overlaps_at_the_threshold(part, kept, kept_if_equal_drops):
    # The second box is that part of the first.
    boxes = np.array([(0, 0, 1, 1), (0, 0, 1, part)], np.float32)
    np.testing.assert_allclose(iou(boxes[0], boxes[1:]), part, rtol=1e-7)
    assert len(suppress(boxes)) == kept
    assert len(suppress(boxes, drop_equal=True)) == kept_if_equal_drops


def test_a_suppressed_box_suppresses_nothing():
    # Neighbors share .6 of 1.0, the first and the third .4 of 1.2.
    chain = np.array([(0, 0.0, 0.2, 0.8), (0, 0.2, 0.2, 1.0), (0, 0.4, 0.2, 1.2)], np.float32)
    assert suppress(chain) == [0, 2]
    assert suppress(chain, limit=1) == [0]


def test_boxes_without_area_overlap_nothing():
    assert suppress(np.zeros((3, 4), np.float32)) == [0, 1, 2]
    # mmdetection drops them before.
    assert run("mmdetection", [(1.5, 0.5, 0.2, 0.2)], [(0.5,)]) == []
    assert len(run("torchvision", [(1.5, 0.5, 0.2, 0.2)], [(0.5,)])) == 1


@EVERY_PROJECT
def test_decoding_by_hand(project):
    peer = PROJECTS[project]
    box = np.array([(0.5, 0.4, 0.2, 0.1)], np.float32)
    offsets = np.array([(1, -2, np.log(2) / 0.2, -np.log(2) / 0.2)], np.float32)
    if project == "chainercv":
        offsets = offsets[:, [1, 0, 3, 2]]
    # Center (.5 + .1 x .2, .4 - .2 x .1) = (.52, .38), size (.4, .05).
    np.testing.assert_allclose(decode(peer, offsets, box), [(0.32, 0.355, 0.72, 0.405)], atol=1e-6)


@pytest.mark.parametrize(
    ("project", "wide", "narrow"),
    [("torchvision", 62.5, np.exp(-6)), ("mmdetection", 62.5, 1 / 62.5), ("caffe", np.exp(6), np.exp(-6))],
)
def test_limits_of_the_exponential_function(project, wide, narrow):
    # 30 x .2 = 6 is more than log(62.5) = 4.135.
    box = np.array([(0.5, 0.5, 0.001, 0.1)], np.float32)
    corners = decode(PROJECTS[project], np.array([(0, 0, 30, -30)], np.float32), box)
    np.testing.assert_allclose(corners[0, 2:] - corners[0, :2], (0.001 * wide, 0.1 * narrow), rtol=1e-3)


@pytest.mark.parametrize(
    ("project", "low"), [(p, 0 if p in ("torchvision", "mmdetection") else -0.1) for p in PROJECTS]
)
def test_boxes_over_the_border(project, low):
    np.testing.assert_allclose(run(project, [(0.1, 0.5, 0.4, 0.2)], [(0.5,)])[0].box, (low, 0.4, 0.3, 0.6), atol=1e-6)


def test_a_cut_at_the_border_comes_before_the_suppression():
    # From -.2 to .2 and from -.5 to .1: IoU .3 / .7 = .43; cut at 0, .1 / .2 = .5.
    boxes = [(0.0, 0.5, 0.4, 0.4), (-0.2, 0.5, 0.6, 0.4)]
    for project in PROJECTS:
        kept = 1 if project in ("torchvision", "mmdetection") else 2
        assert len(run(project, boxes, [(0.6,), (0.5,)])) == kept


def row_of_boxes(count):
    """So many boxes side by side, in center form."""
    return np.array([((i + 0.5) / count, 0.5, 1 / count, 0.5) for i in range(count)])


@pytest.mark.parametrize(
    ("project", "count"),
    [
        ("caffe", 200),
        ("ssd_keras", 200),
        ("ssd.pytorch", 200),
        ("lufficc", 100),
        ("torchvision", 200),
        ("mmdetection", 200),
        ("chainercv", 450),
    ],
)
def test_how_many_remain(project, count):
    scores = np.linspace(0.9, 0.1, 450)[:, None]
    found = run(project, row_of_boxes(450), scores)
    assert len(found) == count
    np.testing.assert_allclose([d.score for d in found], scores[:count, 0], rtol=1e-5)


def test_ssd_pytorch_keeps_200_of_each_class():
    assert len(run("ssd.pytorch", row_of_boxes(250), np.full((250, 2), 0.3))) == 400


@pytest.mark.parametrize(
    ("project", "candidates"),
    [("caffe", 400), ("torchvision", 400), ("ssd.pytorch", 200), ("mmdetection", 1000)],
)
def test_only_the_best_of_a_class_take_part(project, candidates):
    # Copies of one box outscore a lone box elsewhere.
    copies, lone = [(0.3, 0.3, 0.2, 0.2)], [(0.7, 0.7, 0.2, 0.2)]
    for count, expected in ((candidates - 1, 2), (candidates, 1)):
        assert len(run(project, copies * count + lone, [(0.9,)] * count + [(0.8,)])) == expected


def test_mmdetection_counts_pairs_of_a_stage():
    # 500 boxes over the threshold in two classes are 1,000 pairs; a box of another stage is not concerned.
    boxes = [(0.3, 0.3, 0.2, 0.2)] * 500 + [(0.7, 0.7, 0.2, 0.2)]
    scores = [(0.4, 0.3)] * 500 + [(0.2, 0.01)]
    assert len(run("mmdetection", boxes, scores)) == 2
    assert len(run("mmdetection", boxes, scores, stages=(500, 1))) == 3


@pytest.mark.parametrize("project", ["ssd_keras", "lufficc", "chainercv"])
def test_all_take_part_where_there_is_no_limit(project):
    boxes = [(0.3, 0.3, 0.2, 0.2)] * 1500 + [(0.7, 0.7, 0.2, 0.2)]
    assert len(run(project, boxes, [(0.9,)] * 1500 + [(0.8,)])) == 2
