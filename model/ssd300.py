"""The SSD300 network (paper section 2.1 and figure 2): VGG16, the extra stages, and the heads on six feature maps."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
from keras import layers

from ssd300.model import vgg16
from ssd300.model.layers import FusedBatchNormalization, L2Normalization, PixelNormalization
from ssd300.model.spec import IMAGE_SIZE, PresetName, Spec, earlier_spec, spec_named

if TYPE_CHECKING:
    from ssd300.model.weights.load import ClassList, ImportedWeights


@keras.saving.register_keras_serializable("ssd300")
class SSD300(keras.Model):
    """SSD300: RGB pixels 0 to 255 ``[B, 300, 300, 3]`` of any number type to class scores and box offsets.

    The output is a dictionary of float32 tensors: ``logits`` ``[B, 8732, num_classes]`` before softmax (class 0 is the
    background) and ``offsets`` ``[B, 8732, 4]``, in the order of `ssd300.model.default_boxes`. With 21 classes and the
    preset ``paper`` it has 26,285,486 parameters.

    Args:
        num_classes: classes with the background, 21 for VOC.
        preset: name of a specification, such as ``paper`` (the released Caffe model), or a `Spec` of your own.
        width: channels relative to the paper's, (0, 1]; the demo's narrow network has .125.
        norm: ``none``, or ``batch`` for a batch normalization after each convolution outside the heads.
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        preset: str | Spec = "paper",
        width: float = 1.0,
        norm: str = "none",
        name: str = "ssd300",
        **kwargs: Any,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes counts the background too and must be at least 2, got {num_classes}")
        if not 0 < width <= 1:
            raise ValueError(f"width must be in (0, 1], got {width}")
        if norm not in ("none", "batch"):
            raise ValueError(f"norm must be 'none' or 'batch', got {norm!r}")
        spec = preset if isinstance(preset, Spec) else spec_named(preset)
        inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="pixels")
        stages = _stages(PixelNormalization(spec.pixels, name="normalization")(inputs), spec, width=width, norm=norm)
        super().__init__(inputs, _heads(stages, spec, num_classes), name=name, **kwargs)
        self.num_classes, self.spec, self.width, self.norm = num_classes, spec, width, norm

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "preset": self.spec.to_plain(),
            "width": self.width,
            "norm": self.norm,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SSD300":
        """A new network with the arguments that `get_config` gave."""
        config = dict(config)
        trainable = config.pop("trainable", True)
        preset = config.pop("preset", "paper")
        config["preset"] = earlier_spec(preset) if isinstance(preset, str) else Spec.from_plain(preset)
        model = cls(**config)
        model.trainable = trainable
        return model

    @classmethod
    def from_weights(
        cls,
        path: str | Path,
        *,
        classes: "ClassList | None" = None,
        channels: Literal["rgb", "bgr"] | None = None,
        preset: PresetName | None = None,
    ) -> "ImportedWeights":
        """The network of another project's file of trained weights, with its class list and passport.

        See `ssd300.model.weights.load.load_trained` for the arguments and errors.
        """
        from ssd300.model.weights.load import load_trained

        return load_trained(path, classes=classes, channels=channels, preset=preset)


def _stages(pixels: Any, spec: Spec, *, width: float, norm: str) -> dict[str, Any]:
    """The six feature maps that carry heads, by the names of their layers."""

    def conv(x: Any, channels: int, kernel: int, name: str, **options: Any) -> Any:
        return vgg16.convolution(x, vgg16.scaled(channels, width), kernel, name=name, norm=norm, **options)

    base = vgg16.features(pixels, width=width, norm=norm)
    stages = {"conv4_3": base["conv4_3"]}
    x = base["conv5_3"]
    # pool4 is 19x19 already; pool5 keeps that resolution, and fc6's dilation makes up for the stride VGG16 had there.
    if spec.pool5:
        x = layers.MaxPooling2D(3, 1, padding="same", name="pool5")(x)
    x = conv(x, 1024, 3, "fc6", dilation=6)
    stages["fc7"] = x = conv(x, 1024, 1, "fc7")
    for stage, (narrow, wide) in {"conv8": (256, 512), "conv9": (128, 256)}.items():
        x = conv(x, narrow, 1, f"{stage}_1")
        # Caffe pads one pixel on each side. Keras's `same` with stride 2 pads an even size on one side only, which
        # shifts the window by a pixel and gives other numbers.
        x = layers.ZeroPadding2D(1, name=f"{stage}_2_pad")(x)
        stages[f"{stage}_2"] = x = conv(x, wide, 3, f"{stage}_2", stride=2, padding="valid")
    for stage in ("conv10", "conv11"):
        x = conv(x, 128, 1, f"{stage}_1")
        stages[f"{stage}_2"] = x = conv(x, 256, 3, f"{stage}_2", padding="valid")
    # Its features are larger than those of the later stages: only the head sees them normalized.
    if spec.conv4_3_norm == "l2":
        # 20 for the paper's 512 channels; a narrow network's channels get the same magnitude, not the same norm.
        norm4 = L2Normalization(20.0 * math.sqrt(width), name="conv4_3_norm")
    else:
        norm4 = FusedBatchNormalization(name="conv4_3_norm")
    stages["conv4_3"] = norm4(stages["conv4_3"])
    return stages


def _heads(stages: dict[str, Any], spec: Spec, num_classes: int) -> dict[str, Any]:
    """3x3 convolutions on every stage, joined in the order of the default boxes."""
    outputs = {}
    for output, values in (("logits", num_classes), ("offsets", 4)):
        parts = []
        for feature_map in spec.feature_maps:
            head = f"{feature_map.name}_{output}"
            channels = len(feature_map.shapes) * values
            convolution = layers.Conv2D(channels, 3, padding="same", kernel_initializer="lecun_uniform", name=head)
            x = convolution(stages[feature_map.name])
            parts.append(layers.Reshape((feature_map.boxes, values), name=f"{head}_boxes")(x))
        # float32 whatever the precision of the network: softmax and logarithms follow.
        outputs[output] = layers.Concatenate(axis=1, dtype="float32", name=output)(parts)
    return outputs
