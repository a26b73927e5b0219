"""Rates against torch's own schedulers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from benchmark.al.training.schedules import learning_rate_at
from benchmark.spec.training import Cosine, CosineRestarts, MultiStep


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize("late", [False, True])
def test_multistep(late: bool) -> None:
    """`late` is torch's scheduler stepped with the explicit epoch index after each epoch."""
    mine = MultiStep(kind="multistep", milestones=(4, 7, 20), gamma=0.2, late=late)
    sgd = optimizer()
    theirs = lr_scheduler.MultiStepLR(sgd, [4, 7, 20], 0.2)
    for epoch in range(12):
        assert learning_rate_at(mine, 0.1, epoch, 0, 12, 1) == pytest.approx(
            sgd.param_groups[0]["lr"], abs=1e-15
        )
        sgd.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.step(*([epoch] if late else []))


def test_cosine_counts_steps() -> None:
    sgd, steps, epochs = optimizer(), 5, 4
    theirs = lr_scheduler.CosineAnnealingLR(sgd, steps * epochs)
    for step in range(steps * epochs):
        assert learning_rate_at(
            Cosine(kind="cosine"), 0.1, step // steps, step, epochs, steps
        ) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-12)
        sgd.step()
        theirs.step()


def test_restarts_after_a_constant_phase() -> None:
    mine = CosineRestarts(kind="cosine_restarts", start=6, period=4, gamma=0.5)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    theirs = lr_scheduler.CosineAnnealingWarmRestarts(sgd, 4)
    assert [learning_rate_at(mine, 0.1, epoch, 0, 20, 1) for epoch in range(6)] == [0.1] * 6
    for epoch in range(6, 20):
        assert learning_rate_at(mine, 0.1, epoch, 0, 20, 1) == pytest.approx(
            sgd.param_groups[0]["lr"], abs=1e-12
        )
        sgd.step()
        theirs.step()


def test_st_conal_low_point_is_one_epoch_after_the_snapshot() -> None:
    """Rates of soony1213/ST-CoNAL at 43cb8c9: epoch 170 (1-based) trains at 0.0095, the next at
    0.0024."""
    restarts = CosineRestarts(kind="cosine_restarts", start=161, period=10, gamma=1.0)
    assert learning_rate_at(restarts, 0.1, 169, 0, 200, 1) == pytest.approx(0.0095, abs=5e-5)
    assert learning_rate_at(restarts, 0.1, 170, 0, 200, 1) == pytest.approx(0.0024, abs=5e-5)
