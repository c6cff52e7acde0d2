"""The box coder: ground truth as offsets from default boxes, and back (paper section 2.2.1, Caffe's EncodeBBox)."""

import numpy as np
import tensorflow as tf

from ssd300.model import boxes as box_ops
from ssd300.model.boxes import Array
from ssd300.model.spec import PAPER

Variances = tuple[float, float, float, float]

# A side of this fraction of the image is far below a pixel; its logarithm is still finite.
_SMALLEST_SIDE = 1e-6


def encode(boxes: Array, default_boxes: Array, *, variances: Variances | None = PAPER.variances) -> Array:
    """Offsets ``[..., 4]`` of corner boxes ``[..., 4]`` from their default boxes ``[..., 4]`` (center form).

    With `variances` the paper's form ``((gcx-dcx)/dw/v0, (gcy-dcy)/dh/v1, ln(gw/dw)/v2, ln(gh/dh)/v3)``; with None the
    article's plain differences in ``(cx, cy, w, h)``. Sides under 1e-6 count as 1e-6. The dtype is that of `boxes`.
    `decode` inverts it.
    """
    centers = box_ops.to_centers(boxes)
    if variances is None:
        return centers - default_boxes
    library = tf if tf.is_tensor(centers) else np
    sizes = library.maximum(centers[..., 2:], _SMALLEST_SIDE)
    logarithm = tf.math.log if library is tf else np.log
    shifts = (centers[..., :2] - default_boxes[..., :2]) / default_boxes[..., 2:]
    offsets = library.concat([shifts, logarithm(sizes / default_boxes[..., 2:])], axis=-1)
    # A product, because graph optimization turns a division by a constant into one: eager and graph must agree bit by
    # bit. For .1 and .2 the factors 10 and 5 are exact, too.
    return offsets * (1 / np.array(variances)).astype(np.float32)


def decode(
    offsets: Array,
    default_boxes: Array,
    *,
    variances: Variances | None = PAPER.variances,
    log_size_limits: tuple[float | None, float | None] = (None, None),
) -> Array:
    """Corner boxes ``[..., 4]`` from offsets ``[..., 4]`` and default boxes ``[..., 4]`` (center form), not clipped.

    The inverse of `encode` with the same `variances`, up to float32 rounding. With `variances`, the logarithms of the
    sides relative to the default boxes' are cut at `log_size_limits`, which Caffe does not have.
    """
    if variances is None:
        return box_ops.to_corners(offsets + default_boxes)
    library = tf if tf.is_tensor(offsets) else np
    offsets = offsets * np.array(variances, np.float32)
    shifted = offsets[..., :2] * default_boxes[..., 2:] + default_boxes[..., :2]
    growth = offsets[..., 2:]
    smallest, largest = log_size_limits
    if smallest is not None:
        growth = library.maximum(growth, smallest)
    if largest is not None:
        growth = library.minimum(growth, largest)
    sizes = library.exp(growth) * default_boxes[..., 2:]
    return box_ops.to_corners(library.concat([shifted, sizes], axis=-1))
