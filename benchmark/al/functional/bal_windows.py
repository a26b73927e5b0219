"""Parts of a pool that is sorted once by a pretext task: the windows of BAL and the batches of
PT4AL.

BAL: Li et al., TPAMI 2024, in the arithmetic of dvlab-research/BAL at 140d279, main.py. The pool is
sorted by the difference of cluster distances (`cluster_distance.py`). Cycle 0 buys from its head;
every later cycle looks only at a window of the sorted list, of length beta * a, that moves by a =
`addendum` per cycle. Evaluation order and truncation are the release's: an algebraically equal form
can begin one place earlier.

PT4AL: Yi et al., ECCV 2022; johnsk95/PT4AL at 9a0da4a, make_batches.py and main.py. The pool is
sorted by the loss of a rotation network and cut into as many batches as there are cycles. Cycle 0
buys every fifth image of the first batch; cycle c buys the least confident of batch c. What a batch
does not sell is lost.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.al.pool import Indices
from benchmark.errors import AlbenchError, UsageError


def count_share(percent: float, size: int) -> int:
    """Images that a share of the pool stands for: `percent` of `size`, truncated in float64 (29 %
    of 50,000 are 14,499)."""
    return int((percent * 0.01) * size)


def window_step(size: int, cycles: int) -> int:
    """The window's step a = floor(N / C). The release leaves it to the user; this reading fills its
    published budgets."""
    return size // cycles


def window_bounds(
    cycle: int, cycles: int, size: int, beta: float, addendum: int
) -> tuple[int, int]:
    """Where the candidates of a 0-based cycle lie in the sorted pool: [begin, end), to be used as a
    Python slice.

    `size` is the pool's N, `beta` the balance factor (the window's length in units of `addendum`).
    The end may lie beyond the pool. In a middle cycle c the window is centred on (c + 1.5) * a: it
    runs one step ahead, so ranks between cycle 0 and the first window are never looked at. A begin
    below 0 (beta > 2c + 3, or beta * a > N in the last cycle) counts from the end of the list, as
    the release's slice does: such a window shows the last ranks or none, and all from rank 0 on
    where it begins at -N or below. No published setting has one. Raises UsageError for a cycle that
    does not exist.
    """
    if not 0 <= cycle < cycles:
        raise UsageError(f"no cycle {cycle} among {cycles}", where="bal window")
    if cycle == 0:
        return 0, int(beta * addendum)
    if cycle == cycles - 1:
        return int(size - beta * addendum), size
    overlap = (beta - 1) / 2 * addendum
    return int((cycle + 1) * addendum - overlap), int((cycle + 2) * addendum + overlap)


def sub_pool(ranked: Indices, labelled: Indices, bounds: tuple[int, int]) -> Indices:
    """The entries of `ranked` (N,) inside a window that are not labelled yet, in rank order."""
    inside = ranked[slice(*bounds)]
    return inside[~np.isin(inside, labelled)]


FIRST_STRIDE = 5
"""Cycle 0 buys one of so many images of the first batch."""


def hardest_first(losses: NDArray[np.float64], order: Literal["text", "number"]) -> Indices:
    """Positions (n,) by descending loss; equal losses keep their order.

    `text` is what the release does: it compares the printed losses as strings, so that "9.9e-05"
    precedes "4.4" and most of the first batch is among the easiest images. Raises AlbenchError for
    losses that are not finite.
    """
    if not np.isfinite(losses).all():
        raise AlbenchError(
            "pretext losses are not finite", remedy="check the pretext training for divergence"
        )
    keys: list[str] | list[float] = (
        losses.tolist() if order == "number" else [str(float(loss)) for loss in losses]
    )
    return np.array(sorted(range(len(keys)), key=keys.__getitem__, reverse=True), dtype=np.int64)


def split_ranks(ranked: Indices, count: int) -> list[Indices]:
    """`count` consecutive parts of the sorted pool; where they cannot be equal, the first ones have
    one image more."""
    if not 0 < count <= len(ranked):
        raise UsageError(f"{count} batches of {len(ranked)} images", where="pt4al batches")
    return list(np.array_split(ranked, count))


def first_picks(batch: Indices, stride: int = FIRST_STRIDE) -> Indices:
    """What cycle 0 labels: every `stride`-th image of the first batch, in order."""
    return batch[::stride]
