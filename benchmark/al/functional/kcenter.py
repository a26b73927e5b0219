"""Greedy k-center (Gonzalez 1985; core-set selection, Sener and Savarese, ICLR 2018, algorithm 1).

Exact greedy picks without an n x m matrix and without touching most distances. Distances to the
nearest centre only shrink, so the largest one last seen in a chunk of points bounds the chunk from
above: only the chunk that holds the largest bound is brought up to date before a pick, with all the
centres it has missed at once. Points that begin far from all centres share a chunk, so most chunks
are never looked at again.

Matrix products only decide which centre is nearest. The distance kept is then the sum of squared
differences to it in float64, equal for equal points wherever they stand, so that ties fall to the
first point on every machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.errors import AlbenchError

CHUNK = 64
"""Points that are brought up to date together."""
ROWS = 512
"""Points that meet the first centres together: products of this height run near full speed."""
BLOCK = 2**21
"""Most numbers in one temporary: 16 MiB in float64."""


def k_center_greedy(features: Tensor, centres: Tensor, budget: int) -> Tensor:
    """Pick `budget` points one after the other, each the farthest from all centres and earlier
    picks.

    features: (n, d), centres: (m, d), m may be 0 -> positions (budget,) int64 in the order of
    picking, on the device of `features`. Euclidean distance; equal distances go to the first point,
    a point is picked once at most, and without centres the first pick is point 0. Extra memory
    stays below 128 MiB plus 64 bytes per point. Raises AlbenchError for features that are not
    finite or a budget beyond n.
    """
    if budget > len(features):
        raise AlbenchError(f"{budget} picks from {len(features)} points", remedy="lower the budget")
    for name, values in (("features", features), ("centres", centres)):
        if not _all_finite(values):
            raise AlbenchError(
                f"the {name} are not finite",
                where="k-center",
                remedy="check the training for divergence",
            )
    if budget == 0:
        return torch.empty((0,), dtype=torch.int64, device=features.device)
    return _Greedy(features, centres, budget).pick()


class _Centres:
    """A block of centres (c, d), prepared for finding the nearest of them.

    Centres and points are shifted by the mean of the centres, which keeps large common offsets from
    eating the digits.
    """

    def __init__(self, centres: Tensor, middle: Tensor) -> None:
        """`middle`: (d,) in the type of the products, see `_kind`."""
        self.middle, self.shifted = middle, centres.to(middle.dtype) - middle
        self.norms = self.shifted.square().sum(dim=1)

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(p, d) -> (p,) squared distance less the point's own norm, up to rounding, and (p,) place
        of the nearest."""
        shifted = points.to(self.middle.dtype) - self.middle
        least = torch.addmm(self.norms, shifted, self.shifted.T, alpha=-2).min(dim=1)
        return least.values, least.indices


class _Greedy:
    """Squared distances to the nearest centre, kept lazily per chunk of points, on the host."""

    def __init__(self, features: Tensor, centres: Tensor, budget: int) -> None:
        count = len(features)
        self.device = features.device
        self.chosen = torch.empty((budget,), dtype=torch.int64)
        self.done = 0
        if len(centres) == 0:
            centres, self.chosen[0], self.done = features[:1], 0, 1
        # The first distances are nearly all the work; picks are a few numbers each, for which a
        # device would be waited for.
        distances = _distances_to_centres(features, centres).cpu()
        self.features = features.cpu()
        distances[self.chosen[: self.done]] = -1.0  # below every distance, so that it never returns
        order = distances.argsort(descending=True, stable=True)
        self.chunks = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
        self.order = torch.cat([order[rows].sort().values for rows in self.chunks])
        """(n,) the points chunk by chunk, farthest chunk first, in their own order inside."""
        self.nearest = distances[self.order]
        self.bound = torch.stack([self.nearest[rows].max() for rows in self.chunks])
        self.applied = [self.done] * len(self.chunks)

    def pick(self) -> Tensor:
        """Positions (budget,) of the greedy picks."""
        while self.done < len(self.chosen):
            highest = (self.bound == self.bound.max()).nonzero()[:, 0].tolist()
            stale = [number for number in highest if self.applied[number] < self.done]
            if stale:
                self._bring_up_to_date(stale[0])
            else:
                self._take(highest)
        return self.chosen.to(self.device)

    def _bring_up_to_date(self, number: int) -> None:
        """Let a chunk meet the picks it has missed."""
        rows = self.chunks[number]
        points = self.features[self.order[rows]]
        for some in torch.split(
            self.chosen[self.applied[number] : self.done], _block_rows(self.features)
        ):
            missed = self.features[some]
            if len(some) > 1:
                prepared = _Centres(missed, missed.to(_product_type(missed)).mean(dim=0))
                missed = missed[prepared.nearest(points)[1]]
            distances = _squared_distances(points, missed)
            torch.minimum(self.nearest[rows], distances, out=self.nearest[rows])
        self.bound[number] = self.nearest[rows].max()
        self.applied[number] = self.done

    def _take(self, highest: list[int]) -> None:
        """Pick the first of the farthest points, which stand in these chunks."""
        places = [
            self.chunks[number].start + int(self.nearest[self.chunks[number]].argmax())
            for number in highest
        ]
        point, place, number = min(
            (int(self.order[p]), p, k) for p, k in zip(places, highest, strict=True)
        )
        self.chosen[self.done] = point
        self.nearest[place] = -1.0
        self.bound[number] = self.nearest[self.chunks[number]].max()
        self.done += 1


def _distances_to_centres(features: Tensor, centres: Tensor) -> Tensor:
    """(n,) float64 squared distance of every point to the nearest centre."""
    middle = centres.mean(dim=0, dtype=_product_type(centres))
    least = torch.full((len(features),), torch.inf, dtype=middle.dtype, device=features.device)
    closest = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    first = 0
    for some in torch.split(centres, _block_rows(features)):
        prepared = _Centres(some, middle)
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            values, places = prepared.nearest(features[rows])
            closer = values < least[rows]
            least[rows] = torch.where(closer, values, least[rows])
            closest[rows] = torch.where(closer, places + first, closest[rows])
        first += len(some)
    pieces = [slice(start, start + CHUNK) for start in range(0, len(features), CHUNK)]
    return torch.cat(
        [_squared_distances(features[rows], centres[closest[rows]]) for rows in pieces]
    )


def _squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """(p, d) and (p, d) -> (p,) squared distances in float64."""
    return (points.double() - others.double()).square_().sum(dim=1)


def _product_type(values: Tensor) -> torch.dtype:
    """The type of the products: CUDA may run float32 ones in TF32, whose three digits are not
    enough here."""
    exact = values.dtype in (torch.float32, torch.float64) and not values.is_cuda
    return values.dtype if exact else torch.float64


def _block_rows(features: Tensor) -> int:
    """Rows of the features' width that make a temporary of at most BLOCK numbers, beside ROWS
    points as well."""
    return max(1, BLOCK // max(ROWS, features.shape[1]))


def _all_finite(values: Tensor) -> bool:
    """Whether all are finite, without a mask of the whole."""
    pieces = [
        torch.isfinite(some).all() for some in torch.split(values, _block_rows(values)) if len(some)
    ]
    return not pieces or bool(torch.stack(pieces).all())
