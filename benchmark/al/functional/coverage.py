"""Coverage of a pool by labelled points, and greedy picks that raise it most: MaxHerding, UHerding
and ProbCover.

Similarities of all pairs are kept for a few thousand candidates only. Of more they are computed for
a block of candidates at a time and forgotten, so memory grows with the candidates, not with their
square.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.functional.clustering import cluster
from benchmark.al.functional.lazy_greedy import BLOCK, lazy_greedy

MOST_PAIRS = 2**25
"""Pairs of candidates whose similarities are kept, in float64: 256 MiB."""
TILE = 512
"""Candidates whose similarities to be kept are computed together."""


def select_herding(
    features: Tensor,
    labelled: Tensor,
    count: int,
    sigma: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Positions (count,) of the points that raise the generalised coverage sum_x w(x) max_s k(x, s)
    most, one after the other.

    features: (n, d), labelled: (m, d), weights: (n,), 0 or more (None: 1 each). The kernel is
    exp(-|x - s|^2 / sigma^2) on features of unit length. Bae, Noh and Sutherland, ECCV 2024,
    equation 4 and algorithm 1 (MaxHerding); with an uncertainty for w: Bae et al., ICLR 2025,
    section 3 (UHerding). In float64, so that equal points have equal gains up to rounding far below
    others'.
    """
    return _Herding(features, labelled, sigma, weights).pick(count)


class _Herding:
    """Similarity of every point to the nearest chosen one, and what a candidate would add."""

    def __init__(
        self, features: Tensor, labelled: Tensor, sigma: float, weights: Tensor | None
    ) -> None:
        self.points, self.scale = F.normalize(features.double(), dim=1), 1 / sigma**2
        count = len(self.points)
        self.weights = self.points.new_ones(count) if weights is None else weights.to(self.points)
        self.covered = self.points.new_zeros(count)
        for rows in torch.split(F.normalize(labelled.to(self.points), dim=1), BLOCK):
            if len(rows):
                self.covered = torch.maximum(self.covered, self._similarity(rows).amax(dim=0))

        self.pairs = self._all_pairs() if count**2 <= MOST_PAIRS else None

    def _similarity(self, rows: Tensor, first: int = 0) -> Tensor:
        """(b, n - first) kernel values of (b, d) points and those from `first` on."""
        return (rows @ self.points[first:].T).sub_(1).mul_(2 * self.scale).exp_()

    def _all_pairs(self) -> Tensor:
        """(n, n) kernel values: those of a tile and of all behind it, and the same turned."""
        pairs = self.points.new_empty(len(self.points), len(self.points))
        for start in range(0, len(self.points), TILE):
            tile = slice(start, start + TILE)
            values = self._similarity(self.points[tile], start)
            pairs[tile, start:], pairs[start:, tile] = values, values.T
        return pairs

    def _similarity_of(self, positions: Tensor) -> Tensor:
        """(b, n) kernel values of these candidates, to be changed at will."""
        positions = positions.to(self.points.device)
        if self.pairs is None:
            return self._similarity(self.points[positions])
        return self.pairs[positions]

    def gains(self, positions: Tensor) -> Tensor:
        """(b,) what each of these candidates would add."""
        return self._similarity_of(positions).sub_(self.covered).clamp_(min=0) @ self.weights

    def accept(self, position: int) -> None:
        """A candidate is bought."""
        bought = self._similarity_of(torch.tensor([position]))[0]
        self.covered = torch.maximum(self.covered, bought)

    def pick(self, count: int) -> Tensor:
        """Positions of the picks, on the device of the points."""
        order = torch.arange(len(self.points))
        first = torch.cat([self.gains(block).cpu() for block in torch.split(order, BLOCK)])
        return lazy_greedy(first, self.gains, self.accept, count).to(self.points.device)


class BallCover:
    """Which points lie within a radius of chosen ones, and how many more each candidate would cover
    (ProbCover).

    Yehuda et al., NeurIPS 2022, algorithm 1: the out-degree of a point is the number of uncovered
    points within `radius` of it. A covered point lowers the degree of everything around it once, so
    edges need not be kept: memory is (block, n).
    """

    def __init__(self, features: Tensor, labelled: Tensor, radius: float) -> None:
        """features: (n, d), labelled: (m, d)."""
        self.points = F.normalize(features.float(), dim=1)
        self.near = 1 - radius**2 / 2
        """Inner product of two points of unit length at the distance of the radius."""
        self.covered = torch.zeros(len(self.points), dtype=torch.bool, device=self.points.device)
        for rows in torch.split(F.normalize(labelled.to(self.points), dim=1), BLOCK):
            self.covered |= ((rows @ self.points.T) >= self.near).any(dim=0)
        self.degrees = torch.zeros(len(self.points), dtype=torch.int64, device=self.points.device)
        self._count((~self.covered).nonzero()[:, 0], 1)

    def _count(self, positions: Tensor, amount: int) -> None:
        for rows in torch.split(positions, BLOCK):
            self.degrees += amount * ((self.points[rows] @ self.points.T) >= self.near).sum(dim=0)

    def pick(self, count: int, rng: np.random.Generator) -> Tensor:
        """Positions (count,) of largest degree, one after the other, first of equals. Where
        everything is covered the algorithm does not say what is bought: it is drawn."""
        picked: list[int] = []
        for _ in range(count):
            best = int(self.degrees.argmax())
            if int(self.degrees[best]) == 0:
                break
            picked.append(best)
            fresh = ((self.points @ self.points[best]) >= self.near) & ~self.covered
            fresh[best] |= ~self.covered[best]  # its product with itself may round to less than 1
            self.covered |= fresh
            self._count(fresh.nonzero()[:, 0], -1)
        rest = torch.ones(len(self.points), dtype=torch.bool)
        rest[picked] = False
        left = rest.nonzero()[:, 0]
        drawn = (
            rng.permutation(len(left))[: count - len(picked)]
            if len(picked) < count
            else np.empty(0, np.int64)
        )
        return torch.cat([torch.tensor(picked, dtype=torch.int64), left[torch.from_numpy(drawn)]])


def pure_radius(features: Tensor, clusters: int, purity: float, rng: np.random.Generator) -> float:
    """The largest radius at which a share `purity` of all balls holds points of one cluster only,
    on features of unit length.

    features: (n, d). Yehuda et al., NeurIPS 2022, section 3.3: labels are those of k-means with as
    many clusters as classes. A ball is pure up to the nearest point of another cluster, so the
    radius is a quantile of these n distances and no grid is searched.
    """
    points = F.normalize(features.float(), dim=1)
    names = cluster(points, min(clusters, len(points)), rng).to(points.device)
    nearest = []
    for rows, own in zip(torch.split(points, BLOCK), torch.split(names, BLOCK), strict=True):
        products = (rows @ points.T).masked_fill_(own[:, None] == names, -1.0)
        nearest.append(products.amax(dim=1))
    distances = (2 - 2 * torch.cat(nearest).double()).clamp(min=0).sqrt().sort().values
    # Between two distances, so that rounding decides nothing: the `kept` largest ones stay outside
    # their balls.
    kept = max(int(np.ceil(purity * len(distances))), 1)
    place = len(distances) - kept
    below = float(distances[place - 1]) if place else 0.0
    return (below + float(distances[place])) / 2
