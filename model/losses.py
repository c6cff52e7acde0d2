"""The MultiBox loss with hard negative mining (paper section 2.2.2, Caffe's MultiBoxLoss layer)."""

from typing import NamedTuple, get_args

import numpy as np
import tensorflow as tf

from ssd300.model import boxes as box_ops
from ssd300.model.box_coder import decode
from ssd300.model.default_boxes import default_boxes
from ssd300.model.spec import PAPER, LocalizationLoss, Spec

# Limit of the logarithm of a decoded side, for the losses on boxes: the exponential of a wild offset would be infinite.
_LARGEST_GROWTH = 8.0
_SMALLEST = 1e-9  # keeps divisions finite; far below the area of a pixel


class LossTerms(NamedTuple):
    """Scalars, float32: the loss, its two terms (both already divided by the matches), and the number of matches."""

    loss: tf.Tensor
    confidence: tf.Tensor
    localization: tf.Tensor
    matches: tf.Tensor


def smooth_l1(errors: tf.Tensor) -> tf.Tensor:
    """Smooth L1 of errors ``[..., 4]``, summed over the four coordinates: ``[...]`` (Fast R-CNN, equation 3)."""
    size = tf.abs(errors)
    return tf.reduce_sum(tf.where(size < 1, 0.5 * size * size, size - 0.5), axis=-1)


