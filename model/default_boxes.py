"""The 8732 default boxes (paper section 2.2, Caffe's PriorBox layer), and what is derived from their order."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np

from ssd300.model.spec import ARTICLE, PAPER, Spec

__all__ = ["ARTICLE", "PAPER", "default_boxes", "digest", "stage_offsets"]


@lru_cache(maxsize=8)
def default_boxes(spec: Spec) -> np.ndarray:
    """The default boxes of `spec`, float32 ``[8732, 4]`` in center form ``(cx, cy, w, h)``, fractions of the image.

    The order is that of the heads: feature maps from the finest to the coarsest, in a map row by row and in a row from
    left to right, in a cell the shapes of the map. Many reach over the border; what the spec's
    `clamp` names is cut to [0, 1]. The array is shared and read-only.
    """
    maps = []
    for feature_map in spec.feature_maps:
        centers = (np.arange(feature_map.cells) + 0.5) * feature_map.step
        cy, cx = np.meshgrid(centers, centers, indexing="ij")  # [F, F]
        grid = np.stack([cx, cy], axis=-1)[:, :, None, :]  # [F, F, 1, 2]
        shapes = np.array(feature_map.shapes)[None, None]  # [1, 1, K, 2]
        cells = (feature_map.cells, feature_map.cells, len(feature_map.shapes), 2)
        boxes = np.concatenate([np.broadcast_to(grid, cells), np.broadcast_to(shapes, cells)], axis=-1)
        maps.append(boxes.reshape(-1, 4))
    result = np.concatenate(maps).astype(np.float32)  # [A, 4]
    if spec.clamp != "none":
        cut = result if spec.clamp == "center" else result[:, 2:]
        np.clip(cut, 0, 1, out=cut)
    result.setflags(write=False)
    return result


def stage_offsets(spec: Spec) -> tuple[int, ...]:
    """Index of the first default box of each feature map, and at the end the number of boxes: 7 numbers."""
    return tuple(np.concatenate([[0], np.cumsum([m.boxes for m in spec.feature_maps])]).tolist())


def digest(spec: Spec) -> str:
    """SHA-256, in hexadecimal, of the default boxes' little-endian float32 bytes: which boxes indices mean."""
    return hashlib.sha256(default_boxes(spec).astype("<f4").tobytes()).hexdigest()


def encoding_fields(spec: Spec) -> dict[str, Any]:
    """The fields of a dataset's identity in which a dataset and a model must agree."""
    return {
        "preset": spec.name,
        "default_boxes": digest(spec),
        "variances": None if spec.variances is None else list(spec.variances),
        "matching": spec.matching,
        "match_iou": spec.match_iou,
    }
