"""SSD300 with the training step of the released model: mined loss, coupled weight decay, faster biases."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ssd300.model.losses import LossTerms, MultiBoxLoss
from ssd300.model.ssd300 import SSD300

WEIGHT_DECAY = 5e-4


class TrainableSSD300(SSD300):
    """An `SSD300` that `fit` trains. Its weights are those of `SSD300`, file for file."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.multibox_loss = MultiBoxLoss()
        self.weight_decay, self.bias_multiplier = WEIGHT_DECAY, 2.0
        names = ("loss", "confidence", "localization", "l2", "matches")
        self._means = [keras.metrics.Mean(name=name) for name in names]

    def compile(
        self,
        optimizer: Any,
        *,
        weight_decay: float = WEIGHT_DECAY,
        bias_multiplier: float = 2.0,
        multibox_loss: MultiBoxLoss | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures the training.

        Args:
            optimizer: a Keras optimizer; its own ``weight_decay`` is another (decoupled) one and should stay unset.
            weight_decay: of kernels and of conv4_3_norm's scale, coupled as in Caffe: half of it times their squares is
                added to the loss. The scale's layer has no ``param`` block in the released prototxt, so it decays too.
            bias_multiplier: relative learning rate of biases (Caffe's ``lr_mult: 2``). It multiplies their gradients,
                which is the same for SGD with momentum and means nothing to Adam.
            multibox_loss: the loss, with the paper's settings by default.
            **kwargs: further arguments of Keras's ``compile``, such as ``jit_compile``.
        """
        super().compile(optimizer=optimizer, **kwargs)
        self.weight_decay, self.bias_multiplier = weight_decay, bias_multiplier
        self.multibox_loss = multibox_loss or MultiBoxLoss()

    def freeze(self, blocks: int) -> None:
        """Keeps the weights of VGG16's first `blocks` blocks, 0 to 5, as they are; before `compile`."""
        names = tuple(f"conv{block}_{index}" for block in range(1, blocks + 1) for index in (1, 2, 3))
        for layer in self.layers:
            if layer.name in names or layer.name.removesuffix("_bn") in names:
                layer.trainable = False

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update from ``(pixels, targets)``."""
        pixels, targets = data
        with tf.GradientTape() as tape:
            terms = self._terms(self(pixels, training=True), targets)
            l2 = self._l2()
            # Without scale_loss float16's small gradients are lost.
            loss = self.optimizer.scale_loss(terms.loss + l2)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        gradients = [
            gradient * self.bias_multiplier if variable.name == "bias" else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self._update(terms, l2, pixels)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The loss of ``(pixels, targets)`` without an update."""
        pixels, targets = data
        return self._update(self._terms(self(pixels, training=False), targets), self._l2(), pixels)

    def _terms(self, outputs: dict[str, tf.Tensor], targets: dict[str, tf.Tensor]) -> LossTerms:
        return self.multibox_loss(
            targets["labels"], targets["offsets"], logits=outputs["logits"], predicted_offsets=outputs["offsets"]
        )

    def _l2(self) -> tf.Tensor:
        """Half the weight decay times the squares of all weights that decay."""
        if not self.weight_decay:
            return tf.constant(0.0)
        return self.weight_decay * tf.add_n([tf.nn.l2_loss(v.value) for v in self._decaying()])

    def _decaying(self) -> Sequence[Any]:
        return [variable for variable in self.trainable_variables if variable.name in ("kernel", "scale")]

    def _update(self, terms: LossTerms, l2: tf.Tensor, pixels: tf.Tensor) -> dict[str, Any]:
        batch = tf.cast(tf.shape(pixels)[0], tf.float32)
        values = (terms.loss, terms.confidence, terms.localization, l2, terms.matches / batch)
        for mean, value in zip(self._means, values, strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self._means}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over an epoch: the loss and its two terms, the L2 term, and matched default boxes per image."""
        return self._means
