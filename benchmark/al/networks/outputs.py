"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Outputs(NamedTuple):
    """One forward pass over a batch of b images."""

    logits: Tensor
    """(b, classes) of the head that is trained, tested and scored."""
    features: Tensor
    """(b, d) pooled features, the input of the last linear layer (before dropout, where there is
    one)."""
    maps: tuple[Tensor, ...] = ()
    """Stage outputs (b, channels, height, width), shallow to deep: what a loss-prediction module
    reads."""
    consistency: Tensor | None = None
    """(b, classes) logits of a second head, where the network has one."""
