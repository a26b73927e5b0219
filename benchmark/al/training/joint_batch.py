"""Two batches through one network: one after the other, or as one batch of convolutions with batch statistics of each.

Both ways are the same mathematics. Batch norm sees the first batch, then the second, so that statistics never mix and running
statistics move twice, in that order. Rounding differs, since gradients of weights are sums over other batches, and dropout
draws once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.al.networks.outputs import Outputs

JointBatch = Callable[[nn.Module, Tensor, Tensor], tuple[Outputs, Outputs]]
"""(network, b images, u images) -> what it says of the b and of the u."""


def forward_separately(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    """One after the other."""
    return network(first), network(second)


def forward_jointly(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    """As one batch of b + u images; either may be the smaller."""
    with _statistics_apart(network, len(first)):
        out: Outputs = network(torch.cat([first, second]))
    return _divided(out, [len(first), len(second)])


@contextmanager
def _statistics_apart(network: nn.Module, first: int) -> Iterator[None]:
    """Every batch norm sees the first so many images of a batch, then the others."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.forward = _apart(norm.forward, first)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _apart(forward: Callable[[Tensor], Tensor], first: int) -> Callable[[Tensor], Tensor]:
    # Not two slices: their gradients would be two tensors of full size, mostly zeros, and their sum.
    return lambda x: torch.cat([forward(half) for half in torch.split(x, [first, len(x) - first])])


def _divided(out: Outputs, sizes: list[int]) -> tuple[Outputs, Outputs]:
    def halves(values: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.split(values, sizes))

    logits, features, maps = halves(out.logits), halves(out.features), [halves(stage) for stage in out.maps]
    consistency = (None, None) if out.consistency is None else halves(out.consistency)
    first, second = (Outputs(logits[k], features[k], tuple(stage[k] for stage in maps), consistency[k]) for k in (0, 1))
    return first, second
