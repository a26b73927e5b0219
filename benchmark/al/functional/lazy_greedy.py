"""Greedy maximisation of a set function whose gains only shrink, without evaluating most of them
(Minoux 1978).

A gain that was computed earlier bounds the gain of today from above. Before a pick only those
candidates are brought up to date whose bound reaches the best gain known today, so the picks are
those of the plain greedy algorithm.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 64
"""Candidates whose gains are computed together."""
TOLERANCE = 1e-10
"""Gains that differ by less, in units of the largest first gain, are equal: the earlier candidate
is picked."""


def lazy_greedy(
    bounds: Tensor, evaluate: Callable[[Tensor], Tensor], accept: Callable[[int], None], count: int
) -> Tensor:
    """Positions (count,) int64 of greedy picks, on the CPU.

    bounds: (n,) gains before the first pick, or numbers above them. `evaluate`: (b,) positions ->
    (b,) gains after the picks so far. `accept` is called with each pick. When no candidate adds
    anything, the first unpicked ones follow.
    """
    bounds = bounds.detach().double().cpu().clone()
    fresh = torch.full((len(bounds),), -1)
    slack = TOLERANCE * max(float(bounds.max()), 0.0) if len(bounds) else 0.0
    picked: list[int] = []
    for turn in range(count):
        if float(bounds.max()) <= slack:
            break
        while True:
            known = bounds[fresh == turn]
            best = float(known.max()) if len(known) else -torch.inf
            stale = ((fresh != turn) & (bounds >= best - slack)).nonzero()[:, 0]
            if not len(stale):
                break
            chosen = (
                stale[torch.argsort(bounds[stale], descending=True, stable=True)[:BLOCK]]
                .sort()
                .values
            )
            bounds[chosen] = torch.minimum(bounds[chosen], evaluate(chosen).double().cpu())
            fresh[chosen] = turn
        pick = first_best(bounds, slack)
        picked.append(pick)
        bounds[pick] = -torch.inf
        accept(pick)
    rest = torch.ones(len(bounds), dtype=torch.bool)
    rest[picked] = False
    return torch.cat(
        [torch.tensor(picked, dtype=torch.int64), rest.nonzero()[: count - len(picked), 0]]
    )


def first_best(values: Tensor, slack: float) -> int:
    """Position of the first of `values` (n,) that is at most `slack` below the largest one."""
    return int((values >= values.max() - slack).to(torch.uint8).argmax())
