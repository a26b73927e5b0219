"""DIAM_qp: disagreement traded against density by a quadratic programme; a reading of
tangypnuaa/DIAM at cddf397.

The released function cannot run: its dispatch passes an argument that the function lacks, and the
helper that would name the subset is in none of the repository's commits. The programme, the
neighbours and the order of purchase are al_select.py's own; the subset by D is a reading. There is
no published number to hold it to. Among the most disputed images, z weighs each by min 1/2 z'Pz - q
D'z  subject to  sum z = budget, 0 <= z <= 1, where D counts the models in dispute and P how often
two images are near neighbours in the models' embeddings. The release asks OSQP; here an accelerated
projected gradient runs until its duality gap is small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from benchmark.al.functional.scores import top_positions
from benchmark.errors import AlbenchError

SHARE, MOST = 5, 15_000
"""At most one in `SHARE` images of the pool, and at most `MOST`, enter the programme."""
NEIGHBOURS = 0.01
"""Share of them that counts as near to an image, the image itself included."""
BLOCK = 2**24
"""Most distances held at once."""


def find_disputed(disagreement: Tensor) -> Tensor:
    """Positions of the images that enter the programme: the largest of D (n,), in ascending order.

    al_select.py at cddf397 takes the end of an unstable sort, which leaves equal ones undefined;
    here the earlier ones enter.
    """
    return largest_positions(disagreement, min(len(disagreement) // SHARE, MOST))


def largest_positions(values: Tensor, count: int) -> Tensor:
    """Positions (count,) of the largest values in ascending order of value, equal ones in order; of
    equal ones at the cut the earlier ones, as every strategy keeps them."""
    chosen = top_positions(values, count).sort().values
    return chosen[torch.argsort(values[chosen], stable=True)]


def diam_qp(
    disagreement: Tensor,
    embeddings: Iterable[Tensor],
    budget: int,
    q: float = 1.0,
    order: Literal["ascending", "descending"] = "ascending",
) -> Tensor:
    """Positions (budget,) with the largest weights, of equal ones the earlier, in ascending order
    of weight as the release buys them, or in descending order. The order counts: the release trains
    on the labelled list without shuffling it.

    disagreement: (s,) D of the disputed images; embeddings: (s, d) of each target model, read one
    after the other. Needs some 24 * s^2 bytes. Raises AlbenchError for a budget beyond s.
    """
    count = len(disagreement)
    if budget > count:
        raise AlbenchError(
            f"{budget} picks from {count} disputed images", remedy="lower the budget"
        )
    near = torch.zeros((count, count), dtype=torch.float64, device=disagreement.device)
    for embedding in embeddings:
        add_neighbours(near, embedding, int(NEIGHBOURS * count))
    weights = solve(positive_part(near), q * disagreement.double(), budget)
    return (
        largest_positions(weights, budget)
        if order == "ascending"
        else top_positions(weights, budget)
    )


def add_neighbours(counts: Tensor, embedding: Tensor, neighbours: int) -> None:
    """Add 1 to counts[a, b], in place, for the `neighbours` points b nearest to a, a itself first.

    counts: (s, s), embedding: (s, d), Euclidean; of equally near points the earlier ones count.
    """
    if neighbours == 0:
        return
    centred = embedding - embedding.mean(
        dim=0
    )  # large common offsets would eat the digits of the products
    norms = centred.square().sum(dim=1)
    rows = max(1, BLOCK // len(counts))
    for start in range(0, len(counts), rows):
        part = slice(start, start + rows)
        distances = torch.addmm(
            norms, centred[part], centred.T, alpha=-2
        )  # up to the row's own norm
        distances.diagonal(start).fill_(-torch.inf)
        limit = distances.topk(neighbours, dim=1, largest=False).values[:, -1:]
        inside, tied = distances < limit, distances == limit
        room = neighbours - inside.sum(dim=1, keepdim=True)
        counts[part] += inside | (tied & (tied.cumsum(dim=1) <= room))


def positive_part(counts: Tensor) -> Tensor:
    """The symmetric part of a square matrix with its negative eigenvalues set to 0."""
    # eigh, not eig: the matrix is symmetric, and a general solver returns complex pairs where
    # rounding breaks that.
    values, vectors = torch.linalg.eigh((counts + counts.T) / 2)
    kept = values > 0
    positive: Tensor = (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
    return positive


def solve(
    matrix: Tensor, reward: Tensor, budget: int, tolerance: float = 1e-7, steps: int = 20_000
) -> Tensor:
    """Weights z (s,) of  min 1/2 z'Pz - r'z,  sum z = budget, 0 <= z <= 1, for positive
    semi-definite P (s, s).

    Accelerated projected gradient (Beck and Teboulle 2009) that forgets its momentum whenever it
    points uphill. It ends when the duality gap is below `tolerance` * (1 + |objective|); raises
    AlbenchError if that takes more than `steps` steps.
    """
    bound = _curvature_bound(matrix, reward)
    weights = torch.full_like(reward, budget / max(1, len(reward)))
    ahead, momentum = weights, 1.0
    for number in range(steps):
        if number % 10 == 0 and _duality_gap(matrix, reward, weights, budget) <= tolerance:
            return weights
        moved = project(ahead - (matrix @ ahead - reward) / bound, budget)
        if bool((ahead - moved) @ (moved - weights) > 0):
            ahead, momentum = moved, 1.0
        else:
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead, momentum = moved + (momentum - 1) / following * (moved - weights), following
        weights = moved
    raise AlbenchError(
        f"the quadratic programme is not solved after {steps} steps", where="DIAM_qp"
    )


def project(point: Tensor, total: float) -> Tensor:
    """The nearest point of {0 <= z <= 1, sum z = total}: a common shift, found by halving, then
    clipping."""
    low, high = point.min() - 1, point.max()
    for _ in range(80):
        middle = (low + high) / 2
        above = (point - middle).clamp(0, 1).sum() > total
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (point - (low + high) / 2).clamp(0, 1)


def _duality_gap(matrix: Tensor, reward: Tensor, weights: Tensor, budget: int) -> float:
    """How far the objective can at most be from its minimum, relative to 1 + |objective|."""
    pull = matrix @ weights
    gradient = pull - reward
    gap = gradient @ weights - gradient.sort().values[:budget].sum()
    return float(gap / (1 + (weights @ (pull / 2 - reward)).abs()))


def _curvature_bound(matrix: Tensor, reward: Tensor) -> float:
    """An upper bound of the largest eigenvalue: the largest absolute row sum.

    It is kept from being tiny beside the rewards, where a step would leave the range in which
    float64 can distinguish weights.
    """
    if not len(reward):
        return 1.0
    return max(
        float(matrix.abs().sum(dim=1).max()), 1e-3 * float(reward.max() - reward.min()), 1e-12
    )
