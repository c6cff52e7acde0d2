"""torchvision's ssd300_vgg16, trained with its reference recipe's transforms for some minutes; prints its detections.

    python torchvision_ssd.py TREE WEIGHTS MINUTES [--optimizer sgd|adam] [--rate X] [--trainable 4] [--cores N] ...

TREE is a VOC tree with ``classes.txt`` and the image sets ``train`` and ``val``; WEIGHTS is Keras's file of VGG16's
convolutions, or none. The last line is JSON: steps, seconds, the loss of each step, and for each image of ``val`` its
detections, [label, score, ymin, xmin, ymax, xmax] in fractions of the image.
"""

import argparse
import json
import math
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import h5py
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection import ssd300_vgg16
from torchvision.transforms import v2

WARM_UP_STEPS, WARM_UP_SHARE = 60, 0.1  # of steps, or of the time if that is shorter; as in `ssd300 finetune`
RATES = {"sgd": 2e-3, "adam": 1e-4}  # the first is the reference recipe's
MEAN = (123, 117, 104)  # of the model's own normalization, times 255
BLOCKS = (2, 2, 3, 3, 3)  # convolutions of VGG16


def training_transforms() -> v2.Compose:
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


class Images(Dataset):
    """The images of an image set with all their objects, difficult ones too."""

    def __init__(self, tree: Path, name: str, transform: v2.Transform) -> None:
        self.tree, self.transform = tree, transform
        self.ids = (tree / f"ImageSets/Main/{name}.txt").read_text().split()
        self.labels = {c: i for i, c in enumerate((tree / "classes.txt").read_text().splitlines(), start=1)}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        name = self.ids[index]
        with Image.open(self.tree / f"JPEGImages/{name}.jpg") as file:
            image = tv_tensors.Image(v2.functional.pil_to_tensor(file.convert("RGB")))
        boxes, labels = [], []
        for one in ElementTree.parse(self.tree / f"Annotations/{name}.xml").iter("object"):
            left, top, right, low = (float(one.findtext(f"bndbox/{s}", "")) for s in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append([left - 1, top - 1, right, low])  # VOC counts pixels from one and includes the last
            labels.append(self.labels[one.findtext("name", "").strip()])
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        target = {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=image.shape[-2:]),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        return self.transform(image, target)


def load_vgg16(convolutions: list[torch.nn.Conv2d], path: str) -> None:
    """Keras's kernels, for BGR in 0 to 255 minus Caffe's mean; torchvision's model scales to the same, but in RGB."""
    with h5py.File(path) as file:
        names = sorted(name for name in file if name.startswith("block") and "conv" in name)
        for name, layer in zip(names, convolutions, strict=True):
            kernel, bias = (torch.from_numpy(file[name][one][()]) for one in file[name].attrs["weight_names"])
            kernel = kernel.permute(3, 2, 0, 1)
            kernel = kernel.flip(1) if name == "block1_conv1" else kernel
            if kernel.shape != layer.weight.shape:
                raise ValueError(f"{name} has the shape {tuple(kernel.shape)}, not {tuple(layer.weight.shape)}")
            with torch.no_grad():
                layer.weight.copy_(kernel)
                layer.bias.copy_(bias)


def make_model(classes: int, weights: str, trainable: int) -> torch.nn.Module:
    """The model with the last `trainable` of the backbone's five blocks trainable, as torchvision counts them."""
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes + 1)
    found = [module for module in model.backbone.modules() if isinstance(module, torch.nn.Conv2d)][: sum(BLOCKS)]
    if weights != "none":
        load_vgg16(found, weights)
    # The model's own argument freezes only what it downloaded itself.
    for layer in found[: sum(BLOCKS[: len(BLOCKS) - trainable])]:
        layer.requires_grad_(False)
    return model


def endless(data: Images, batch_size: int) -> Iterator[tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]]:
    """Batches of images and targets, in another order in each epoch, made by a process next to the training."""
    batches = DataLoader(
        data,
        min(batch_size, len(data)),
        shuffle=True,
        drop_last=True,
        collate_fn=list,
        num_workers=1,
        persistent_workers=True,
    )
    while True:
        for batch in batches:
            yield [image for image, _ in batch], [target for _, target in batch]


def train(model: torch.nn.Module, data: Images, arguments: argparse.Namespace) -> tuple[list[float], float]:
    """Trains until the time is up, with a linear warm-up and a cosine of the time; the losses and the seconds."""
    variables = [variable for variable in model.parameters() if variable.requires_grad]
    highest = arguments.rate or RATES[arguments.optimizer]
    if arguments.optimizer == "adam":
        optimizer = torch.optim.Adam(variables, highest)
    else:
        optimizer = torch.optim.SGD(variables, highest, momentum=0.9, weight_decay=5e-4)
    low_precision = arguments.precision == "bfloat16"
    if low_precision:
        model.to(memory_format=torch.channels_last)
    model.train()
    losses: list[float] = []
    limit, begin = 60 * arguments.minutes, time.perf_counter()
    batches = endless(data, arguments.batch_size)
    while (seconds := time.perf_counter() - begin) < limit:
        images, targets = next(batches)
        cosine = (1 + math.cos(math.pi * seconds / limit)) / 2
        warm_up = max((len(losses) + 1) / WARM_UP_STEPS, seconds / (WARM_UP_SHARE * limit))
        optimizer.param_groups[0]["lr"] = highest * cosine * min(1, warm_up)
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {len(losses)}, {time.perf_counter() - begin:.1f} s, loss {losses[-1]:.3f}", file=sys.stderr)
    return losses, seconds


@torch.inference_mode()
def detections(model: torch.nn.Module, tree: Path) -> dict[str, list[list[float]]]:
    """What the model finds on the images of ``val``, in float32 and with the model's own thresholds."""
    model.eval()
    data = Images(tree, "val", v2.ToDtype(torch.float32, scale=True))
    found = {}
    for index, name in enumerate(data.ids):
        image, _ = data[index]
        height, width = image.shape[-2:]
        one = model([image])[0]
        boxes = one["boxes"][:, [1, 0, 3, 2]] / torch.tensor([height, width, height, width])
        rows = zip(one["labels"].tolist(), one["scores"].tolist(), boxes.tolist(), strict=True)
        found[name] = [[label, score, *box] for label, score, box in rows]
    return found


def main() -> None:
    """Trains, then detects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("weights")
    parser.add_argument("minutes", type=float, help="wall time of the training")
    parser.add_argument("--optimizer", choices=tuple(RATES), default="adam")
    parser.add_argument("--rate", type=float, help="highest learning rate (default: .002 for sgd, 1e-4 for adam)")
    parser.add_argument("--trainable", type=int, choices=range(6), default=4, help="of VGG16's blocks, from the last")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--cores", type=int, help="threads (default: torch's)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    if arguments.cores:
        torch.set_num_threads(arguments.cores)
    torch.manual_seed(0)
    data = Images(arguments.tree, "train", training_transforms())
    model = make_model(len(data.labels), arguments.weights, arguments.trainable)
    losses, seconds = train(model, data, arguments)
    found = detections(model, arguments.tree)
    print(json.dumps({"steps": len(losses), "seconds": seconds, "losses": losses, "detections": found}))


if __name__ == "__main__":
    main()
