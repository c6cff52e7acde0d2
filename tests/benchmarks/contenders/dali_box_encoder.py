"""NVIDIA DALI's `box_encoder` alone, on one thread of the CPU: encoded images per second."""

import argparse
from pathlib import Path

import numpy as np
from dali_pipeline import rate


def main() -> None:
    """Prints images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="holds anchors.npy (left, top, right, bottom) and boxes.npy, the same"
    )
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    from nvidia.dali import fn, pipeline_def

    anchors = np.load(arguments.folder / "anchors.npy")
    boxes = np.load(arguments.folder / "boxes.npy")  # [B, G, 4]
    labels = np.ones(boxes.shape[:2], np.int32)

    @pipeline_def(batch_size=arguments.batch_size, num_threads=1, device_id=None)
    def chain():
        # The same arrays in every batch, so that next to nothing is spent on handing them over.
        given = fn.external_source(source=lambda: list(boxes), no_copy=True)
        classes = fn.external_source(source=lambda: list(labels), no_copy=True)
        return tuple(fn.box_encoder(given, classes, criteria=0.5, anchors=anchors.ravel().tolist()))

    pipeline = chain()
    pipeline.build()
    print(rate(pipeline, arguments.batch_size, arguments.seconds))


if __name__ == "__main__":
    main()
