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

from benchmark.al.models.outputs import Outputs

Halves = Callable[[nn.Module, Tensor, Tensor], tuple[Outputs, Outputs]]
"""(network, b images, u images) -> what it says of the b and of the u."""


def in_turn(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    """One after the other."""
    return network(first), network(second)


def together(network: nn.Module, first: Tensor, second: Tensor) -> tuple[Outputs, Outputs]:
    """As one batch of b + u images; either may be the smaller."""
    with _statistics_apart(network, len(first)):
        out: Outputs = network(torch.cat([first, second]))
    return _part(out, slice(None, len(first))), _part(out, slice(len(first), None))


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
    return lambda x: torch.cat([forward(x[:first]), forward(x[first:])])


def _part(out: Outputs, rows: slice) -> Outputs:
    consistency = None if out.consistency is None else out.consistency[rows]
    return Outputs(out.logits[rows], out.features[rows], tuple(stage[rows] for stage in out.maps), consistency)
