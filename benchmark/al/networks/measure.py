"""What a network weighs and what one image costs, measured and not looked up."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.al.networks import build_network
from benchmark.spec.training import Model


class Amounts(NamedTuple):
    """Size of a network and price of one image."""

    parameters: int
    macs: int
    """Multiply-accumulates of one forward pass as torch counts them: convolutions, linear layers
    and matrix products."""


def measure_network(made: nn.Module, channels: int, side: int) -> Amounts:
    """Parameters of a network, and multiply-accumulates of one image of `channels` x `side` x
    `side` pixels."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        made.eval()(torch.zeros(1, channels, side, side))
    return Amounts(
        sum(weight.numel() for weight in made.parameters()), counter.get_total_flops() // 2
    )


def measure_model(model: Model, classes: int, channels: int, side: int) -> Amounts:
    """The same of a suite's model; torch's global generator is left as it is. Raises UsageError for
    what cannot be built."""
    with torch.random.fork_rng(devices=[]):
        return measure_network(build_network(model, classes, channels), channels, side)
