"""Refusing numbers that a diverged training left, where no score would show them."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import AlbenchError


def require_finite(name: str, values: Tensor) -> None:
    """Raises AlbenchError unless all `values` (any shape) are finite."""
    if not bool(torch.isfinite(values).all()):
        raise AlbenchError(f"the {name} are not finite", remedy="check the training for divergence")
