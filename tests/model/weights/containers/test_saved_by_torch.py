"""Files that PyTorch itself saved, in both containers and several protocols of pickle."""

from argparse import Namespace

import numpy as np
import pytest

from ssd300.datasets.errors import InputError
from ssd300.model.weights.containers.read import read_tensors

torch = pytest.importorskip("torch")


def save(path, value, is_zip, protocol=2):
    torch.save(value, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    return path


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1))


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        array = (tensor.detach().float() if tensor.is_floating_point() else tensor).numpy()
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("is_zip", [True, False])
def test_state_dicts(is_zip, protocol, tmp_path):
    state = network().state_dict()
    assert_same(read_tensors(save(tmp_path / "a", state, is_zip, protocol)).tensors, state)
    parallel = torch.nn.DataParallel(network()).state_dict()
    assert_same(read_tensors(save(tmp_path / "b", parallel, is_zip, protocol)).tensors, state)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("is_zip", [True, False])
def test_views_and_types(is_zip, protocol, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": base.T,
        "part": base[1:3, 2:4],
        "expanded": base[:1].expand(4, 6),
        "parameter": torch.nn.Parameter(base),
        "one": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "yes": base > 3,
    }
    floats = (torch.bfloat16, torch.float16, torch.float64)
    whole = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    tensors |= {str(kind): base.to(kind) for kind in (*floats, *whole)}
    assert_same(read_tensors(save(tmp_path / "a", tensors, is_zip, protocol)).tensors, tensors)


@pytest.mark.parametrize("is_zip", [True, False])
def test_checkpoints_of_a_training(is_zip, tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    checkpoint = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "whole optimizer": optimizer,
        "lr_scheduler": schedule.state_dict(),
        "args": Namespace(lr=0.1),
        "best": np.float64(0.5),
        "model": model.state_dict(),
    }
    found = read_tensors(save(tmp_path / "a", checkpoint, is_zip))
    assert_same(found.tensors, model.state_dict())
    assert found.passed_over == ("epoch", "optimizer", "whole optimizer", "lr_scheduler", "args", "best")


@pytest.mark.parametrize("is_zip", [True, False])
def test_whole_networks_are_named(is_zip, tmp_path):
    with pytest.raises(InputError, match=r"found torch\.nn\.modules\.container\.Sequential"):
        read_tensors(save(tmp_path / "a", network(), is_zip))
