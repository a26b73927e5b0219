"""Mutual information between labels and the parameters of a network, from passes with dropout.

BALD: Houlsby et al. 2011; with dropout Gal, Islam and Ghahramani, ICML 2017, section 4. BatchBALD:
Kirsch, van Amersfoort and Gal, NeurIPS 2019, section 3 and algorithm 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.al.functional.lazy_greedy import lazy_greedy

ROWS = 4096
"""Images whose entropies are computed together."""


def entropies(probs: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis."""
    return -torch.xlogy(probs, probs).sum(dim=-1)


def mutual_information(probs: Tensor) -> tuple[Tensor, Tensor]:
    """BALD and the mean entropy of the passes, (n,) float64 each, in nats: probs (passes, n,
    classes).

    H(mean_k p_k) - mean_k H(p_k); rounding below 0 counts as 0.
    """
    means, scores = [], []
    for rows in torch.split(probs, ROWS, dim=1):
        exact = rows.double()
        mean = entropies(exact).mean(dim=0)
        scores.append((entropies(exact.mean(dim=0)) - mean).clamp(min=0))
        means.append(mean)
    return torch.cat(scores), torch.cat(means)


def batch_bald(probs: Tensor, count: int, samples: int, rng: np.random.Generator) -> Tensor:
    """Positions (count,) of the images whose labels together are most informative about the passes,
    one after the other.

    probs: (passes, n, classes). What an image adds is H(y | labels of the batch so far) - mean_k
    H(p_k), by the chain rule of the joint entropy (equation 8). The expectation over the labels of
    the batch is exact as long as there are at most `samples` combinations, and beyond that over
    `samples` combinations drawn from the joint distribution (section 3.2). Gains shrink as the
    batch grows (submodularity, theorem 1), so most are never computed. A batch holds at most
    ln(passes) of information: once it has that, the images of largest BALD follow.
    """
    scores, means = mutual_information(probs)
    order = torch.argsort(scores, descending=True, stable=True)
    joint = _Joint(probs, means, samples, rng)
    picks = lazy_greedy(
        scores[order],
        lambda places: joint.gains(order[places.to(order.device)]),
        lambda place: joint.accept(int(order[place])),
        count,
    )
    return order[picks.to(order.device)]


class _Joint:
    """Combinations of labels of the batch so far: how probable each is, and the passes given it."""

    def __init__(
        self, probs: Tensor, means: Tensor, samples: int, rng: np.random.Generator
    ) -> None:
        self.probs, self.means, self.samples, self.rng = probs, means, samples, rng
        self.weights = means.new_ones(1)
        """(combinations,) probabilities."""
        self.passes = means.new_full((1, len(probs)), 1 / len(probs))
        """(combinations, passes) probability of each pass given the combination."""
        self.drawn = False

    def gains(self, positions: Tensor) -> Tensor:
        """(b,) what each image would add."""
        seen = self.probs[:, positions].double()  # (passes, b, classes)
        predicted = (self.passes @ seen.flatten(1)).view(-1, *seen.shape[1:])
        return self.weights @ entropies(predicted) - self.means[positions]

    def accept(self, position: int) -> None:
        """An image is in the batch: every combination goes on with each of its labels, or with one
        that is drawn."""
        own = self.probs[:, position].double()  # (passes, classes)
        if not self.drawn and len(self.weights) * own.shape[1] > self.samples:
            self.drawn = True
            chosen = self._draw(self.weights[None].expand(self.samples, -1))
            self.passes, self.weights = (
                self.passes[chosen],
                self.weights.new_full((self.samples,), 1 / self.samples),
            )
        if self.drawn:
            labels = self._draw(self.passes @ own)
            passes = self.passes * own.T[labels]
        else:
            joint = self.passes[:, None, :] * own.T[None]  # (combinations, classes, passes)
            self.weights = (self.weights[:, None] * joint.sum(dim=2)).flatten()
            passes = joint.flatten(0, 1)
        # A combination that cannot be has no influence, regardless of what stands for its passes.
        self.passes = passes / passes.sum(dim=1, keepdim=True).clamp(min=1e-300)

    def _draw(self, probs: Tensor) -> Tensor:
        """(rows,) one place of each row, drawn by the row's probabilities."""
        uniform = torch.from_numpy(self.rng.random(len(probs))).to(probs.device)
        total = probs.cumsum(dim=1)
        return torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True)[:, 0].clamp(
            max=probs.shape[1] - 1
        )
