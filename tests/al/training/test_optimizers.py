"""Optimisers without the compiler's guards: torch's own arithmetic, bit for bit, saved and taken
back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmark.al.training import optimizers

RECIPES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "foreach": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "foreach": True}),
    ("Adam", {"lr": 1e-2, "weight_decay": 5e-4}),
]


def train(
    kind: type[torch.optim.Optimizer], options: dict[str, Any], stop: int = 0
) -> list[torch.Tensor]:
    """Weights after six steps; after `stop` of them the optimiser is replaced by one that takes its
    state."""
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(8, 5)
    optimizer = kind(model.parameters(), **options)
    for step in range(6):
        if stop and step == stop:
            state = optimizer.state_dict()
            optimizer = kind(model.parameters(), **options)
            optimizer.load_state_dict(state)
        optimizer.zero_grad(set_to_none=True)
        model(images).square().mean().backward()
        optimizer.step()
    return [value.detach() for value in model.parameters()]


@pytest.mark.parametrize(("name", "options"), RECIPES)
def test_the_same_bits_as_torch(name: str, options: dict[str, Any]) -> None:
    expected = train(getattr(torch.optim, name), options)
    for stop in (0, 3):
        found = train(getattr(optimizers, name), options, stop)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_the_optimiser_under_the_bare_one_is_untouched() -> None:
    for name in ("SGD", "Adam"):
        theirs, ours = getattr(torch.optim, name), getattr(optimizers, name)
        assert (
            issubclass(ours, theirs)
            and theirs.zero_grad is torch.optim.Optimizer.zero_grad is not ours.zero_grad
        )


def test_a_step_leaves_gradients_on_for_what_follows() -> None:
    value = torch.ones(3, requires_grad=True)
    value.sum().backward()  # type: ignore[no-untyped-call]
    optimizers.SGD([value], lr=0.5, foreach=True).step()
    assert (
        torch.equal(value.detach(), torch.full((3,), 0.5))
        and torch.is_grad_enabled()
        and value.requires_grad
    )
