"""From the network's output to detections: scores, decoded boxes, suppression of overlaps (Caffe's DetectionOutput).

Everything has fixed shapes and no Python loop over boxes, so it runs in batches, inside a graph, and under XLA.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import tensorflow as tf

from ssd300.model import box_coder, boxes as box_ops
from ssd300.model.default_boxes import default_boxes, stage_offsets
from ssd300.model.spec import IMAGE_SIZE, Spec, SuppressionSpec


class Detections(NamedTuple):
    """The final detections of a batch, highest score first, padded with zeros to `keep` of the specification.

    Attributes:
        boxes: corner boxes, float32 ``[B, K, 4]``, cut at the borders of the image.
        scores: float32 ``[B, K]``.
        labels: classes from 1, int32 ``[B, K]``; 0 marks padding.
        count: detections of each image, int32 ``[B]``.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    labels: tf.Tensor
    count: tf.Tensor


Detector = Callable[[tf.Tensor], Detections]


def detect(outputs: Mapping[str, tf.Tensor], spec: Spec) -> Detections:
    """Detections from the output of `ssd300.model.ssd300.SSD300` (``logits`` and ``offsets``)."""
    boxes = box_coder.decode(
        outputs["offsets"],
        tf.constant(default_boxes(spec)),
        variances=spec.variances,
        log_size_limits=spec.log_size_limits,
    )
    scores = tf.nn.softmax(outputs["logits"])
    if spec.suppression.stage_candidates is not None:
        scores = best_of_stages(scores, stage_offsets(spec), count=spec.suppression.stage_candidates)
    return suppress(boxes, scores, spec=spec.suppression)


def make_detector(model: Any) -> Detector:
    """A compiled function from RGB pixels, uint8 ``[B, 300, 300, 3]``, to `Detections`, in fractions of the image.

    `model` is an `ssd300.model.ssd300.SSD300`.
    """
    spec = model.spec

    @tf.function(input_signature=[tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)])
    def detector(pixels: tf.Tensor) -> Detections:
        return detect(model(tf.cast(pixels, tf.float32), training=False), spec)

    return detector


def suppress(boxes: tf.Tensor, scores: tf.Tensor, *, spec: SuppressionSpec) -> Detections:
    """Suppresses overlaps within each class, then keeps the best of each image.

    Args:
        boxes: corner boxes ``[B, A, 4]``, shared by all classes, not clipped: Caffe compares them as they are, and what
            the spec's `clip_first` says of it is done here.
        scores: probabilities ``[B, A, C]``; class 0 is the background and never detected.
        spec: thresholds and method. With ``average`` a box belongs to its best class only.
    """
    if spec.method == "average":
        best = tf.one_hot(tf.argmax(scores, axis=-1), tf.shape(scores)[-1], dtype=scores.dtype)  # [B, A, C]
        scores = scores * best
    if spec.clip_first:
        boxes = box_ops.clip(boxes)
    if spec.drop_empty:
        scores = tf.where(box_ops.area(box_ops.clip(boxes))[..., None] > 0, scores, 0.0)
    if spec.candidates is None:
        return _suppress_all(boxes, scores, spec)
    # One image at a time: [C, N, N] overlaps of a whole batch would take a gigabyte.
    return tf.map_fn(
        lambda picture: _suppress_picture(picture[0], picture[1], spec),
        (boxes, scores),
        fn_output_signature=Detections(
            tf.TensorSpec((spec.keep, 4), tf.float32),
            tf.TensorSpec((spec.keep,), tf.float32),
            tf.TensorSpec((spec.keep,), tf.int32),
            tf.TensorSpec((), tf.int32),
        ),
    )


def best_of_stages(scores: tf.Tensor, offsets: Sequence[int], *, count: int) -> tf.Tensor:
    """Scores ``[B, A, C]`` with zeros but for the `count` highest of each feature map, the background's left out.

    `offsets` are the first default boxes of the feature maps, and at the end the number of default boxes.
    """
    stages = []
    for first, end in pairwise(offsets):
        stage = scores[:, first:end, 1:]
        flat = tf.reshape(stage, [tf.shape(stage)[0], -1])
        top = tf.math.top_k(flat, k=tf.minimum(count, tf.shape(flat)[1]))
        rows = tf.broadcast_to(tf.range(tf.shape(flat)[0])[:, None], tf.shape(top.indices))
        kept = tf.scatter_nd(tf.stack([rows, top.indices], axis=-1), top.values, tf.shape(flat))
        stages.append(tf.reshape(kept, tf.shape(stage)))
    return tf.concat([scores[..., :1], tf.concat(stages, axis=1)], axis=-1)


def _suppress_all(boxes: tf.Tensor, scores: tf.Tensor, spec: SuppressionSpec) -> Detections:
    """Greedy suppression among all boxes above the threshold, by TensorFlow's kernel, which has no limit of its own."""
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None],
        scores[..., 1:],
        max_output_size_per_class=spec.keep if spec.keep_per_class is None else spec.keep_per_class,
        max_total_size=spec.keep,
        iou_threshold=spec.iou_threshold,
        score_threshold=spec.score_threshold,
        clip_boxes=False,
    )
    is_found = tf.range(spec.keep)[None] < found.valid_detections[:, None]
    return Detections(
        boxes=tf.where(is_found[..., None], box_ops.clip(found.nmsed_boxes), 0.0),
        scores=tf.where(is_found, found.nmsed_scores, 0.0),
        labels=tf.where(is_found, tf.cast(found.nmsed_classes, tf.int32) + 1, 0),
        count=found.valid_detections,
    )


