"""Checkpoints on a full disk, cut, empty, or with a flipped byte."""

import errno
import os

import numpy as np
import pytest

from ssd300.datasets.classes import ClassList
from ssd300.datasets.errors import InputError, StorageError
from ssd300.model.ssd300 import SSD300
from ssd300.training import checkpoint_files
from ssd300.training.checkpoint_files import checksum_path, save_weights
from ssd300.training.run_directory import RunConfig, RunDirectory
from ssd300.training.settings import TrainSettings

SETTINGS = TrainSettings("d", preset="paper", width=0.02, weights="none")


@pytest.fixture(scope="module")
def models():
    """Two models of other weights, by their steps."""
    config = RunConfig(SETTINGS, ClassList(("ant",)), "f" * 64, {})
    return config, {step: SSD300(**config.model_arguments()) for step in (1, 2)}


@pytest.fixture
def run(models, tmp_path):
    config, by_step = models
    run = RunDirectory(tmp_path / "run")
    run.create(config)
    for step, model in by_step.items():
        run.save_checkpoint(model, step, keep=2)
    return run


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "a weight": lambda data: flip(data, len(data) - 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_loaded_and_a_line_says_so(models, run, caplog, damage):
    _, path = run.newest_checkpoint()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    model, _, step = run.load_model()
    assert step == 1
    for one, other in zip(model.get_weights(), models[1][1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert f"{path} cannot be loaded: its checksum is another one" in caplog.text


def test_without_a_checksum_a_checkpoint_is_loaded_as_it_is_and_damage_is_still_met(run, caplog):
    _, path = run.newest_checkpoint()
    checksum_path(path).unlink()
    assert run.load_model()[2] == 2
    path.write_bytes(path.read_bytes()[:3000])
    assert run.load_model()[2] == 1
    assert str(path) in caplog.text


def test_where_no_checkpoint_can_be_loaded_all_are_named(run):
    for _, path in run.checkpoints():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no checkpoint of .*run can be loaded: .*step-00000002.*step-00000001"):
        run.load_model()


def test_a_checkpoint_that_is_gone_meanwhile_is_passed_over(models, run, monkeypatch):
    found = run.checkpoints()
    found[1][1].unlink()
    monkeypatch.setattr(run, "checkpoints", lambda: found)
    assert run.load_model()[2] == 1


def test_checksums_go_with_their_checkpoints(models, run):
    run.save_checkpoint(models[1][2], 3, keep=1)
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {
        "step-00000003.weights.h5",
        "step-00000003.weights.h5.sha256",
    }


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_earlier_checkpoints(models, run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()}
    monkeypatch.setattr(checkpoint_files.os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"step-00000003\.weights\.h5 could not be written: No space left on device"):
        run.save_checkpoint(models[1][1], 3, keep=1)
    assert {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()} == before


def test_the_room_that_is_looked_for_is_enough(models, tmp_path):
    path = tmp_path / "x.weights.h5"
    save_weights(models[1][1], path)
    assert path.stat().st_size <= checkpoint_files._size(models[1][1]) <= 2 * path.stat().st_size + (1 << 20)
