"""Pretext-loss batches of PT4AL (Yi et al., ECCV 2022; johnsk95/PT4AL at 9a0da4a, make_batches.py and main.py).

The pool is sorted once by the loss of a rotation network and cut into as many batches as there are cycles. Cycle 0 buys
every fifth image of the first batch; cycle c buys the least confident of batch c. What a batch does not sell is lost.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.al.pool import Indices
from benchmark.errors import AlbenchError, UsageError

FIRST_STRIDE = 5
"""Cycle 0 buys one of so many images of the first batch."""


def hardest_first(losses: NDArray[np.float64], order: Literal["text", "number"]) -> Indices:
    """Positions (n,) by descending loss; equal losses keep their order.

    `text` is what the release does: it compares the printed losses as strings, so that "9.9e-05" precedes "4.4" and most
    of the first batch is among the easiest images. Raises AlbenchError for losses that are not finite.
    """
    if not np.isfinite(losses).all():
        raise AlbenchError("pretext losses are not finite", remedy="check the pretext training for divergence")
    keys: list[str] | list[float] = losses.tolist() if order == "number" else [str(float(loss)) for loss in losses]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__, reverse=True), dtype=np.int64)


def batches(ranked: Indices, count: int) -> list[Indices]:
    """`count` consecutive parts of the sorted pool; where they cannot be equal, the first ones have one image more."""
    if not 0 < count <= len(ranked):
        raise UsageError(f"{count} batches of {len(ranked)} images", where="pt4al batches")
    return list(np.array_split(ranked, count))


def first_picks(batch: Indices, stride: int = FIRST_STRIDE) -> Indices:
    """What cycle 0 labels: every `stride`-th image of the first batch, in order."""
    return batch[::stride]
