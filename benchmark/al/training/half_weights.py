"""Weights of a step in half precision, cast in a few kernels for a whole network.

Autocast casts them one by one: a kernel for each weight and pass of a teacher, and one more for
each gradient. Values and gradients are the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CAST = (nn.Conv2d, nn.Linear)
"""Layers whose weights autocast casts."""


class _Halved(torch.autograd.Function):
    """bfloat16 copies of float32 tensors; gradients come back in float32."""

    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _cast_all(values, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [place for place, gradient in enumerate(gradients) if gradient is not None]
        found: list[Tensor | None] = [None] * len(gradients)
        cast = _cast_all([gradients[place] for place in there], torch.float32)  # type: ignore[misc]
        for place, gradient in zip(there, cast, strict=True):
            found[place] = gradient
        return tuple(found)


def _cast_all(values: Iterable[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    given = list(values)
    made = [torch.empty_like(value, dtype=dtype) for value in given]
    if made:
        torch._foreach_copy_(made, given)
    return tuple(made)


@contextmanager
def half_weights(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, convolutions and linear layers of the networks hold their weights in bfloat16."""
    places = [
        (layer._parameters, name, value)
        for network in networks
        for layer in network.modules()
        if type(layer) in CAST
        for name, value in layer._parameters.items()
        if value is not None and value.dtype == torch.float32
    ]
    for learnt in (True, False):
        some = [place for place in places if place[2].requires_grad is learnt]
        if some:
            for (held, name, _), half in zip(
                some, _Halved.apply(*(value for _, _, value in some)), strict=True
            ):
                held[name] = half
    try:
        yield
    finally:
        for held, name, value in places:
            held[name] = value
