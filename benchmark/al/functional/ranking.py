"""Ordering by score, defined for ties: equal scores keep the earlier position first."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import AlbenchError


def top(scores: Tensor, count: int) -> Tensor:
    """Positions (count,) int64 of the largest of `scores` (n,), best first.

    Sorting is stable by (score, position): unstable sorts pick different images on different machines when scores are
    equal. Raises AlbenchError for scores that are not finite: a NaN would sort first and be bought.
    """
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).sum())
        raise AlbenchError(f"{bad} of {len(scores)} scores are not finite", remedy="check the training for divergence")
    return torch.argsort(scores, descending=True, stable=True)[:count]
