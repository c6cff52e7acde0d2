"""VGG16 (Simonyan and Zisserman 2014, configuration D): the convolutions of SSD300, and the classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

from ssd300.model.layers import DilatedConvolution, FusedBatchNormalization, PixelNormalization
from ssd300.model.spec import VGG16_PIXELS, PixelSpec

# Layers per block and their channels.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def scaled(channels: int, width: float) -> int:
    """`channels` of the full network at a relative `width`, at least 8."""
    return max(8, round(channels * width))


def convolution(
    features: Any,
    channels: int,
    kernel: int,
    *,
    name: str,
    norm: str = "none",
    stride: int = 1,
    dilation: int = 1,
    padding: str = "same",
) -> Any:
    """Convolution, ReLU and, for `norm` ``batch``, a batch normalization between them; Xavier kernel, zero bias.

    One with a dilation has the stride 1 and the padding ``same``.
    Caffe's Xavier is uniform within sqrt(3 / fan_in), which Keras calls LeCun's; Keras's Glorot counts outputs too.
    """
    options: dict[str, Any] = {"use_bias": norm == "none", "kernel_initializer": "lecun_uniform", "name": name}
    if dilation > 1:
        features = DilatedConvolution(channels, kernel, dilation_rate=dilation, **options)(features)
    else:
        features = layers.Conv2D(channels, kernel, strides=stride, padding=padding, **options)(features)
    if norm == "batch":
        # A momentum of .9 follows short trainings; Keras's own .99 needs hundreds of steps to forget its start.
        features = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(features)
    return layers.ReLU(name=f"{name}_relu")(features)


def features(pixels: Any, *, width: float = 1.0, norm: str = "none") -> dict[str, Any]:
    """The thirteen convolutions, conv1_1 to conv5_3, on normalized pixels ``[B, H, W, 3]``.

    Returns:
        ``conv4_3`` at 1/8 and ``conv5_3`` at 1/16 of the resolution, rounded up; pool5 is the caller's.
    """
    stages, x = {}, pixels
    for block, (count, channels) in enumerate(BLOCKS, start=1):
        if block > 1:
            # Keras's `same` pooling rounds up, as Caffe does: 75 becomes 38.
            x = layers.MaxPooling2D(2, 2, padding="same", name=f"pool{block - 1}")(x)
        for index in range(1, count + 1):
            x = convolution(x, scaled(channels, width), 3, name=f"conv{block}_{index}", norm=norm)
        stages[f"conv{block}_{count}"] = x
    return {name: stages[name] for name in ("conv4_3", "conv5_3")}


# Name, as Keras has it, and MD5 of its files: the convolutions alone, and with the classifier (553 MB).
_FILES = {
    "imagenet": ("vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "imagenet-full": ("vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
}
# The classifier's layers: name here, name in the file, and positions along a side that a unit sees.
_DENSE = (("fc6", "fc1", 7), ("fc7", "fc2", 1))


def VGG16(classes: int = 1000, *, image_size: int = 224, pixels: PixelSpec = VGG16_PIXELS) -> keras.Model:
    """The classification network with its head (flatten, 4096, 4096, softmax), for pretraining: 138,357,544 parameters.

    Input RGB pixels 0 to 255 ``[B, image_size, image_size, 3]``; output probabilities ``[B, classes]``.
    """
    if classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes, got {classes}")
    inputs = keras.Input((image_size, image_size, 3), name="pixels")
    x = features(PixelNormalization(pixels, name="normalization")(inputs))["conv5_3"]
    x = layers.MaxPooling2D(2, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="vgg16")


def load_weights(model: keras.Model, weights: str | Path) -> None:
    """Puts VGG16's ImageNet weights into `model` (SSD300 or VGG16, full width, without batch normalization).

    All convolutions are filled; of a file with the classifier's head also SSD300's fc6 and fc7, which are the
    classifier's first two layers, decimated (see `decimate`).

    Args:
        weights: path of a file in the layout of Keras's applications, with or without the classifier's head;
            ``imagenet`` or ``imagenet-full``, the one without and the one with it, which Keras downloads and keeps in
            its cache.

    Raises:
        ValueError: the file lacks a convolution, or a shape differs from the model's.
    """
    if str(weights) in _FILES:
        weights = _download(*_FILES[str(weights)])
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"weights must be {', '.join(_FILES)} or a file, got {path}: no such file")
    for layer, arrays in _read(model, path):  # all are read and checked before the first is set
        layer.set_weights(arrays)


def decimate(kernel: np.ndarray, bias: np.ndarray, shape: Sequence[int], *, size: int) -> list[np.ndarray]:
    """A dense layer as a smaller convolution, by leaving out rows, columns and channels at equal distances.

    Caffe's VGG16 with a reduced fc6 and fc7, which the released SSD started from: of fc6, 7x7 positions of 512
    channels to 4096, every third row and column and every fourth output; of fc7 every fourth input and output.

    Args:
        kernel: of the dense layer, ``[size * size * inputs, outputs]``, the inputs flattened as height, width,
            channels.
        bias: of the dense layer, ``[outputs]``.
        shape: of the convolution's kernel, ``(height, width, inputs, outputs)``.
        size: positions along a side of what the dense layer sees.

    Returns:
        Kernel, of that shape, and bias of the convolution.

    Raises:
        ValueError: the sizes are no multiples of each other.
    """
    height, width, inputs, outputs = shape
    channels = kernel.shape[0] // (size * size)
    fits = (
        kernel.ndim == 2
        and kernel.shape == (size * size * channels, len(bias))
        and channels % inputs == 0
        and kernel.shape[1] % outputs == 0
        and height == width <= size
    )
    if not fits:
        raise ValueError(f"a dense layer of {kernel.shape} cannot be decimated to a convolution of {tuple(shape)}")
    step = 1 if height == 1 else (size - 1) // (height - 1)  # 3 for 7 positions of which 3 are kept
    every_input, every_output = channels // inputs, kernel.shape[1] // outputs
    positions = kernel.reshape(size, size, channels, -1)[: step * height : step, : step * width : step]
    return [np.ascontiguousarray(positions[:, :, ::every_input, ::every_output]), bias[::every_output].copy()]


def _read(model: keras.Model, path: Path) -> list[tuple[keras.layers.Layer, list[np.ndarray]]]:
    """The model's layers with their kernels and biases in the file."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: expected an HDF5 file of weights: {error}") from None
    found = []
    with file:
        for block, (count, _) in enumerate(BLOCKS, start=1):
            for index in range(1, count + 1):
                layer, stored = model.get_layer(f"conv{block}_{index}"), f"block{block}_conv{index}"
                if stored not in file or "weight_names" not in file[stored].attrs:
                    raise ValueError(f"{path}: expected the layers of Keras's VGG16, but {stored} is not there")
                arrays = _arrays(file, stored, path)
                expected = [tuple(variable.shape) for variable in layer.weights]
                if [array.shape for array in arrays] != expected:
                    raise ValueError(
                        f"{path}: {stored} has shapes {[array.shape for array in arrays]}, but the model's {layer.name}"
                        f" expects {expected}; VGG16 weights fit a model of width 1 without batch normalization"
                    )
                found.append((layer, arrays))
        for name, stored, size in _DENSE:
            layer = next((one for one in model.layers if one.name == name), None)
            if stored in file and isinstance(layer, layers.Conv2D):
                try:
                    kernel, bias = _arrays(file, stored, path)
                    found.append((layer, decimate(kernel, bias, layer.kernel.shape, size=size)))
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{path}: {stored}: {error}") from None
    return found


def _arrays(file: Any, stored: str, path: Path) -> list[np.ndarray]:
    """A layer's arrays: files of Keras's applications list their names, kernel first, in an attribute."""
    try:
        return [file[stored][name][()] for name in file[stored].attrs["weight_names"]]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: {stored} cannot be read, the file is damaged: {error}") from None


def _download(file: str, md5: str) -> str:
    try:
        return keras.utils.get_file(
            file,
            f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{file}",
            cache_subdir="models",
            file_hash=md5,
        )
    except Exception as error:  # Keras raises a bare Exception where there is no network
        raise ValueError(
            f"the ImageNet weights cannot be downloaded: {error}; give the file {file}, or train without them (none)"
        ) from None
