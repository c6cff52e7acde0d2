"""SSD300 with the training step of the released model: mined loss, coupled weight decay, faster biases."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ssd300.model.losses import LossTerms, MultiBoxLoss
from ssd300.model.ssd300 import SSD300
from ssd300.training.step_means import StepMeans

WEIGHT_DECAY = 5e-4
Targets = dict[str, tf.Tensor]


class TrainableSSD300(SSD300):
    """An `SSD300` that `fit` trains. Its weights are those of `SSD300`, file for file."""

    train_function: Any  # Keras's, made by `make_train_function`

    def compile(
        self,
        optimizer: Any,
        *,
        weight_decay: float = WEIGHT_DECAY,
        bias_multiplier: float = 2.0,
        multibox_loss: MultiBoxLoss | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        report_steps: bool = True,
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
            clip_norm: limit of the norm of all gradients together, of the L2 term and of the faster biases too.
            accumulate: number of equal parts that a batch is computed in, one after another. The gradients are those of
                the whole batch; only a batch normalization sees the parts.
            report_steps: whether a step returns the means since the beginning of the epoch, as `fit` shows them, which
                costs a wait for the device. Otherwise `row` has those since the last row.
            **kwargs: further arguments of Keras's ``compile``, such as ``jit_compile``.
        """
        super().compile(optimizer=optimizer, **kwargs)
        self.weight_decay, self.bias_multiplier = weight_decay, bias_multiplier
        self.multibox_loss = multibox_loss or MultiBoxLoss()
        self.clip_norm, self.accumulate, self._report_steps = clip_norm, accumulate, report_steps
        self.row, self._tested = StepMeans(), StepMeans()

    def freeze(self, blocks: int) -> None:
        """Keeps the weights of VGG16's first `blocks` blocks, 0 to 5, as they are; before `compile`."""
        names = tuple(f"conv{block}_{index}" for block in range(1, blocks + 1) for index in (1, 2, 3))
        for layer in self.layers:
            if layer.name in names or layer.name.removesuffix("_bn") in names:
                layer.trainable = False

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update from ``(pixels, targets)``, this replica's share of the batch.

        Losses are divided by the matches of the whole batch, of all replicas and parts. The targets may have
        ``waiting``, the seconds that the batch was waited for.
        """
        pixels, targets = data
        waiting = targets.get("waiting", tf.constant(0.0))
        targets = {name: targets[name] for name in ("labels", "offsets")}
        divisor = sum_over_replicas(self.multibox_loss.count(targets["labels"]))
        terms, l2, gradients = self._gradients(pixels, targets, divisor)
        variables = self.trainable_variables
        gradients = [
            gradient * self.bias_multiplier if variable.name == "bias" else gradient
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        self.optimizer.apply_gradients(zip(self._clipped(gradients), variables, strict=True))
        self.row.add(self._values(terms, l2, pixels, waiting))
        return self.row.result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """The mean loss of all ``(pixels, targets)`` since the last reset, without an update.

        A batch counts by what its loss is divided by, so that a small last batch changes nothing.
        """
        pixels, targets = data
        divisor = sum_over_replicas(self.multibox_loss.count(targets["labels"]))
        terms = self._terms(self(pixels, training=False), targets, divisor)
        self._tested.add(self._values(terms, self._l2(), pixels, tf.constant(0.0)), weight=divisor)
        return self._tested.result()

    def _gradients(
        self, pixels: tf.Tensor, targets: Targets, divisor: tf.Tensor
    ) -> tuple[LossTerms, tf.Tensor, list[tf.Tensor]]:
        """Loss terms, L2 term and gradients of this replica's share, computed in parts."""
        if self.accumulate == 1:
            return self._gradients_of_part(pixels, targets, divisor)

        def parts(batch: tf.Tensor) -> tf.Tensor:
            return tf.reshape(batch, tf.concat([[self.accumulate, -1], tf.shape(batch)[1:]], axis=0))

        pixels_of, targets_of = parts(pixels), {name: parts(batch) for name, batch in targets.items()}

        def add(part: tf.Tensor, terms: LossTerms, _: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[Any, ...]:
            own = {
                name: tf.ensure_shape(batch[part], [None, *targets[name].shape[1:]])
                for name, batch in targets_of.items()
            }
            images = tf.ensure_shape(pixels_of[part], [None, *pixels.shape[1:]])
            more_terms, l2, more = self._gradients_of_part(images, own, divisor)
            return (
                part + 1,
                LossTerms(*(a + b for a, b in zip(terms, more_terms, strict=True))),
                l2,
                [a + tf.cast(b, a.dtype) for a, b in zip(gradients, more, strict=True)],
            )

        zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.trainable_variables]
        begin = (tf.constant(0), LossTerms(*[tf.constant(0.0)] * len(LossTerms._fields)), tf.constant(0.0), zeros)
        _, terms, l2, gradients = tf.while_loop(
            lambda part, *_: part < self.accumulate, add, begin, parallel_iterations=1, swap_memory=False
        )
        return terms, l2, gradients

    def _gradients_of_part(
        self, pixels: tf.Tensor, targets: Targets, divisor: tf.Tensor
    ) -> tuple[LossTerms, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            terms = self._terms(self(pixels, training=True), targets, divisor)
            # The gradients of all parts and replicas are added up, so each has its share of the L2 term.
            l2 = self._l2()
            share = l2 / (self.accumulate * _replicas())
            # Without scale_loss float16's small gradients are lost.
            loss = self.optimizer.scale_loss(terms.loss + share)
        return terms, l2, tape.gradient(loss, self.trainable_variables)

    def _clipped(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """This replica's gradients such that their sum over the replicas, which the optimizer makes, is clipped."""
        if self.clip_norm is None and not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return gradients
        if _replicas() > 1:  # a loss scale must see an overflow of any replica
            gradients = [gradient / _replicas() for gradient in sum_over_replicas(gradients)]
        if self.clip_norm is None:
            return gradients
        limit = self.optimizer.scale_loss(tf.constant(self.clip_norm)) / _replicas()
        return tf.clip_by_global_norm(gradients, limit)[0]

    def _terms(self, outputs: dict[str, tf.Tensor], targets: Targets, divisor: tf.Tensor) -> LossTerms:
        return self.multibox_loss(
            targets["labels"],
            targets["offsets"],
            logits=outputs["logits"],
            predicted_offsets=outputs["offsets"],
            divisor=divisor,
        )

    def _l2(self) -> tf.Tensor:
        """Half the weight decay times the squares of all weights that decay."""
        if not self.weight_decay:
            return tf.constant(0.0)
        return self.weight_decay * tf.add_n([tf.nn.l2_loss(v.value) for v in self._decaying()])

    def _decaying(self) -> Sequence[Any]:
        return [variable for variable in self.trainable_variables if variable.name in ("kernel", "scale")]

    def _values(self, terms: LossTerms, l2: tf.Tensor, pixels: tf.Tensor, waiting: tf.Tensor) -> tf.Tensor:
        """The values of `step_means.NAMES` of the whole batch, of all replicas."""
        images = tf.cast(tf.shape(pixels)[0], tf.float32)
        sums = sum_over_replicas(tf.stack([terms.loss, terms.confidence, terms.localization, terms.matches, images]))
        return tf.concat([sums[:3], [l2, sums[3] / tf.maximum(sums[4], 1.0), waiting]], axis=0)

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that `fit` calls for each execution: without reports it waits for nothing."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        if not self._report_steps:
            function = self.train_function

            def without_report(iterator: Any) -> dict[str, Any]:
                function(iterator)
                return {}

            self.train_function = without_report

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """None of Keras's: the means of the steps are read once for many of them."""
        return []

    def reset_metrics(self) -> None:
        """Begins the means of an evaluation, or of an epoch whose steps report, anew."""
        self._tested.reset()
        if self._report_steps:
            self.row.reset()


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value: Any) -> Any:
    """The sum of a tensor, or of each in a list, over all replicas."""
    if _replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    devices = context.strategy.extended.worker_devices
    if len(devices) == 1:  # a worker's only replica leaves its tensors without a device, which TensorFlow refuses here
        with tf.device(devices[0]):
            value = tf.nest.map_structure(tf.identity, value)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
