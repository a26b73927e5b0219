"""Greedy k-center (Gonzalez 1985; core-set selection, Sener and Savarese, ICLR 2018, algorithm 1).

Exact greedy picks without an n x m matrix and without touching most distances. Distances to the nearest centre only
shrink, so the largest one last seen in a chunk of points bounds the chunk from above: only the chunk that holds the
largest bound is brought up to date before a pick, with all the centres it has missed at once.

Matrix products only decide which centre is nearest. The distance kept is then the sum of squared differences to it in
float64, equal for equal points wherever they stand, so that ties fall to the first point on every machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import AlbenchError

CHUNK = 128
"""Points that are brought up to date together."""
BLOCK = 2**21
"""Most numbers in one temporary: 16 MiB in float64."""


def k_center_greedy(features: Tensor, centres: Tensor, budget: int) -> Tensor:
    """Pick `budget` points one after the other, each the farthest from all centres and earlier picks.

    features: (n, d), centres: (m, d), m may be 0 -> positions (budget,) int64 in the order of picking, on the device of
    `features`. Euclidean distance; equal distances go to the first point, a point is picked once at most, and without
    centres the first pick is point 0. Extra memory stays below 128 MiB plus 8 bytes per point.
    Raises AlbenchError for features that are not finite or a budget beyond n.
    """
    if budget > len(features):
        raise AlbenchError(f"{budget} picks from {len(features)} points", remedy="lower the budget")
    for name, values in (("features", features), ("centres", centres)):
        if not _finite(values):
            raise AlbenchError(
                f"the {name} are not finite", where="k-center", remedy="check the training for divergence"
            )
    return _Greedy(features, centres).pick(budget)


class _Centres:
    """A block of centres (c, d), prepared for finding the nearest of them.

    Centres and points are shifted by the centres' mean, which keeps large common offsets from eating the digits.
    """

    def __init__(self, centres: Tensor) -> None:
        self.centres = centres
        # CUDA may run float32 products in TF32, whose three digits are not enough here.
        exact = centres.dtype in (torch.float32, torch.float64) and not centres.is_cuda
        self.kind = centres.dtype if exact else torch.float64
        own = centres.to(self.kind)
        self.middle = own.mean(dim=0)
        self.shifted = own - self.middle
        self.norms = self.shifted.square().sum(dim=1)

    def squared_distances(self, points: Tensor) -> Tensor:
        """(p, d) -> (p,) in float64, each to the centre that is nearest up to rounding."""
        shifted = points.to(self.kind) - self.middle
        closest = torch.addmm(self.norms, shifted, self.shifted.T, alpha=-2).argmin(dim=1)
        return (points.double() - self.centres[closest].double()).square_().sum(dim=1)


class _Greedy:
    """Squared distances to the nearest centre, kept lazily per chunk of points."""

    def __init__(self, features: Tensor, centres: Tensor) -> None:
        self.features = features
        self.nearest = torch.full((len(features),), torch.inf, dtype=torch.float64, device=features.device)
        self.chunks = [slice(start, start + CHUNK) for start in range(0, len(features), CHUNK)]
        for some in torch.split(centres, _block(features)) if len(centres) else ():
            prepared = _Centres(some)
            for rows in self.chunks:
                self._approach(rows, prepared)
        self.bound = (
            torch.stack([self.nearest[rows].max() for rows in self.chunks]).cpu() if self.chunks else torch.empty(0)
        )
        self.applied = [0] * len(self.chunks)

    def pick(self, budget: int) -> Tensor:
        """Positions (budget,) of the greedy picks."""
        chosen = torch.empty((budget,), dtype=torch.int64, device=self.features.device)
        done = 0
        while done < budget:
            number = int(self.bound.argmax())
            rows = self.chunks[number]
            if self.applied[number] < done:
                self._approach(rows, _Centres(self.features[chosen[self.applied[number] : done]]))
                self.applied[number] = done
            else:
                place = rows.start + int(self.nearest[rows].argmax())
                chosen[done] = place
                self.nearest[place] = -1.0  # below every distance, so that it never returns
                done += 1
            self.bound[number] = self.nearest[rows].max()
        return chosen

    def _approach(self, rows: slice, centres: _Centres) -> None:
        kept = self.nearest[rows]
        torch.minimum(kept, centres.squared_distances(self.features[rows]), out=kept)


def _block(features: Tensor) -> int:
    """Rows of the features' width that make a temporary of at most BLOCK numbers, beside CHUNK points as well."""
    return max(1, BLOCK // max(CHUNK, features.shape[1]))


def _finite(values: Tensor) -> bool:
    """Whether all are finite, without a mask of the whole."""
    return all(bool(torch.isfinite(some).all()) for some in torch.split(values, _block(values)) if len(some))
