"""Matching the objects of many images at once, on the few pairs that can matter; the outcome is `matching.match`'s.

An image's whole IoU matrix is 8732 numbers per object, nearly all of them useless, and TensorFlow spends more on
starting small operations than on computing them. So the images of a batch go through the same operations together.
"""

import tensorflow as tf

from ssd300.model import boxes as box_ops
from ssd300.model.spec import Spec
from ssd300.preprocessing.encoding.candidates import candidate_pairs
from ssd300.preprocessing.encoding.matching import MIN_OVERLAP, match

_LOW = (1 << 31) - 1
_NONE = -1


def match_batch(
    boxes: tf.Tensor, pictures: tf.Tensor, corners: tf.Tensor, spec: Spec
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Matches the objects of each image with its default boxes.

    Args:
        boxes: corner boxes of all objects, float32 ``[N, 4]``.
        pictures: the image of each object, int32 ``[N]``, rising.
        corners: the default boxes as corner boxes, float32 ``[A, 4]``.
        spec: of the default boxes; its `matching` and `match_iou`.

    Returns:
        The matched default boxes, rising, int32 ``[M]``: the image's number times 8732 plus the default box's; the
        object that each matches, a number in the batch, int32 ``[M]``; and the highest IoU that each object has with
        any default box, float32 ``[N]``, exact where it is at least `match_iou` and, for bipartite matching,
        everywhere.
    """
    objects, places = candidate_pairs(boxes, spec)  # [P] each
    overlaps = box_ops.paired_iou(tf.gather(boxes, objects), tf.gather(corners, places))
    highest = tf.maximum(tf.math.unsorted_segment_max(overlaps, objects, tf.shape(boxes)[0]), 0)
    reached = tf.where(overlaps >= spec.match_iou)[:, 0]
    takers = tf.gather(objects, reached)
    slots = tf.gather(pictures, takers) * spec.boxes + tf.gather(places, reached)
    if spec.matching != "bipartite":
        return *_strongest(slots, _rank(tf.ones_like(slots, tf.float32), takers)), highest

    best, unsure = _best_default_boxes(overlaps, objects, places, pictures, spec)  # [N], [N]
    forced = tf.cast(tf.where(best >= 0), tf.int32)[:, 0]
    forced_slots = tf.gather(pictures, forced) * spec.boxes + tf.gather(best, forced)
    ranks = _rank(tf.gather(overlaps, reached), takers)
    # Twice the highest IoU: nobody else gets the best default box of an object.
    forced_ranks = _rank(tf.fill(tf.shape(forced), 2.0), forced)
    matched = _strongest(tf.concat([slots, forced_slots], axis=0), tf.concat([ranks, forced_ranks], axis=0))
    again = tf.unique(tf.boolean_mask(pictures, unsure))[0]
    matched = tf.cond(
        tf.size(again) > 0,
        lambda: _match_again(*matched, again, boxes, pictures, corners, spec),
        lambda: matched,
    )
    return *matched, highest


def _strongest(slots: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The slots without repetitions, rising, and of each the number in its highest rank."""
    # Not by an array of all default boxes of the batch, which are hundreds of thousands.
    found, groups = tf.unique(slots)
    highest = tf.math.unsorted_segment_max(ranks, groups, tf.size(found))
    order = tf.argsort(found)
    return tf.gather(found, order), tf.gather(_decode(highest), order)


def _rank(strength: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """An int64 that grows with `strength` (float32, not negative) and, where that is equal, falls with `number`."""
    # The bits of floats that are not negative are in the floats' own order.
    bits = tf.cast(tf.bitcast(strength, tf.int32), tf.int64)
    return bits * (_LOW + 1) + (_LOW - tf.cast(number, tf.int64))


def _decode(rank: tf.Tensor) -> tf.Tensor:
    """The number in a rank."""
    return _LOW - tf.cast(rank % (_LOW + 1), tf.int32)


def _best_default_boxes(
    overlaps: tf.Tensor, objects: tf.Tensor, places: tf.Tensor, pictures: tf.Tensor, spec: Spec
) -> tuple[tf.Tensor, tf.Tensor]:
    """`matching.best_default_boxes` on candidate pairs: the default box of each object ``[N]``, -1 for none.

    The second result ``[N]`` tells which objects may have a better default box that is not a candidate: only those that
    were refused and have no open candidate of the threshold's IoU left.
    """
    number = tf.shape(pictures)[0]
    ranks = tf.where(overlaps > MIN_OVERLAP, _rank(overlaps, places), 0)
    at_threshold = _rank(tf.constant(spec.match_iou, tf.float32), tf.constant(_LOW))

    def propose(ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        top = tf.math.unsorted_segment_max(ranks, objects, number)  # [N]
        real = top > 0
        box = tf.where(real, _decode(top), _NONE)
        # Objects without a proposal wait in slots of their own.
        slots = tf.where(real, pictures * spec.boxes + box, -1 - tf.range(number))
        groups = tf.unique(slots)[1]
        own = _rank(tf.bitcast(tf.cast(top // (_LOW + 1), tf.int32), tf.float32), tf.range(number))
        winner = tf.gather(tf.math.unsorted_segment_max(own, groups, number), groups)
        return box, top, real & (winner != own)

    def refuse(
        ranks: tf.Tensor, box: tf.Tensor, _: tf.Tensor, refused: tf.Tensor, was_refused: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        closed = tf.gather(refused, objects) & (places == tf.gather(box, objects))
        ranks = tf.where(closed, tf.zeros_like(ranks), ranks)
        box, top, next_refused = propose(ranks)
        return ranks, box, top, next_refused, was_refused | refused

    state = ranks, *propose(ranks), tf.zeros_like(pictures, tf.bool)
    _ranks, box, top, _refused, was_refused = tf.while_loop(
        lambda _ranks, _box, _top, refused, _was: tf.reduce_any(refused), refuse, state
    )
    return box, was_refused & (top < at_threshold)


def _match_again(
    slots: tf.Tensor,
    objects: tf.Tensor,
    again: tf.Tensor,
    boxes: tf.Tensor,
    pictures: tf.Tensor,
    corners: tf.Tensor,
    spec: Spec,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The matches with those of the images `again` computed on their whole IoU matrices."""

    def one(picture: tf.Tensor) -> tf.Tensor:
        members = tf.cast(tf.where(pictures == picture), tf.int32)[:, 0]
        matched = match(box_ops.iou(tf.gather(boxes, members), corners), spec)  # [A]
        return tf.where(matched >= 0, tf.gather(members, tf.maximum(matched, 0)), _NONE)

    rows = tf.map_fn(one, again, fn_output_signature=tf.TensorSpec([spec.boxes], tf.int32))
    places = tf.cast(tf.where(rows >= 0), tf.int32)  # [K, 2]
    anew = tf.gather(again, places[:, 0]) * spec.boxes + places[:, 1]
    kept = tf.reduce_all((slots // spec.boxes)[:, None] != again[None], axis=1)
    slots = tf.concat([tf.boolean_mask(slots, kept), anew], axis=0)
    objects = tf.concat([tf.boolean_mask(objects, kept), tf.gather_nd(rows, places)], axis=0)
    order = tf.argsort(slots)
    return tf.gather(slots, order), tf.gather(objects, order)
