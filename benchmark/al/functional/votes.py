"""Disagreement of a model with itself over its last epochs: DIAM (Tang and Huang, NeurIPS 2022) and CAL.

tangypnuaa/DIAM at cddf397, al_select.py. A vote is the hard label that a snapshot of a target model gives an image;
disagreement is always within one model over its snapshots, never between models. CAL is disagreement-based active
learning (Cohn et al. 1994; Hanneke 2014) with these snapshots as the version space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from benchmark.errors import AlbenchError

ALIPY_EPS = 1e-9
"""Added to vote counts inside the logarithm by ALiPy 1.2.5, query_labels.py: a unanimous model has entropy -1e-10."""
OVERSAMPLING = 5
"""DIAM draws its budget from so many times as many top-ranked images."""


def vote_counts(votes: Tensor, classes: int) -> Tensor:
    """Histograms of labels: votes (snapshots, models, n) of 0..classes-1 -> (models, n, classes) int64."""
    if votes.numel() and int(votes.max()) >= classes:
        raise AlbenchError(f"a vote for class {int(votes.max())} of {classes}", where="votes")
    return torch.stack([(votes == label).sum(dim=0) for label in range(classes)], dim=-1)


def disagreement(votes: Tensor) -> Tensor:
    """DIAM's first key D: how many models did not always give the same label. votes (snapshots, models, n) -> (n,) int64."""
    return (votes != votes[:1]).any(dim=0).sum(dim=0)


def vote_entropy(votes: Tensor, classes: int, formula: Literal["alipy", "exact"] = "alipy") -> Tensor:
    """DIAM's second key V: vote entropies in nats, summed over models. votes (snapshots, models, n) -> (n,) float64.

    Terms are looked up by count and added in ascending order, so that equal partitions of the votes give equal bits
    whatever the labels and the order of models.
    """
    count = torch.arange(len(votes) + 1, dtype=torch.float64, device=votes.device)
    share, eps = count / len(votes), ALIPY_EPS if formula == "alipy" else 0.0
    terms = -torch.xlogy(share, (count + eps) / len(votes))
    per_model = terms[vote_counts(votes, classes).sort(dim=-1).values].sum(dim=-1)
    return per_model.sort(dim=0).values.sum(dim=0)


def diam_candidates(votes: Tensor, budget: int, classes: int, formula: Literal["alipy", "exact"] = "alipy") -> Tensor:
    """The 5 * budget positions (fewer if there are fewer) from which DIAM draws uniformly, best first.

    Sorted by D, then V, both descending; of equal images the later one comes first (a stable ascending sort, reversed).
    """
    order = torch.argsort(vote_entropy(votes, classes, formula), stable=True)
    order = order[torch.argsort(disagreement(votes)[order], stable=True)]
    return order.flip(0)[: OVERSAMPLING * budget]


def cal_candidates(votes: Tensor) -> Tensor:
    """Ascending positions in the union of the models' disagreement regions: at least one model is not unanimous."""
    return torch.nonzero(disagreement(votes)).flatten()
