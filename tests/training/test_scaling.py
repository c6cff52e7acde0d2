"""One update, however it is shared out: over devices, over parts of a batch, in half precision."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssd300.datasets.errors import InputError
from ssd300.model.losses import MultiBoxLoss
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.training.fit import resume, train
from ssd300.training.run_directory import RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.trainable import TrainableSSD300

# Trains in a process of its own, as the number of logical devices is fixed when TensorFlow starts.
ON_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
from test_scaling import train_in
train_in(*sys.argv[2:])
"""


OPTIONS = {"ema": 0.5, "clip_norm": 3.0, "validation_split": "test"}


def settings_for(dataset, **changes):
    # At a low rate rounding errors stay small; at a higher one they grow tenfold every few steps.
    small = {"width": 0.02, "weights": "none", "batch_size": 4, "augmentation": NO_AUGMENTATION, "seed": 3}
    return TrainSettings(
        dataset,
        **{**small, "learning_rate": 1e-4, "steps": 20, "checkpoint_steps": 8, "schedule": "constant", **changes},
    )


def train_in(dataset, whole, cut=None):
    """A run of twenty steps, and one that is stopped after the eighth and resumed."""
    train(settings_for(dataset, **OPTIONS), whole)
    if cut is None:
        return
    train(settings_for(dataset, steps=8, schedule_steps=20, **OPTIONS), cut)
    resume(cut, steps=20)


def weights_of(run):
    return RunDirectory(run).load_model()[0].get_weights()


def assert_close(first, second, *, rtol, atol):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def losses_of(run):
    lines = RunDirectory(run).history_path.read_text().splitlines()
    return [float(line.split(",")[2] or line.split(",")[10]) for line in lines[1:]]


def train_on_two_devices(*arguments):
    command = [sys.executable, "-c", ON_DEVICES, "2", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_on_two_devices_resumes_bit_for_bit(shapes_dataset, tmp_path):
    train_on_two_devices(shapes_dataset, tmp_path / "two", tmp_path / "cut")
    assert_close(weights_of(tmp_path / "two"), weights_of(tmp_path / "cut"), rtol=0, atol=0)


def test_two_devices_make_the_updates_of_one(shapes_dataset, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    train_on_two_devices(shapes_dataset, two)
    train(settings_for(shapes_dataset, **OPTIONS), one)
    np.testing.assert_allclose(losses_of(one), losses_of(two), rtol=1e-3)
    assert_close(weights_of(one), weights_of(two), rtol=1e-3, atol=1e-4)


def test_a_batch_in_parts_makes_the_updates_of_the_whole(shapes_dataset, tmp_path):
    whole = train(settings_for(shapes_dataset, batch_size=6, steps=12, clip_norm=3.0), tmp_path / "whole")
    parts = train(settings_for(shapes_dataset, batch_size=2, accumulate=3, steps=12, clip_norm=3.0), tmp_path / "parts")
    np.testing.assert_allclose(losses_of(whole.path), losses_of(parts.path), rtol=1e-3)
    assert_close(weights_of(whole.path), weights_of(parts.path), rtol=1e-3, atol=1e-4)


def test_several_steps_in_one_execution_are_the_same_steps(shapes_dataset, tmp_path):
    options = {"steps": 12, "checkpoint_steps": 6, "ema": 0.5}
    one = train(settings_for(shapes_dataset, **options), tmp_path / "one")
    three = train(settings_for(shapes_dataset, steps_per_execution=3, **options), tmp_path / "three")
    assert_close(weights_of(one.path), weights_of(three.path), rtol=1e-4, atol=1e-6)
    for run in (one, three):
        assert [step for step, _ in run.checkpoints()] == [6, 12]
        rows = run.history_path.read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == (["10", "12"] if run is one else ["12"])


def test_steps_that_executions_do_not_divide_are_refused():
    with pytest.raises(InputError, match="steps must be a multiple of steps_per_execution, got 20 and 3"):
        settings_for("d", steps_per_execution=3)


def make_batch(sizes):
    random = np.random.default_rng(0)
    labels = np.zeros((len(sizes), 8732), np.int32)
    for image, matches in enumerate(sizes):
        labels[image, random.choice(8732, matches, replace=False)] = 1
    pixels = random.integers(0, 256, (len(sizes), 300, 300, 3)).astype(np.uint8)
    offsets = random.normal(size=(len(sizes), 8732, 4)).astype(np.float32)
    return tf.constant(pixels), {"labels": tf.constant(labels), "offsets": tf.constant(offsets)}


def updated(batch, **options):
    keras.utils.set_random_seed(1)
    model = TrainableSSD300(3, width=0.02)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False, **options)
    logs = model.train_step(batch)
    return model.get_weights(), {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("sizes", [(7, 0, 1, 3), (0, 0, 0, 5), (0, 0, 0, 0)])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"weight_decay": 0.3}])
def test_parts_with_unequal_matches_are_divided_by_those_of_the_whole(sizes, options):
    batch = make_batch(sizes)
    loss = MultiBoxLoss(negatives_per_empty_image=2 if not sum(sizes) else 0)
    whole, logs = updated(batch, multibox_loss=loss, **options)
    for parts in (2, 4):
        weights, same = updated(batch, multibox_loss=loss, accumulate=parts, **options)
        assert_close(whole, weights, rtol=1e-4, atol=1e-6)
        assert same == pytest.approx(logs, rel=1e-4)


def test_an_overflow_of_float16_skips_its_update_and_lowers_the_scale():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(1)
        model = TrainableSSD300(3, width=0.02)
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), jit_compile=False, clip_norm=10.0)
        model.optimizer.build(model.trainable_variables)
        batch, step = make_batch((3, 5)), tf.function(model.train_step)
        scales = []
        for number in range(20):
            if number == 7:
                model.optimizer.dynamic_scale.assign(2.0**40)
                before = model.get_weights()
            step(batch)
            scales.append(float(model.optimizer.dynamic_scale))
            if number == 7:
                assert_close(before, model.get_weights(), rtol=0, atol=0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert scales[7] == 2.0**39
    assert int(model.optimizer.iterations) < 20  # Keras counts updates; a run counts its steps
    assert model.row.read().steps == 20
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_skipped_updates_are_steps_all_the_same(shapes_dataset, tmp_path):
    try:
        run = train(settings_for(shapes_dataset, precision="mixed_float16", steps=4), tmp_path / "run")
        model = TrainableSSD300(**run.read_config().model_arguments())
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        run.load_newest(model)
        model.optimizer.inner_optimizer.iterations.assign(3)  # as after one overflow
        run.save_checkpoint(model, 4, keep=1)
        resume(run.path, steps=6)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert run.newest_checkpoint()[0] == 6
