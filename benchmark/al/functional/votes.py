"""Disagreement of a model with itself over its last epochs: DIAM (Tang and Huang, NeurIPS 2022) and
CAL.

tangypnuaa/DIAM at cddf397, al_select.py. A vote is the hard label that a snapshot of a target model
gives an image; disagreement is always within one model over its snapshots, never between models.
CAL is disagreement-based active learning (Cohn et al. 1994; Hanneke 2014) with these snapshots as
the version space.

Beside them the comparison's margin, entropy and least confidence of several target models; smaller
is wanted for all three. The release rescales each model's scores along the wrong axis, one row of n
"features", which leaves every finite score exactly 0: its three methods are random sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.al.functional.scores import confidence, margin, top_positions
from benchmark.errors import AlbenchError

ALIPY_EPS = 1e-9
"""Added to vote counts inside the logarithm by ALiPy 1.2.5, query_labels.py: a unanimous model has
entropy -1e-10."""
OVERSAMPLING = 5
"""DIAM draws its budget from so many times as many top-ranked images."""


def vote_counts(votes: Tensor, classes: int) -> Tensor:
    """Histograms of labels: votes (snapshots, models, n) of 0..classes-1 -> (models, n, classes)
    int64."""
    if votes.numel() and int(votes.max()) >= classes:
        raise AlbenchError(f"a vote for class {int(votes.max())} of {classes}", where="votes")
    return torch.stack([(votes == label).sum(dim=0) for label in range(classes)], dim=-1)


def disagreement(votes: Tensor) -> Tensor:
    """DIAM's first key D: how many models did not always give the same label. votes (snapshots,
    models, n) -> (n,) int64."""
    return (votes != votes[:1]).any(dim=0).sum(dim=0)


def vote_entropy(
    votes: Tensor, classes: int, formula: Literal["alipy", "exact"] = "alipy"
) -> Tensor:
    """DIAM's second key V: vote entropies in nats, summed over models. votes (snapshots, models, n)
    -> (n,) float64.

    Terms are looked up by count and added in ascending order, so that equal partitions of the votes
    give equal bits regardless of the labels and the order of models.
    """
    count = torch.arange(len(votes) + 1, dtype=torch.float64, device=votes.device)
    share, eps = count / len(votes), ALIPY_EPS if formula == "alipy" else 0.0
    terms = -torch.xlogy(share, (count + eps) / len(votes))
    per_model = terms[vote_counts(votes, classes).sort(dim=-1).values].sum(dim=-1)
    return per_model.sort(dim=0).values.sum(dim=0)


def diam_candidates(
    votes: Tensor, budget: int, classes: int, formula: Literal["alipy", "exact"] = "alipy"
) -> Tensor:
    """The 5 * budget positions (fewer if there are fewer) from which DIAM draws uniformly, best
    first.

    Sorted by D, then V, both descending; of equal images the later one comes first (a stable
    ascending sort, reversed).
    """
    order = torch.argsort(vote_entropy(votes, classes, formula), stable=True)
    order = order[torch.argsort(disagreement(votes)[order], stable=True)]
    return order.flip(0)[: OVERSAMPLING * budget]


def cal_candidates(votes: Tensor) -> Tensor:
    """Ascending positions in the union of the models' disagreement regions: at least one model is
    not unanimous."""
    return torch.nonzero(disagreement(votes)).flatten()


Kind = Literal["margin", "entropy", "least_conf"]
Scaling = Literal["official", "per_model"]


def negative_entropy(probs: Tensor) -> Tensor:
    """Sum of p ln p as released: (..., classes) -> (...,); NaN where a probability underflows to
    0."""
    return (probs * torch.log(probs)).sum(dim=-1)


RELEASED: Mapping[Kind, Callable[[Tensor], Tensor]] = {
    "margin": margin,
    "entropy": negative_entropy,
    "least_conf": confidence,
}


def raw_scores(logits: Tensor, kind: Kind, *, underflow: Literal["nan", "zero"] = "nan") -> Tensor:
    """Score of every model for every image: logits (models, n, classes) -> (models, n), smaller is
    wanted.

    `underflow`: what a probability of exactly 0 does to the entropy; `nan` as released, `zero` by 0
    ln 0 = 0.
    """
    probs = logits.softmax(dim=2)
    if kind == "entropy" and underflow == "zero":
        return torch.xlogy(probs, probs).sum(dim=2)
    return RELEASED[kind](probs.flatten(0, 1)).view(probs.shape[:2])


def combine_scores(scores: Tensor, scaling: Scaling) -> Tensor:
    """One score per image: (models, n) -> (n,), the mean over models of their rescaled scores,
    smaller is wanted.

    `per_model`: each model's scores run from 0 to 1 over the images (all 0 where they are equal).
    `official`: each score minus itself, that is 0, or NaN where any model's score is NaN.
    """
    if scaling == "official":
        return (scores - scores).mean(dim=0)
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    return ((scores - low) / spread).mean(dim=0)


def smallest_positions(scores: Tensor, budget: int) -> Tensor:
    """Positions (budget,) of the smallest scores, equal ones in order. Raises AlbenchError for
    scores that are not finite."""
    return top_positions(-scores, budget)


def draw_ties(scores: Tensor, budget: int, rng: np.random.Generator) -> Tensor:
    """Positions (budget,) as the official mode comes to pick: a sort of equal zeros, which no
    program orders in a defined way, here a uniform draw. Images with a NaN come after all
    others."""
    order = torch.from_numpy(rng.permutation(len(scores))).to(scores.device)
    return order[torch.argsort(scores[order].isnan().long(), stable=True)][:budget]
