"""NVIDIA DALI's pipeline on the CPU with the steps of its own SSD example: crop, decode, resize, colors, flip, encode.

It has no expansion: DALI's `paste` needs a GPU. Its color step is a linear map instead of HSV's.
"""

import argparse
import json
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

SIZE = 300


def write_coco(tree: Path, path: Path) -> None:
    """The annotations of a VOC tree as COCO's JSON, which DALI's reader takes."""
    images, annotations, categories = [], [], {}
    for number, file in enumerate(sorted((tree / "Annotations").glob("*.xml"))):
        root = ElementTree.parse(file).getroot()
        width, height = (int(root.findtext(f"size/{name}")) for name in ("width", "height"))
        images.append({"id": number, "file_name": f"{file.stem}.jpg", "width": width, "height": height})
        for item in root.findall("object"):
            left, top, right, bottom = (
                float(item.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")
            )
            category = categories.setdefault(item.findtext("name"), len(categories) + 1)
            box = [left, top, right - left, bottom - top]
            annotation = {"id": len(annotations), "image_id": number, "category_id": category, "bbox": box}
            annotations.append(annotation | {"area": box[2] * box[3], "iscrowd": 0})
    named = [{"id": number, "name": name} for name, number in categories.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": named}))


def make_pipeline(tree: Path, annotations: Path, anchors: np.ndarray, *, batch_size: int, threads: int):
    """The pipeline, built; `anchors` are left, top, right, bottom ``[8732, 4]``."""
    from nvidia.dali import fn, pipeline_def, types

    def sometimes(low: float, high: float, neutral: float):
        chosen = fn.random.coin_flip(probability=0.5)
        return fn.random.uniform(range=(low, high)) * chosen + neutral * (1 - chosen)

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=None, seed=0)
    def chain():
        jpegs, boxes, labels = fn.readers.coco(
            file_root=str(tree / "JPEGImages"),
            annotations_file=str(annotations),
            ratio=True,
            ltrb=True,
            random_shuffle=True,
        )
        begin, shape, boxes, labels = fn.random_bbox_crop(
            boxes,
            labels,
            device="cpu",
            aspect_ratio=[0.5, 2.0],
            thresholds=[0, 0.1, 0.3, 0.5, 0.7, 0.9],
            scaling=[0.3, 1.0],
            bbox_layout="xyXY",
            allow_no_crop=True,
            num_attempts=50,
        )
        pixels = fn.decoders.image_slice(jpegs, begin, shape, device="cpu", output_type=types.RGB)
        pixels = fn.resize(pixels, resize_x=SIZE, resize_y=SIZE, interp_type=types.INTERP_LINEAR, antialias=False)
        pixels = fn.color_twist(
            pixels,
            brightness=sometimes(0.875, 1.125, 1.0),
            contrast=sometimes(0.5, 1.5, 1.0),
            saturation=sometimes(0.5, 1.5, 1.0),
            hue=sometimes(-36.0, 36.0, 0.0),
        )
        mirrored = fn.random.coin_flip(probability=0.5)
        pixels = fn.flip(pixels, horizontal=mirrored)
        boxes = fn.bb_flip(boxes, ltrb=True, horizontal=mirrored)
        boxes, labels = fn.box_encoder(boxes, labels, criteria=0.5, anchors=anchors.ravel().tolist())
        return pixels, boxes, labels

    pipeline = chain()
    pipeline.build()
    return pipeline


def rate(pipeline, batch_size: int, seconds: float) -> float:
    """Things per second that a built pipeline makes."""
    for _ in range(10):
        pipeline.run()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        pipeline.run()
        done += batch_size
    return done / (time.perf_counter() - start)


def main() -> None:
    """Prints images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("folder", type=Path, help="holds anchors.npy and takes annotations.json")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    annotations = arguments.folder / "annotations.json"
    write_coco(arguments.tree, annotations)
    anchors = np.load(arguments.folder / "anchors.npy")
    pipeline = make_pipeline(
        arguments.tree, annotations, anchors, batch_size=arguments.batch_size, threads=arguments.threads
    )
    print(rate(pipeline, arguments.batch_size, arguments.seconds))


if __name__ == "__main__":
    main()
