"""torchvision's ssd300_vgg16, trained by its reference recipe for detection for some minutes; prints its detections.

    python torchvision_ssd.py TREE WEIGHTS MINUTES [--optimizer sgd|adam] [--rate X]

TREE is a VOC tree with ``classes.txt`` and the image sets ``train`` and ``val``; WEIGHTS is Keras's file of VGG16. The
last line is JSON: steps, seconds, and for each image of ``val`` its detections, [label, score, ymin, xmin, ymax, xmax]
in fractions of the image.
"""

import argparse
import json
import math
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import torch
from torchvision import tv_tensors
from torchvision.models.detection import ssd300_vgg16
from torchvision.transforms import v2

BATCH, WARM_UP_STEPS = 8, 60
# Of torchvision's own normalization, times 255.
MEAN = (123, 117, 104)


def transforms() -> v2.Compose:
    """The chain that torchvision's references/detection calls ``ssd``."""
    return v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill={tv_tensors.Image: MEAN, "others": 0}),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(p=0.5),
            v2.SanitizeBoundingBoxes(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


class Images(torch.utils.data.Dataset):
    """The images of an image set, with their objects."""

    def __init__(self, tree: Path, name: str, transform: v2.Transform) -> None:
        self.tree, self.transform = tree, transform
        self.ids = (tree / f"ImageSets/Main/{name}.txt").read_text().split()
        self.labels = {c: i for i, c in enumerate((tree / "classes.txt").read_text().split("\n"), start=1) if c}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        from PIL import Image

        name = self.ids[index]
        with Image.open(self.tree / f"JPEGImages/{name}.jpg") as file:
            image = tv_tensors.Image(v2.functional.pil_to_tensor(file.convert("RGB")))
        boxes, labels = [], []
        for one in ElementTree.parse(self.tree / f"Annotations/{name}.xml").iter("object"):
            labels.append(self.labels[one.findtext("name", "").strip()])
            boxes.append([float(one.findtext(f"bndbox/{side}", "")) - 1 for side in ("xmin", "ymin", "xmax", "ymax")])
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[-2:]),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        return self.transform(image, target)


def load_vgg16(model: torch.nn.Module, path: str) -> None:
    """Keras's convolutions into the backbone, which takes RGB with a scale of 1/255 before it multiplies by 255."""
    found = [module for module in model.backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    with h5py.File(path) as file:
        names = [name for name in file if name.startswith("block") and "conv" in name]
        for name, layer in zip(sorted(names), found, strict=False):
            kernel, bias = (file[name][one][()] for one in file[name].attrs["weight_names"])
            if name == "block1_conv1":
                kernel = kernel[:, :, ::-1].copy()  # its inputs are BGR
            assert layer.weight.shape == kernel.transpose(3, 2, 0, 1).shape, name
            layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            layer.bias.data = torch.from_numpy(bias.copy())


def main() -> None:
    """Trains, then detects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree", type=Path)
    parser.add_argument("weights")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="adam")
    parser.add_argument("--rate", type=float, default=1e-4)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    data = Images(arguments.tree, "train", transforms())
    # The backbone of torchvision's reference run, of which conv1 is frozen if it is pretrained.
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=len(data.labels) + 1)
    load_vgg16(model, arguments.weights)
    for layer in list(model.backbone.features)[:4]:
        layer.requires_grad_(False)
    variables = [variable for variable in model.parameters() if variable.requires_grad]
    if arguments.optimizer == "adam":
        optimizer = torch.optim.Adam(variables, arguments.rate)
    else:
        optimizer = torch.optim.SGD(variables, arguments.rate, momentum=0.9, weight_decay=5e-4)
    model.train()
    steps, begin, limit = 0, time.perf_counter(), 60 * arguments.minutes
    while (seconds := time.perf_counter() - begin) < limit:
        for batch in torch.utils.data.DataLoader(
            data, BATCH, shuffle=True, drop_last=True, collate_fn=lambda batch: tuple(zip(*batch, strict=True))
        ):
            seconds = time.perf_counter() - begin
            if seconds >= limit:
                break
            rate = arguments.rate * (1 + math.cos(math.pi * seconds / limit)) / 2 * min(1, (steps + 1) / WARM_UP_STEPS)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = sum(model(list(batch[0]), list(batch[1])).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    print(json.dumps({"steps": steps, "seconds": seconds, "detections": detections(model, arguments.tree)}))


@torch.inference_mode()
def detections(model: torch.nn.Module, tree: Path) -> dict[str, list[list[float]]]:
    """What the model finds on the images of ``val``."""
    model.eval()
    data = Images(tree, "val", v2.ToDtype(torch.float32, scale=True))
    found = {}
    for name, (image, _) in zip(data.ids, (data[i] for i in range(len(data))), strict=True):
        height, width = image.shape[-2:]
        one = model([image])[0]
        found[name] = [
            [
                int(label),
                float(score),
                float(top / height),
                float(left / width),
                float(low / height),
                float(right / width),
            ]
            for (left, top, right, low), label, score in zip(one["boxes"], one["labels"], one["scores"], strict=True)
        ]
    return found


if __name__ == "__main__":
    main()
