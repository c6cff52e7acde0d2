"""Matching ground truth to default boxes (paper section 2.2.1, Caffe's MatchBBox), as TensorFlow operations."""

import tensorflow as tf

from ssd300.model.spec import Spec

# Caffe ignores overlaps up to this when it gives an object its best default box.
MIN_OVERLAP = 1e-6


def match(overlaps: tf.Tensor, spec: Spec) -> tf.Tensor:
    """The object that each default box matches, int32 ``[A]``, -1 for none.

    Args:
        overlaps: IoU of the objects with the default boxes, float32 ``[G, A]``, G may be 0.
        spec: its `matching` and `match_iou`.

    With ``bipartite`` every object first takes its best default box (`best_default_boxes`); every other default box
    takes the object it overlaps most, the earlier at a tie, if the IoU is at least `match_iou`. With ``threshold`` a
    default box takes the first object that it overlaps by at least `match_iou`.
    """
    none = tf.fill([tf.shape(overlaps)[1]], -1)
    rule = _bipartite if spec.matching == "bipartite" else _threshold
    return tf.cond(tf.shape(overlaps)[0] > 0, lambda: rule(overlaps, spec.match_iou), lambda: none)


def _threshold(overlaps: tf.Tensor, match_iou: float) -> tf.Tensor:
    reached = overlaps >= match_iou
    # argmax gives the first of equal maxima: the earlier object.
    first = tf.argmax(tf.cast(reached, tf.int8), axis=0, output_type=tf.int32)
    return tf.where(tf.reduce_any(reached, axis=0), first, -1)


def _bipartite(overlaps: tf.Tensor, match_iou: float) -> tf.Tensor:
    strongest = tf.argmax(overlaps, axis=0, output_type=tf.int32)  # [A]
    matches = tf.where(tf.reduce_max(overlaps, axis=0) >= match_iou, strongest, -1)
    best = best_default_boxes(overlaps)  # [G]
    objects = tf.cast(tf.where(best >= 0), tf.int32)[:, 0]
    return tf.tensor_scatter_nd_update(matches, tf.gather(best, objects)[:, None], objects)


def best_default_boxes(overlaps: tf.Tensor) -> tf.Tensor:
    """Greedy bipartite matching: a default box of its own for each object, int32 ``[G]``, -1 where none is left.

    The result is that of taking, again and again, the pair of the highest IoU among the free objects and free default
    boxes (the lower default box, then the earlier object, at a tie), as long as it is over 1e-6.

    It is found without that many passes: every object proposes to the best default box that has not refused it, and a
    default box refuses all proposals but the best. Both sides order the pairs alike, so the stable outcome is unique
    and equals the greedy one; without a conflict, which is the rule, the first round ends it.

    Args:
        overlaps: IoU of the objects with the default boxes, float32 ``[G, A]``, G at least 1.
    """

    def propose(open_overlaps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        box = tf.argmax(open_overlaps, axis=1, output_type=tf.int32)  # [G]
        value = tf.reduce_max(open_overlaps, axis=1)  # [G]
        real = value > MIN_OVERLAP
        same = (box[:, None] == box[None]) & real[:, None] & real[None]  # [G, G]
        earlier = tf.range(tf.shape(box)[0])[:, None] > tf.range(tf.shape(box)[0])[None]  # column before row
        stronger = (value[None] > value[:, None]) | ((value[None] == value[:, None]) & earlier)
        return tf.where(real, box, -1), box, tf.reduce_any(same & stronger, axis=1)

    def refuse(open_overlaps: tf.Tensor, _: tf.Tensor, box: tf.Tensor, refused: tf.Tensor) -> tuple[tf.Tensor, ...]:
        objects = tf.cast(tf.where(refused), tf.int32)[:, 0]
        pairs = tf.stack([objects, tf.gather(box, objects)], axis=1)
        open_overlaps = tf.tensor_scatter_nd_update(open_overlaps, pairs, tf.fill([tf.shape(pairs)[0]], -1.0))
        return open_overlaps, *propose(open_overlaps)

    return tf.while_loop(
        lambda _open, _best, _box, refused: tf.reduce_any(refused), refuse, (overlaps, *propose(overlaps))
    )[1]