def giou_loss(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """1 - GIoU ``[...]``, in [0, 2], of corner boxes ``[..., 4]`` and their counterparts (Rezatofighi et al. 2019)."""
    height, width = tf.unstack(_hull(first, second), axis=-1)
    enclosing = height * width
    union = box_ops.area(first) + box_ops.area(second) - box_ops.intersection(first, second)
    return 1 - box_ops.paired_iou(first, second) + (enclosing - union) / tf.maximum(enclosing, _SMALLEST)


def ciou_loss(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """1 - CIoU ``[...]`` of corner boxes ``[..., 4]`` and their counterparts (Zheng et al. 2020, equations 7 to 11).

    To 1 - IoU it adds the squared distance of the centers relative to the diagonal of the hull, and a term for
    different aspect ratios, whose weight is a constant to the gradient, as in the authors' code.
    """
    iou = box_ops.paired_iou(first, second)
    diagonal = tf.reduce_sum(tf.square(_hull(first, second)), axis=-1)
    shift = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2  # of the centers
    distance = tf.reduce_sum(tf.square(shift), axis=-1) / tf.maximum(diagonal, _SMALLEST)
    angles = [
        tf.atan2(tf.maximum(b[..., 3] - b[..., 1], _SMALLEST), tf.maximum(b[..., 2] - b[..., 0], _SMALLEST))
        for b in (first, second)
    ]
    aspect = 4 / np.pi**2 * tf.square(angles[0] - angles[1])
    weight = tf.stop_gradient(aspect / tf.maximum(1 - iou + aspect, _SMALLEST))
    return 1 - iou + distance + weight * aspect


def _hull(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Height and width ``[..., 2]`` of the smallest boxes around corner boxes and their counterparts."""
    return tf.maximum(first[..., 2:], second[..., 2:]) - tf.minimum(first[..., :2], second[..., :2])


class MultiBoxLoss:
    """(softmax cross entropy + weight · smooth L1) / matched default boxes of the batch.

    Cross entropy counts every matched default box and, of those that match nothing, the `negatives_per_match` times
    as many of the same image with the highest confidence loss. A batch without a match has loss 0 and gradients 0,
    unless negatives of images without a match are wanted.
    Shapes are fixed, so the loss compiles under XLA; it is computed in float32 whatever the model's precision.

    Args:
        negatives_per_match: mined negatives for each match of an image.
        localization_weight: the paper's alpha.
        negatives_per_empty_image: mined negatives of an image without a match, which has none in Caffe. Each
            `negatives_per_match` of them count as one match in the divisor, so that a batch of such images alone has a
            loss of the usual size.
        label_smoothing: share of the target probability that is spread evenly over all classes, the background
            included, as Keras does; negatives are mined by the loss without it. The paper has none.
        localization: the loss of a matched box: ``smooth-l1`` of its offsets, or 1 - GIoU or 1 - CIoU of the decoded
            box.
        spec: of the default boxes that a box is decoded with; only the last two need it.
    """

    def __init__(
        self,
        negatives_per_match: float = 3.0,
        localization_weight: float = 1.0,
        negatives_per_empty_image: int = 0,
        *,
        label_smoothing: float = 0.0,
        localization: LocalizationLoss = "smooth-l1",
        spec: Spec = PAPER,
    ) -> None:
        if min(negatives_per_match, localization_weight, negatives_per_empty_image) < 0:
            raise ValueError(
                "negatives_per_match, localization_weight and negatives_per_empty_image must not be negative, "
                f"got {negatives_per_match}, {localization_weight} and {negatives_per_empty_image}"
            )
        if not 0 <= label_smoothing < 1 or localization not in get_args(LocalizationLoss):
            raise ValueError(
                f"label_smoothing must be in [0, 1) and localization one of {', '.join(get_args(LocalizationLoss))}, "
                f"got {label_smoothing} and {localization!r}"
            )
        self.label_smoothing, self.localization, self.spec = label_smoothing, localization, spec
        self.negatives_per_match = negatives_per_match
        self.localization_weight = localization_weight
        self.negatives_per_empty_image = negatives_per_empty_image

    def count(self, labels: tf.Tensor) -> tf.Tensor:
        """What the loss of these labels ``[B, A]`` is divided by: the matches, and what stands for empty images."""
        matches, _, for_empty = self._counts(tf.cast(labels > 0, tf.float32))
        return tf.reduce_sum(matches) + for_empty

    def _counts(self, matched: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Matches ``[B]`` and wanted negatives ``[B]`` of the images, and what the empty ones count for."""
        matches = tf.reduce_sum(matched, axis=1)
        wanted, for_empty = tf.floor(self.negatives_per_match * matches), tf.constant(0.0)
        if self.negatives_per_empty_image:
            empty = tf.cast(matches == 0, tf.float32) * self.negatives_per_empty_image
            wanted += empty
            for_empty = tf.reduce_sum(empty) / max(self.negatives_per_match, 1.0)
        return matches, wanted, for_empty

    def __call__(
        self,
        labels: tf.Tensor,
        offsets: tf.Tensor,
        *,
        logits: tf.Tensor,
        predicted_offsets: tf.Tensor,
        divisor: tf.Tensor | None = None,
    ) -> LossTerms:
        """The loss of a batch.

        Args:
            labels: classes of the default boxes, integers ``[B, A]``, 0 where nothing matches.
            offsets: encoded ground truth ``[B, A, 4]``; ignored where nothing matches.
            logits: predicted class scores before softmax ``[B, A, C]``, class 0 the background.
            predicted_offsets: ``[B, A, 4]``.
            divisor: what to divide by instead of this batch's own `count`: that of a larger batch, of which this is a
                part.
        """
        logits = tf.cast(logits, tf.float32)
        labels = tf.cast(labels, tf.int32)
        matched = tf.cast(labels > 0, tf.float32)  # [B, A]
        matches_per_picture, wanted, for_empty = self._counts(matched)
        matches = tf.reduce_sum(matches_per_picture)

        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [B, A]
        smoothed = self._smoothed(cross_entropy, logits)
        positive = tf.reduce_sum(smoothed * matched)
        negative = tf.reduce_sum(self._mined(cross_entropy, smoothed, matched, wanted))

        localization = tf.reduce_sum(self._localization(predicted_offsets, offsets, matched))

        # Where nothing counts all three sums are 0.
        divisor = tf.maximum(matches + for_empty if divisor is None else divisor, 1.0)
        confidence = (positive + negative) / divisor
        localization = self.localization_weight * localization / divisor
        return LossTerms(confidence + localization, confidence, localization, matches)

    def _smoothed(self, cross_entropy: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Cross entropy ``[B, A]`` with the smoothed target: that of all classes is the mean of their own."""
        if not self.label_smoothing:
            return cross_entropy
        of_all = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        return (1 - self.label_smoothing) * cross_entropy + self.label_smoothing * of_all

    def _localization(self, predicted: tf.Tensor, offsets: tf.Tensor, matched: tf.Tensor) -> tf.Tensor:
        """Loss of each default box ``[B, A]``, 0 where nothing matches."""
        # Where nothing matches the stored offsets mean nothing: they are replaced before any arithmetic, because a
        # product with zero would let a NaN through.
        is_matched = matched[:, :, None] > 0
        predicted, offsets = (tf.where(is_matched, tf.cast(o, tf.float32), 0.0) for o in (predicted, offsets))
        if self.localization == "smooth-l1":
            return smooth_l1(predicted - offsets)
        boxes = default_boxes(self.spec)
        found, true = (
            decode(o, boxes, variances=self.spec.variances, log_size_limits=(None, _LARGEST_GROWTH))
            for o in (predicted, offsets)
        )
        return (giou_loss if self.localization == "giou" else ciou_loss)(found, true) * matched

    def _mined(self, cross_entropy: tf.Tensor, smoothed: tf.Tensor, matched: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        """Confidence losses of the `wanted` ``[B]`` hardest negatives ``[B, A]``, highest first, 0 for the others."""
        # A cross entropy is never negative, so matched boxes sort after every candidate.
        candidates = tf.where(matched > 0, -1.0, cross_entropy)
        count = tf.shape(candidates)[1]
        # Only the sum over the hardest matters, so sorting the values is enough; what is summed needs to be gathered
        # only where it is not what is sorted.
        ranked, indices = tf.math.top_k(candidates, k=count)
        rank = tf.cast(tf.range(count), tf.float32)[None]  # [1, A]
        values = tf.gather(smoothed, indices, batch_dims=1) if self.label_smoothing else ranked
        return tf.where((rank < wanted[:, None]) & (ranked >= 0), values, 0.0)
