"""What one image costs a network: multiply-accumulates of its convolutions and linear layers,
nothing else.

This is how the papers' releases and once-for-all count (batch norm, activations and pooling are
free); FLOPs are twice as many.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


def macs(network: nn.Module, side: int, channels: int = 3) -> int:
    """Multiply-accumulates of one forward pass of one (channels, side, side) image."""
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += (
                output.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
            )
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    # An image is really passed: torch's shape-only device takes longer to import than a pass takes.
    shadow = copy.deepcopy(network).to("cpu", torch.float32).eval()
    for module in shadow.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.inference_mode():
        shadow(torch.zeros((1, channels, side, side)))
    return total


def parameters(network: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())
