"""Batch selection by Fisher information of the last layer (BAIT: Ash, Goel, Krishnamurthy and
Kakade, NeurIPS 2021, algorithm 1).

Chosen are the images that make tr(M^-1 F) smallest: F is the Fisher information of all images, M
that of the labelled and chosen ones. Of a linear layer it is (diag(p) - p p^T) (x) x x^T. With two
classes diag(p) - p p^T has rank one and the trace needs only x x^T weighted with 2 p (1 - p); with
more classes this weight is the trace sum_c p_c (1 - p_c), an approximation that keeps matrices (d,
d) instead of (d classes, d classes) for any number of classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.al.functional.lazy_greedy import first_best

SLACK = 1e-10
"""Gains that differ by less, in units of the largest, are equal: the earlier image is chosen."""


def fisher_weights(probs: Tensor) -> Tensor:
    """Trace of diag(p) - p p^T: probs (n, classes) -> (n,) float64."""
    exact = probs.double()
    return (exact * (1 - exact)).sum(dim=1)


def select_bait(
    features: Tensor,
    weights: Tensor,
    labelled: Tensor,
    labelled_weights: Tensor,
    count: int,
    ridge: float,
    excess: int,
) -> Tensor:
    """Positions (count,) int64 in the order of choosing: `excess` * count forward steps, then the
    least missed ones go.

    features: (n, d) with weights (n,), labelled: (m, d) with labelled_weights (m,). M begins as
    ridge * I plus the Fisher information of the labelled images. Updates have rank one: a step
    costs O(n d + d^2).
    """
    state = _Fisher(features, weights, labelled, labelled_weights, ridge)
    chosen: list[int] = []
    for _ in range(min(excess * count, len(features))):
        gains = state.gains()
        gains[chosen] = -torch.inf
        best = first_best(gains, SLACK * float(gains.max().abs()))
        state.change(best, 1.0)
        chosen.append(best)
    while len(chosen) > count:
        losses = state.losses()[chosen]
        # The later one of equals goes, so that the earlier ones stay.
        last = len(chosen) - 1 - first_best(-losses.flip(0), SLACK * float(losses.abs().max()))
        state.change(chosen.pop(last), -1.0)
    return torch.tensor(chosen, dtype=torch.int64, device=features.device)


class _Fisher:
    """M^-1, M^-1 F M^-1, and of every candidate x: w x^T M^-1 x and w x^T M^-1 F M^-1 x."""

    def __init__(
        self,
        features: Tensor,
        weights: Tensor,
        labelled: Tensor,
        labelled_weights: Tensor,
        ridge: float,
    ) -> None:
        self.points = features.double() * weights.double().sqrt()[:, None]
        known = labelled.to(self.points) * labelled_weights.to(self.points).sqrt()[:, None]
        of_labelled = known.T @ known
        self.fisher = self.points.T @ self.points + of_labelled
        identity = torch.eye(len(self.fisher), dtype=self.fisher.dtype, device=self.fisher.device)
        self.inverse = torch.linalg.inv(ridge * identity + of_labelled)
        self.middle = self.inverse @ self.fisher @ self.inverse
        self.plain = ((self.points @ self.inverse) * self.points).sum(dim=1)
        self.traced = ((self.points @ self.middle) * self.points).sum(dim=1)

    def gains(self) -> Tensor:
        """(n,) by how much the trace falls when an image is added."""
        gains: Tensor = self.traced / (1 + self.plain)
        return gains

    def losses(self) -> Tensor:
        """(n,) by how much it rises when an image is taken away again."""
        losses: Tensor = self.traced / (1 - self.plain).clamp(min=1e-12)
        return losses

    def change(self, position: int, sign: float) -> None:
        """Add an image's information to M (sign 1) or take it away (-1): Sherman and Morrison's
        formula."""
        point = self.points[position]
        first, second = self.inverse @ point, self.middle @ point
        share = sign / (1 + sign * float(point @ first))
        doubled = share * share * float(point @ second)
        self.inverse -= share * torch.outer(first, first)
        crossed = torch.outer(first, second)
        self.middle += doubled * torch.outer(first, first) - share * (crossed + crossed.T)
        to_first, to_second = (self.points @ torch.stack([first, second], dim=1)).unbind(dim=1)
        self.plain -= share * to_first.square()
        self.traced += doubled * to_first.square() - 2 * share * to_first * to_second
