import keras
import numpy as np
import pytest
import tensorflow as tf

from ssd300.model.losses import MultiBoxLoss
from ssd300.model.ssd300 import SSD300
from ssd300.training.optimizer import make_optimizer
from ssd300.training.settings import TrainSettings
from ssd300.training.trainable import TrainableSSD300


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    labels, offsets = np.zeros((2, 8732), np.int32), np.zeros((2, 8732, 4), np.float32)
    labels[0, [5, 8000]], offsets[0, [5, 8000]] = [1, 2], random.normal(size=(2, 4))
    pixels = random.integers(0, 256, (2, 300, 300, 3)).astype(np.uint8)
    return tf.constant(pixels), {"labels": tf.constant(labels), "offsets": tf.constant(offsets)}


def make(**options):
    keras.utils.set_random_seed(1)
    model = TrainableSSD300(3, width=0.02)  # eight channels everywhere
    model.compile(**{"optimizer": keras.optimizers.SGD(1e-3, momentum=0.9), "jit_compile": False, **options})
    return model


def test_a_step_is_gradient_descent_on_loss_and_l2_with_biases_twice_as_fast(batch):
    pixels, targets = batch
    model = make(weight_decay=0.01)
    before = [variable.numpy() for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = model(pixels, training=True)
        loss = MultiBoxLoss()(
            targets["labels"], targets["offsets"], logits=outputs["logits"], predicted_offsets=outputs["offsets"]
        ).loss
    gradients = tape.gradient(loss, model.trainable_variables)
    model.train_step(batch)
    for variable, old, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        # Caffe: w -= rate * (gradient + decay * w) for kernels and the scale, b -= 2 * rate * gradient for biases.
        decayed = gradient + 0.01 * old
        step = {"kernel": decayed, "bias": 2 * gradient, "scale": decayed}[variable.name]
        np.testing.assert_allclose(variable.numpy(), old - 1e-3 * step, rtol=1e-4, atol=1e-7)


def test_twenty_updates_are_those_of_caffes_solver(batch):
    """SGDSolver in NumPy: v = momentum * v + rate * lr_mult * (gradient + decay * decay_mult * w); w -= v."""
    pixels, targets = batch
    settings = TrainSettings("data", steps=18, warmup_steps=4, learning_rate=1e-3)
    model = make(optimizer=make_optimizer(settings), weight_decay=0.02)
    variables = model.trainable_variables
    weights = [variable.numpy().astype(np.float64) for variable in variables]
    velocity = [np.zeros_like(weight) for weight in weights]
    multipliers = {"kernel": (1, 1), "scale": (1, 1), "bias": (2, 0)}  # lr_mult and decay_mult
    for step in range(20):
        # Rises over four steps; a tenth from 2/3 of 18 on, a hundredth from 5/6.
        rate = 1e-3 * min(1, (step + 1) / 4) * (1 if step < 12 else 0.1 if step < 15 else 0.01)
        with tf.GradientTape() as tape:
            outputs = model(pixels, training=True)
            loss = MultiBoxLoss()(
                targets["labels"], targets["offsets"], logits=outputs["logits"], predicted_offsets=outputs["offsets"]
            ).loss
        for i, (variable, gradient) in enumerate(zip(variables, tape.gradient(loss, variables), strict=True)):
            lr_mult, decay_mult = multipliers[variable.name]
            decayed = gradient.numpy() + 0.02 * decay_mult * weights[i]
            velocity[i] = 0.9 * velocity[i] + rate * lr_mult * decayed
            weights[i] -= velocity[i]
        model.train_step(batch)
        for variable, weight in zip(variables, weights, strict=True):
            np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-3, atol=2e-6, err_msg=f"step {step}")


def test_reports_the_loss_terms_and_matches_a_picture(batch):
    logs = {name: float(value) for name, value in make(weight_decay=5e-4).train_step(batch).items()}
    assert set(logs) == {"loss", "confidence", "localization", "l2", "matches"}
    assert logs["matches"] == 1.0  # two matches on two images
    assert logs["loss"] == pytest.approx(logs["confidence"] + logs["localization"], rel=1e-5)
    assert logs["l2"] > 0


def test_l2_is_half_the_decay_times_the_squares_of_kernels_and_scale(batch):
    model = make(weight_decay=0.5)
    kernels = [v.numpy() for v in model.trainable_variables if v.path.endswith(("kernel", "scale"))]
    assert len(kernels) == 13 + 2 + 8 + 12 + 1  # VGG16, fc6 and fc7, four extra stages, heads, conv4_3_norm
    assert float(model.test_step(batch)["l2"]) == pytest.approx(0.25 * sum((k**2).sum() for k in kernels), rel=1e-4)


def test_testing_changes_nothing(batch):
    model = make()
    before = [variable.numpy() for variable in model.variables]
    model.test_step(batch)
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_weights_are_those_of_the_network_file_for_file(batch, tmp_path):
    model = make()
    model.train_step(batch)
    model.save_weights(tmp_path / "m.weights.h5")
    network = SSD300(3, width=0.02)
    network.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(network(batch[0])["logits"], model(batch[0])["logits"])


def test_the_loss_scale_of_float16_is_applied(batch, monkeypatch):
    optimizer = keras.optimizers.SGD(1e-3)
    scaled = []
    monkeypatch.setattr(optimizer, "scale_loss", lambda loss: scaled.append(loss) or loss)
    make(optimizer=optimizer).train_step(batch)
    assert len(scaled) == 1


def test_mixed_float16_trains(batch):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = make()
        logs = model.train_step(batch)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(float(logs["loss"]))


def test_fit_overfits_two_pictures(batch):
    model = make(optimizer=keras.optimizers.Adam(3e-3), weight_decay=0.0)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    history = model.fit(data, steps_per_epoch=10, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert history[-1] < 0.5 * history[0], history
