"""Weight averages: what the golden vectors leave open."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from benchmark.al.functional.averaging import (
    WeightAverage,
    ema_update,
    refresh_batch_norm,
    warmup_alpha,
)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)
    )


def test_average_equals_torch_swa() -> None:
    """torch.optim.swa_utils computes the same mean and, for equal batches, the same batch
    statistics."""
    snapshots = [network(seed) for seed in range(4)]
    ours, theirs = WeightAverage(), AveragedModel(snapshots[0])
    for snapshot in snapshots:
        ours.update(snapshot)
        theirs.update_parameters(snapshot)
    batches = [torch.randn(6, 3, 8, 8), torch.randn(6, 3, 8, 8), torch.randn(2, 3, 8, 8)]
    refresh_batch_norm(ours.module, batches)
    update_bn(batches, theirs)
    for mine, other in zip(
        ours.module.state_dict().values(), theirs.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_average_is_its_own_network() -> None:
    model = network(0)
    average = WeightAverage()
    module = average.update(model)
    before = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        model[0].weight.zero_()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_resumed_average_goes_on_bit_for_bit(taken: int) -> None:
    whole, first, second = WeightAverage(), WeightAverage(), WeightAverage()
    for seed in range(taken):
        whole.update(network(seed))
        first.update(network(seed))
    second.load_state_dict(first.state_dict(), like=network(99))
    for seed in range(taken, 5):
        whole.update(network(seed))
        second.update(network(seed))
    states = [average.module.state_dict().values() for average in (whole, second)]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert second.count == whole.count == 5


def test_refresh_puts_mode_and_momentum_back() -> None:
    model = network(0).eval()
    model[1].momentum = 0.3
    refresh_batch_norm(model, [torch.randn(4, 3, 8, 8)])
    assert model[1].momentum == 0.3
    assert not model.training and not model[1].training


def test_ema_keeps_or_copies_buffers() -> None:
    for buffers in (False, True):
        average, model = network(0), network(1)
        model[1].running_mean.fill_(7.0)
        ema_update(average, model, 0.5, buffers=buffers)
        assert bool((average[1].running_mean == 7).all()) is buffers
        torch.testing.assert_close(average[0].weight, (network(0)[0].weight + model[0].weight) / 2)


def test_warm_up_makes_a_plain_mean() -> None:
    """Until the cap binds, the average of t steps weighs its start and all iterates equally."""
    average, values = nn.ParameterList([torch.tensor([5.0], dtype=torch.float64)]), [5.0]
    for step in range(1, 9):
        values.append(float(step * step))
        ema_update(
            average,
            nn.ParameterList([torch.tensor([values[-1]], dtype=torch.float64)]),
            warmup_alpha(step, 0.97),
        )
    assert average[0].item() == pytest.approx(sum(values) / len(values))
    assert warmup_alpha(10**6, 0.97) == 0.97
