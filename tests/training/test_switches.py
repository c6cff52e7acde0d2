"""The switches that the paper's recipe has off: frozen blocks, averaged weights, clipping, rescaling, precision."""

import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.errors import InputError
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.training.callbacks import WarnRisingLoss
from ssd300.training.fit import resume, train
from ssd300.training.optimizer import averaged_weights, make_optimizer
from ssd300.training.precision import cpu_precision, fastest_precision, gpu_precision
from ssd300.training.run_directory import Best, RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.start import rescale_new_layers
from ssd300.training.trainable import TrainableSSD300
from ssd300.training.validation import is_exhausted


def one_weight(**settings):
    """A model of one weight, 1.0, whose optimizer is that of the settings."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(make_optimizer(TrainSettings("d", schedule="constant", **settings)))
    model.optimizer.build(model.trainable_variables)
    return model


def move(model, gradient):
    model.optimizer.apply_gradients([(tf.constant([[gradient]]), model.trainable_variables[0])])
    return float(model.trainable_variables[0].numpy()[0, 0])


def test_gradients_above_the_norm_are_cut_to_it():
    model = TrainableSSD300(3, width=0.02)
    model.compile(keras.optimizers.SGD(0.1), clip_norm=2.0)
    model.optimizer.build(model.trainable_variables)
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]  # a norm of 5
    first, second = model._clipped(gradients)
    np.testing.assert_allclose(first, [1.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(second, [[1.6]], rtol=1e-6)
    np.testing.assert_allclose(model._clipped([tf.constant([1.5])])[0], [1.5])
    model.compile(keras.optimizers.SGD(0.1))
    assert model._clipped(gradients) is gradients


def test_a_scaled_gradient_is_cut_as_it_is_without_its_scale():
    model = TrainableSSD300(3, width=0.02)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8.0)
    model.compile(optimizer, clip_norm=2.0)
    optimizer.build(model.trainable_variables)
    np.testing.assert_allclose(model._clipped([tf.constant([24.0, 32.0])])[0], [9.6, 12.8], rtol=1e-6)


def test_the_average_is_that_of_the_weights_after_each_step():
    model = one_weight(learning_rate=0.1, ema=0.75)
    weights = [move(model, 1.0), move(model, 2.0)]  # momentum .9: velocities -.1 and -.29
    assert weights == pytest.approx([0.9, 0.61])
    with averaged_weights(model):
        assert float(model.trainable_variables[0].numpy()[0, 0]) == pytest.approx(0.75 * 0.9 + 0.25 * 0.61)
    assert float(model.trainable_variables[0].numpy()[0, 0]) == pytest.approx(0.61)


def test_without_an_average_the_weights_stay():
    model = one_weight(learning_rate=0.1)
    with averaged_weights(model):
        assert float(model.trainable_variables[0].numpy()[0, 0]) == 1.0


def test_frozen_blocks_get_no_update():
    model = TrainableSSD300(3, width=0.02, norm="batch")
    model.freeze(2)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    names = {variable.path.split("/")[0] for variable in model.trainable_variables}
    for layer in ("conv1_1", "conv1_2_bn", "conv2_1", "conv2_2_bn"):
        assert layer not in names
    assert {"conv3_1", "conv3_1_bn", "conv10_1", "conv11_2"} <= names


def test_rescaled_layers_have_outputs_of_a_root_mean_square_of_one():
    keras.utils.set_random_seed(0)
    model = SSD300(3, width=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 300, 300, 3)).astype(np.uint8)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    rescale_new_layers(model, tf.constant(pixels))
    for name in ("fc6", "fc7", "conv8_1", "conv8_2", "conv9_2", "conv10_1", "conv11_2"):
        outputs = keras.Model(model.input, model.get_layer(f"{name}_relu").output)(pixels)
        assert float(tf.sqrt(tf.reduce_mean(tf.square(outputs)))) == pytest.approx(1, rel=1e-3), name
    for name in ("conv5_3", "fc7_logits", "conv11_2_offsets"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], before[name][0])


def told(losses):
    """The step at which the warning comes for these losses, which become rows of ten steps."""
    listener = WarnRisingLoss()
    for step in range(10, len(losses) + 1, 10):
        listener.on_row({"loss": float(np.mean(losses[step - 10 : step]))})
        if listener._is_said:
            return step
    return None


def test_a_loss_that_rises_for_a_hundred_steps_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert told([5.0] * 50 + [6.0] * 60) == 100
    assert "from 5.00 to 6.00" in caplog.text
    assert caplog.text.count("has risen") == 1


@pytest.mark.parametrize("losses", [[5.0] * 300, np.linspace(9, 2, 300), [5.0, 5.4] * 150, [5.0] * 50 + [5.4] * 50])
def test_a_loss_that_does_not_rise_is_not(losses):
    assert told(losses) is None


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        ((9, 0), "mixed_bfloat16"),
        ((8, 6), "mixed_bfloat16"),
        ((7, 5), "mixed_float16"),
        ((6, 1), "float32"),
        (None, "float32"),
    ],
)
def test_a_gpus_precision_follows_from_its_generation(capability, policy):
    assert gpu_precision(capability) == policy


@pytest.mark.parametrize(("share", "policy"), [(0.5, "mixed_bfloat16"), (0.95, "float32"), (10.0, "float32")])
def test_a_cpus_precision_is_the_faster_one(share, policy):
    assert cpu_precision({tf.float32: 1.0, tf.bfloat16: share}.__getitem__) == policy


def test_this_machine_has_a_precision():
    assert fastest_precision() in ("float32", "mixed_float16", "mixed_bfloat16")


def test_patience_counts_epochs_since_the_best_step():
    settings = SimpleNamespace(patience=3)
    assert not is_exhausted(None, settings, 1000, 10)
    assert not is_exhausted(Best(20, 0.5), settings, 49, 10)
    assert is_exhausted(Best(20, 0.5), settings, 50, 10)
    assert not is_exhausted(Best(20, 0.5), SimpleNamespace(patience=None), 5000, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"keep_best": True}, "keep_best needs a validation_split"), ({"patience": 2}, "patience needs keep_best")],
)
def test_settings_that_need_others_say_so(settings, message):
    with pytest.raises(InputError, match=message):
        TrainSettings("d", **settings)


def test_a_checkpoint_holds_the_average_and_a_resumed_run_continues_from_the_weights(shapes_dataset, tmp_path):
    small = {"width": 0.02, "weights": "none", "batch_size": 4, "augmentation": NO_AUGMENTATION, "seed": 3}
    options = {**small, "ema": 0.5, "schedule": "constant", "freeze": 1, "clip_norm": 5.0, "label_smoothing": 0.1}
    whole = train(TrainSettings(shapes_dataset, steps=4, checkpoint_steps=2, **options), tmp_path / "whole")
    cut = RunDirectory(tmp_path / "cut")
    train(TrainSettings(shapes_dataset, steps=2, **options), cut.path)
    resume(cut.path, steps=4)
    averaged, raw = (run.load_model()[0].get_weights() for run in (whole, cut))
    for one, other in zip(averaged, raw, strict=True):
        np.testing.assert_array_equal(one, other)
    plain = train(TrainSettings(shapes_dataset, steps=4, **{**options, "ema": None}), tmp_path / "plain")
    last = plain.load_model()[0].get_weights()
    assert any(not np.array_equal(one, other) for one, other in zip(averaged, last, strict=True))


def test_training_stops_where_the_map_no_longer_rises(shapes_dataset, tmp_path, capsys):
    small = {"width": 0.02, "weights": "none", "batch_size": 12, "augmentation": NO_AUGMENTATION}
    best = {"validation_split": "test", "keep_best": True, "patience": 2}
    # At a rate of next to nothing the first mAP stays the best.
    run = train(TrainSettings(shapes_dataset, steps=40, learning_rate=1e-12, **small, **best), tmp_path / "run")
    kept = run.read_best()
    assert run.load_model()[2] == kept.step
    assert run.newest_checkpoint()[0] < 40
    assert "stopped: no better mAP in 2 epochs" in capsys.readouterr().err
    history = run.history_path.read_text()
    resume(run.path)
    assert run.history_path.read_text() == history
