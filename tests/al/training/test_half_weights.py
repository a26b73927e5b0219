"""Weights cast for a whole network at once against autocast's own casts, and one counter of batches
against all of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.training.batch_counters import counted_once
from benchmark.al.training.half_weights import half_weights


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def network() -> ResNetCifar:
    torch.manual_seed(0)
    return ResNetCifar(10, (1, 1), (8, 16), heads=2).train()


@pytest.mark.parametrize("passes", [1, 2])
def test_the_bits_of_autocast(passes: int) -> None:
    """Losses and gradients, also where a weight is used twice; a weight that is not used has
    none."""
    images, ends = torch.randn(passes, 6, 3, 8, 8), []
    for whole in (False, True):
        twin = network()
        with torch.autocast("cpu", torch.bfloat16):
            if whole:
                with half_weights([twin]):
                    loss = loss_of(twin, images)
            else:
                loss = loss_of(twin, images)
        loss.backward()
        assert all(value.dtype == torch.float32 for value in twin.parameters())
        ends.append([loss.detach(), *(value.grad for value in twin.parameters())])
    for found, expected in zip(*ends, strict=True):
        assert (found is None) == (expected is None)
        assert found is None or (found.dtype == expected.dtype and torch.equal(found, expected))
    assert any(value is None for value in ends[0])


def loss_of(twin: nn.Module, images: Tensor) -> Tensor:
    return torch.stack([twin(some).logits.float().square().mean() for some in images]).sum()


def test_one_counter_for_all() -> None:
    apart, together = network(), network()
    started = copy.deepcopy(
        [value for name, value in together.named_buffers() if name.endswith("tracked")]
    )
    for _ in range(3):
        apart(torch.randn(4, 3, 8, 8))
    with pytest.raises(ZeroDivisionError), counted_once([together]):
        assert sum(name.endswith("tracked") for name in together.state_dict()) == 1
        for _ in range(3):
            together(torch.randn(4, 3, 8, 8))
        raise ZeroDivisionError
    assert list(together.state_dict()) == list(apart.state_dict())
    counts = [int(value) for name, value in together.named_buffers() if name.endswith("tracked")]
    assert counts == [3] * len(started)
