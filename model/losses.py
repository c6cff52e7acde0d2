"""The MultiBox loss with hard negative mining (paper section 2.2.2, Caffe's MultiBoxLoss layer)."""

from typing import NamedTuple

import tensorflow as tf


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
    """

    def __init__(
        self,
        negatives_per_match: float = 3.0,
        localization_weight: float = 1.0,
        negatives_per_empty_image: int = 0,
    ) -> None:
        if min(negatives_per_match, localization_weight, negatives_per_empty_image) < 0:
            raise ValueError(
                "negatives_per_match, localization_weight and negatives_per_empty_image must not be negative, "
                f"got {negatives_per_match}, {localization_weight} and {negatives_per_empty_image}"
            )
        self.negatives_per_match = negatives_per_match
        self.localization_weight = localization_weight
        self.negatives_per_empty_image = negatives_per_empty_image

    def __call__(
        self, labels: tf.Tensor, offsets: tf.Tensor, *, logits: tf.Tensor, predicted_offsets: tf.Tensor
    ) -> LossTerms:
        """The loss of a batch.

        Args:
            labels: classes of the default boxes, integers ``[B, A]``, 0 where nothing matches.
            offsets: encoded ground truth ``[B, A, 4]``; ignored where nothing matches.
            logits: predicted class scores before softmax ``[B, A, C]``, class 0 the background.
            predicted_offsets: ``[B, A, 4]``.
        """
        logits = tf.cast(logits, tf.float32)
        labels = tf.cast(labels, tf.int32)
        matched = tf.cast(labels > 0, tf.float32)  # [B, A]
        matches_per_picture = tf.reduce_sum(matched, axis=1)  # [B]
        matches = tf.reduce_sum(matches_per_picture)

        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [B, A]
        positive = tf.reduce_sum(cross_entropy * matched)
        wanted = tf.floor(self.negatives_per_match * matches_per_picture)  # [B]
        counted = matches
        if self.negatives_per_empty_image:
            empty = tf.cast(matches_per_picture == 0, tf.float32) * self.negatives_per_empty_image  # [B]
            wanted += empty
            counted += tf.reduce_sum(empty) / max(self.negatives_per_match, 1.0)
        negative = tf.reduce_sum(self._mined(cross_entropy, matched, wanted))

        # Where nothing matches the stored offsets mean nothing: they are replaced before the subtraction, because a
        # product with zero would let a NaN through.
        errors = tf.cast(predicted_offsets, tf.float32) - tf.cast(offsets, tf.float32)
        errors = tf.where(matched[:, :, None] > 0, errors, 0.0)
        localization = tf.reduce_sum(smooth_l1(errors))

        divisor = tf.maximum(counted, 1.0)  # where nothing counts all three sums are 0
        confidence = (positive + negative) / divisor
        localization = self.localization_weight * localization / divisor
        return LossTerms(confidence + localization, confidence, localization, matches)

    def _mined(self, cross_entropy: tf.Tensor, matched: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        """Confidence losses of the `wanted` ``[B]`` hardest negatives ``[B, A]``, highest first, 0 for the others."""
        # A cross entropy is never negative, so matched boxes sort after every candidate.
        candidates = tf.where(matched > 0, -1.0, cross_entropy)
        count = tf.shape(candidates)[1]
        # Only the sum over the hardest matters, so sorting the values is enough: no indices, no gather, no mask.
        ranked = tf.math.top_k(candidates, k=count).values
        rank = tf.cast(tf.range(count), tf.float32)[None]  # [1, A]
        return tf.where((rank < wanted[:, None]) & (ranked >= 0), ranked, 0.0)