def _suppress_picture(boxes: tf.Tensor, scores: tf.Tensor, spec: SuppressionSpec) -> Detections:
    by_class = tf.transpose(scores)[1:]  # [C-1, A]
    by_class = tf.where(by_class > spec.score_threshold, by_class, 0.0)
    candidates = tf.minimum(spec.candidates, tf.shape(boxes)[0])
    top = tf.math.top_k(by_class, k=candidates)  # a tie goes to the lower index: the earlier default box
    top_boxes = tf.gather(boxes, top.indices)  # [C-1, N, 4]
    if spec.method == "average":
        top_boxes, kept = average_overlapping(top_boxes, top.values > 0, iou_threshold=spec.iou_threshold)
    else:
        overlaps = box_ops.iou(top_boxes, top_boxes) > spec.iou_threshold
        kept = greedy(overlaps, top.values > 0)
    if spec.keep_per_class is not None:
        kept &= tf.cumsum(tf.cast(kept, tf.int32), axis=1) <= spec.keep_per_class

    flat_scores = tf.reshape(tf.where(kept, top.values, 0.0), [-1])  # [(C-1)N]
    classes = tf.shape(by_class)[0]
    flat_labels = tf.repeat(tf.range(1, classes + 1), candidates)
    flat_boxes = tf.reshape(top_boxes, [-1, 4])
    missing = tf.maximum(spec.keep - tf.shape(flat_scores)[0], 0)
    best = tf.math.top_k(tf.pad(flat_scores, [[0, missing]]), k=spec.keep)
    found = best.values > 0
    source = tf.where(found, best.indices, 0)
    return Detections(
        boxes=tf.where(found[:, None], box_ops.clip(tf.gather(flat_boxes, source)), 0.0),
        scores=best.values,
        labels=tf.where(found, tf.gather(flat_labels, source), 0),
        count=tf.reduce_sum(tf.cast(found, tf.int32)),
    )


def greedy(overlaps: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Greedy non-maximum suppression: which boxes stay, bool ``[..., N]``.

    Args:
        overlaps: whether two boxes overlap too much, bool ``[..., N, N]``, boxes sorted by falling score.
        valid: boxes that take part, bool ``[..., N]``.

    A box is kept if no kept box before it overlaps it. The rule is iterated on all boxes at once: after step ``n``
    the first ``n`` decisions are final, so the fixed point is the result of the sequential algorithm, and it is
    reached after as many steps as the longest chain of suppressions, a handful in practice.
    """
    count = tf.shape(overlaps)[-1]
    before = tf.range(count)[:, None] < tf.range(count)[None]  # [N, N]: row before column
    suppresses = tf.cast(overlaps & before, tf.float32)

    def step(kept: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        suppressors = tf.linalg.matvec(suppresses, tf.cast(kept, tf.float32), transpose_a=True)
        now = valid & (suppressors == 0)
        return now, tf.reduce_any(now != kept)

    return tf.while_loop(lambda _, changed: changed, step, (valid, tf.constant(True)))[0]


def average_overlapping(boxes: tf.Tensor, valid: tf.Tensor, *, iou_threshold: float) -> tuple[tf.Tensor, tf.Tensor]:
    """The reference article's suppression: groups of overlapping boxes become their mean, until nothing overlaps.

    In a pass, the boxes are taken by falling score; each still free one gathers the free boxes that it overlaps by at
    least `iou_threshold` and becomes the mean of their corners, with its own (the highest) score.

    Args:
        boxes: corner boxes ``[C, N, 4]`` of each class, sorted by falling score.
        valid: boxes that take part, bool ``[C, N]``.
        iou_threshold: minimum overlap of two boxes that are merged.

    Returns:
        Boxes ``[C, N, 4]`` at their leaders' places, and which places hold one, bool ``[C, N]``.
    """

    def step(boxes: tf.Tensor, valid: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        overlaps = box_ops.iou(boxes, boxes) >= iou_threshold
        leaders = greedy(overlaps, valid)
        # Row: leader; column: member. A member goes to its first leader; a leader is its own member.
        follows = (overlaps | tf.eye(tf.shape(boxes)[1], dtype=tf.bool)) & leaders[:, :, None] & valid[:, None, :]
        first = tf.argmax(tf.cast(follows, tf.int8), axis=1)  # [C, N]
        member = tf.one_hot(first, tf.shape(boxes)[1], axis=1) * tf.cast(valid, tf.float32)[:, None, :]
        size = tf.reduce_sum(member, axis=2, keepdims=True)
        means = tf.matmul(member, boxes) / tf.maximum(size, 1.0)
        alone = size == 1  # stays bit for bit as it was
        return tf.where(alone, boxes, means), leaders, tf.reduce_any(leaders != valid)

    boxes, valid, _ = tf.while_loop(lambda *state: state[2], step, (boxes, valid, tf.constant(True)))
    return boxes, valid
