"""The passport of imported weights: what they are, where each tensor came from, and whether they seem to work."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssd300.datasets.classes import ClassList
from ssd300.model.default_boxes import digest
from ssd300.model.spec import IMAGE_SIZE
from ssd300.model.weights.containers.stored import StoredTensors
from ssd300.model.weights.layouts import Layout

# A trained network calls nearly all default boxes of a plain gray image background; one of random numbers does not.
_TRAINED_BACKGROUND = 0.9


@dataclass(frozen=True)
class TensorRow:
    """A tensor of the file and what became of it."""

    layer: str  # ours
    kind: str  # kernel, bias or scale
    source: str  # its name in the file
    shape: tuple[int, ...]  # in the file
    changes: tuple[str, ...]
    array: np.ndarray  # as the layer has it


def make_passport(
    path: Path,
    stored: StoredTensors,
    layout: Layout,
    model: Any,
    rows: Sequence[TensorRow],
    *,
    classes: ClassList,
    list_name: str,
    channels_decided_by: str,
) -> dict[str, Any]:
    """The passport as plain values; it runs the network once, for the self-test."""
    spec = model.spec
    unused = set(stored.tensors) - {row.source for row in rows}
    return {
        "file": {
            "name": path.name,
            "sha256": _sha256(path),
            "format": layout.name,
            "container": stored.container,
            "passed_over": sorted({*stored.passed_over, *unused}),
        },
        "classes": {
            "list": list_name,
            "background": layout.background,
            "names": list(classes.names),
            "labels": "the file's, without change" if layout.background == "first" else "the file's plus 1",
        },
        "pixels": {**_plain(asdict(spec.pixels)), "decided_by": channels_decided_by},
        "default_boxes": {
            "preset": spec.name,
            "clamp": spec.clamp,
            "sha256": digest(spec),
            "smallest_sides": [round(m.shapes[0][0] * IMAGE_SIZE, 3) for m in spec.feature_maps],
        },
        "offsets": {
            "order": "dy, dx, dh, dw" if layout.offsets == "yx" else "dx, dy, dw, dh",
            "variances": list(spec.variances),
            "log_size_limits": list(spec.log_size_limits),
        },
        "suppression": asdict(spec.suppression),
        "differences": list(layout.differences),
        "self_test": _self_test(model, rows),
        "tensors": [
            {"layer": f"{r.layer}/{r.kind}", "from": r.source, "shape": list(r.shape), "changes": list(r.changes)}
            for r in rows
        ],
    }


def _self_test(model: Any, rows: Sequence[TensorRow]) -> dict[str, Any]:
    """What the model makes of its weights: read back, and run on a plain gray image and on noise."""
    kept = sum(np.array_equal(getattr(model.get_layer(row.layer), row.kind), row.array) for row in rows)
    noise = np.random.default_rng(0).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3))
    outputs = model(np.stack([np.full_like(noise, 128), noise]).astype(np.float32), training=False)
    logits, offsets = np.array(outputs["logits"]), np.array(outputs["offsets"])
    is_finite = bool(np.isfinite(logits).all() and np.isfinite(offsets).all())
    share = float((logits[0].argmax(axis=-1) == 0).mean())
    verdict = "passed"
    if not is_finite:
        verdict = "failed: the network's output is not finite"
    elif share < _TRAINED_BACKGROUND:
        verdict = "doubtful: these do not look like trained weights of this layout, as a gray image is full of objects"
    return {
        "tensors_read_back": int(kept),
        "output_is_finite": is_finite,
        "background_on_gray": round(share, 4),
        "outcome": verdict,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def passport_table(passport: Mapping[str, Any]) -> str:
    """The passport as text, a line for each thing that decides what is detected."""
    file, classes, pixels, boxes = (passport[name] for name in ("file", "classes", "pixels", "default_boxes"))
    offsets, limits, test = passport["offsets"], passport["suppression"], passport["self_test"]
    names = classes["names"]
    candidates = "all" if limits["candidates"] is None else f"{limits['candidates']} per class"
    if limits["stage_candidates"] is not None:
        candidates = f"{limits['stage_candidates']:,} per feature map"
    means = ", ".join(f"{mean:g}" for mean in pixels["mean"])
    rows = [
        ("format", f"{file['format']} ({file['container']}), {len(passport['tensors'])} tensors"),
        ("passed over", ", ".join(file["passed_over"][:8]) or "nothing"),
        ("classes", f"{len(names)} ({classes['list']}), {names[0]} to {names[-1]}"),
        ("background", f"{classes['background']} of the file's labels, 0 here"),
        ("pixels", f"{pixels['channels'].upper()} minus {means}; {pixels['decided_by']}"),
        ("default boxes", f"preset {boxes['preset']}, clamped: {boxes['clamp']}"),
        ("offsets", f"{offsets['order']}, variances {', '.join(map(str, offsets['variances']))}"),
        ("scores over", f"{limits['score_threshold']}; candidates: {candidates}"),
        ("suppression", f"IoU {limits['iou_threshold']}, at most {limits['keep']:,} detections"),
        *(("differs", text) for text in passport["differences"]),
        ("self-test", test["outcome"]),
    ]
    return "\n".join(f"{name:<14} {text}" for name, text in rows)
