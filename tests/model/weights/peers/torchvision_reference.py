"""torchvision's own SSD300 with random weights, and its resizing of images in NumPy.

torch runs in a process of its own: imported after TensorFlow, it ends some interpreters with a segmentation fault.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import numpy as np
from layouts import PEERS


def installed() -> bool:
    """Whether torchvision is installed, without importing it."""
    return find_spec("torchvision") is not None


class Detector:
    """torchvision's detector of a random network; a call gives the detections of uint8 images of any size."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __call__(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """For each RGB image ``[H, W, 3]``: ``boxes`` (corners, pixels of it), ``scores`` and ``labels``."""
        return self._run(_detect, list(images))

    def raw(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Logits ``[B, 8732, 91]`` and offsets ``[B, 8732, 4]``."""
        return self._run(_raw, list(images))

    def network_input(self, image: np.ndarray) -> np.ndarray:
        """What the network sees of an image, float32 ``[300, 300, 3]``, red first."""
        return self._run(_network_input, image)

    def default_boxes(self) -> np.ndarray:
        """Its default boxes as the decoder gets them, corners ``[8732, 4]`` in pixels."""
        return self._run(_default_boxes)

    def state_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of each tensor of its state dictionary, in order."""
        return self._run(_state_shapes)

    def close(self) -> None:
        """Ends the process."""
        self._process.shutdown()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._process.submit(function, self._seed, *arguments).result()


def make(seed: int) -> tuple[dict[str, np.ndarray], Detector]:
    """A random state dictionary with 91 classes, as arrays in the file's order, and torchvision's detector of it.

    The scores spread over all of (0, 1) and thousands are over the threshold. torchvision must be installed.
    """
    return _tensors(seed), Detector(seed)


def resize(image: np.ndarray) -> np.ndarray:
    """A uint8 image ``[H, W, 3]`` as torchvision resizes it: float32 ``[300, 300, 3]``, 0 to 255, not rounded.

    Bilinear between pixel centers and without antialiasing, at any reduction. torchvision normalizes first; both steps
    are linear, so their order makes no difference but rounding.
    """
    image = image.astype(np.float32)
    for axis in (0, 1):
        length = image.shape[axis]
        # In float32, as in torch: on 1,000 rows that is a hundredth of a gray level.
        position = (
            (np.arange(300, dtype=np.float32) + np.float32(0.5)) * np.float32(length / 300) - np.float32(0.5)
        ).clip(0)
        before = position.astype(int)
        after = np.minimum(before + 1, length - 1)
        part = (position - before.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(3)])
        image = image.take(before, axis) * (1 - part) + image.take(after, axis) * part
    return image


def _tensors(seed: int) -> dict[str, np.ndarray]:
    return PEERS["torchvision"].random_tensors(seed)


# What follows runs in the process of torch.


@lru_cache(maxsize=1)
def _model(seed: int) -> Any:
    import torch
    from torchvision.models.detection import ssd300_vgg16

    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=PEERS["torchvision"].classes)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in _tensors(seed).items()})
    return model.eval().requires_grad_(False)


def _tensor(image: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def _detect(seed: int, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    results = _model(seed)([_tensor(image) for image in images])
    return [{name: value.numpy() for name, value in result.items()} for result in results]


def _raw(seed: int, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    model = _model(seed)
    batch, _ = model.transform([_tensor(image) for image in images])
    heads = model.head(list(model.backbone(batch.tensors).values()))
    return heads["cls_logits"].numpy(), heads["bbox_regression"].numpy()


def _network_input(seed: int, image: np.ndarray) -> np.ndarray:
    batch, _ = _model(seed).transform([_tensor(image)])
    return batch.tensors[0].numpy().transpose(1, 2, 0)


def _default_boxes(seed: int) -> np.ndarray:
    import torch

    model = _model(seed)
    features = [torch.zeros(1, 1, cells, cells) for cells in (38, 19, 10, 5, 3, 1)]
    batch, _ = model.transform([torch.zeros(3, 300, 300)])
    return model.anchor_generator(batch, features)[0].numpy()


def _state_shapes(seed: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(tensor.shape)) for name, tensor in _model(seed).state_dict().items()]
