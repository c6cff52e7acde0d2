"""Starting from another run: what is carried over by hand-made numbers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError
from ssd300.model.spec import ARTICLE, CLAMPED, PAPER, PAPER_COCO, PixelSpec
from ssd300.model.ssd300 import SSD300
from ssd300.preprocessing.augmentation.settings import NO_AUGMENTATION
from ssd300.training import preparation
from ssd300.training.fit import resume, train
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings
from ssd300.training.start import Start, load_start, started_settings, started_spec

RGB = PixelSpec("rgb", (1.0, 2.0, 3.0))


def narrow(names, spec=PAPER):
    return SSD300(len(names) + 1, preset=spec, width=0.02)


def start_of(names, model=None, **settings):
    config = RunConfig(TrainSettings("data", width=0.02, **settings), ClassList(names), "f" * 64, {}, PAPER)
    return Start("runs/before", config, model or narrow(names), 7)


def test_classes_of_the_same_name_keep_their_weights_and_others_begin_anew():
    theirs, ours = ("dog", "Cat", "cow"), ("cat", "emu", "dog")
    start, model = start_of(theirs), narrow(ours)
    fresh = {layer.name: layer.get_weights() for layer in model.layers}
    line = load_start(model, ClassList(ours), start)
    assert line == "started from runs/before, step 7; classes carried over: 2 of 3; new: emu"
    for layer in model.layers:
        stored = start.model.get_layer(layer.name).get_weights()
        if not layer.name.endswith("_logits"):
            for own, other in zip(layer.get_weights(), stored, strict=True):
                np.testing.assert_array_equal(own, other)
    boxes = {"conv4_3": 4, "fc7": 6, "conv8_2": 6, "conv9_2": 6, "conv10_2": 4, "conv11_2": 4}
    for stage, count in boxes.items():
        layer, other = (m.get_layer(f"{stage}_logits").get_weights() for m in (model, start.model))
        for own, stored, new in zip(layer, other, fresh[f"{stage}_logits"], strict=True):
            for box in range(count):  # both have four classes; channel is box · 4 + class
                for label, origin in {0: 0, 1: 2, 3: 1}.items():  # background, cat, dog
                    np.testing.assert_array_equal(own[..., box * 4 + label], stored[..., box * 4 + origin])
                np.testing.assert_array_equal(own[..., box * 4 + 2], new[..., box * 4 + 2])  # emu


def test_another_number_of_classes():
    start, model = start_of(("a", "b")), narrow(("b",))
    assert load_start(model, ClassList(("b",)), start).endswith("carried over: 1 of 1")
    own, stored = (m.get_layer("fc7_logits").get_weights()[0] for m in (model, start.model))
    np.testing.assert_array_equal(own.reshape(3, 3, -1, 6, 2), stored.reshape(3, 3, -1, 6, 3)[..., [0, 2]])


def test_the_network_s_width_is_that_of_the_start():
    settings = TrainSettings("data", init_from="runs/before")
    assert started_settings(settings, start_of(("a",)).config).width == 0.02
    with pytest.raises(InputError, match=r"has width 0\.02; a run that starts from it cannot have width 0\.5"):
        started_settings(replace(settings, width=0.5), start_of(("a",)).config)
    with pytest.raises(InputError, match=r"has norm none; .* cannot have norm batch"):
        started_settings(replace(settings, norm="batch"), start_of(("a",)).config)


def test_the_pixels_are_those_of_the_start_and_the_boxes_those_of_the_dataset(caplog):
    spec = started_spec(PAPER, replace(PAPER, pixels=RGB))
    assert spec == replace(PAPER, pixels=RGB)
    assert not caplog.records
    assert started_spec(PAPER, replace(PAPER_COCO, pixels=RGB)) == spec
    assert "default boxes of paper-coco, the dataset those of paper" in caplog.text


def test_weights_and_a_run_are_one_too_many():
    with pytest.raises(InputError, match=r"from the weights vgg\.h5 or from the run runs/before, not both"):
        TrainSettings("data", init_from="runs/before", weights="vgg.h5")


def test_another_network_is_refused():
    with pytest.raises(InputError, match="preset article, whose conv4_3_norm is batch; the new run is of preset paper"):
        started_spec(PAPER, ARTICLE)


SMALL = {"weights": "none", "steps": 1, "batch_size": 4, "augmentation": NO_AUGMENTATION}


@pytest.fixture(scope="module")
def before(shapes_dataset, tmp_path_factory):
    return train(TrainSettings(shapes_dataset, width=0.02, **SMALL), tmp_path_factory.mktemp("runs") / "before")


def test_a_run_starts_from_another_and_resumes_on_its_own(before, shapes_dataset, tmp_path, capsys, monkeypatch):
    settings = TrainSettings(shapes_dataset, init_from=str(before.path), learning_rate=1e-12, **SMALL)
    run = train(settings, tmp_path / "after")
    assert "classes carried over: 3 of 3" in capsys.readouterr().err
    after, config, step = run.load_model()
    assert (step, config.settings.width, config.settings.init_from) == (1, 0.02, str(before.path))
    for own, other in zip(after.get_weights(), before.load_model()[0].get_weights(), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)  # one step at a rate of almost nothing
    monkeypatch.setattr(preparation, "load_start", lambda *_: pytest.fail("a run with a checkpoint starts from it"))
    resume(run.path, steps=2)


def test_a_run_that_died_before_its_first_checkpoint_starts_from_the_other_again(
    before, shapes_dataset, tmp_path, capsys
):
    run = RunDirectory(tmp_path / "after")
    _, config, _ = before.load_model()
    run.create(replace(config, settings=replace(config.settings, init_from=str(before.path))))
    resume(run.path)
    assert "classes carried over: 3 of 3" in capsys.readouterr().err


def test_what_is_no_run_is_refused_before_anything_is_written(shapes_dataset, tmp_path):
    with pytest.raises(InputError, match="is not the folder of a run"):
        train(TrainSettings(shapes_dataset, init_from=str(tmp_path), **SMALL), tmp_path / "after")
    assert not (tmp_path / "after").exists()


def test_a_dataset_with_clamped_boxes_trains_a_network_with_clamped_boxes(encode_shapes, tmp_path):
    dataset = encode_shapes({"train": 4}, preset="clamped")
    _, config, _ = train(TrainSettings(dataset, width=0.02, **SMALL), tmp_path / "run").load_model()
    assert config.spec == CLAMPED
