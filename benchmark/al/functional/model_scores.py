"""Margin, entropy and least confidence of several target models at once, as DIAM's comparison scores them.

tangypnuaa/DIAM at cddf397, al_select.py. Smaller is wanted for all three. The release rescales each model's scores along
the wrong axis, one row of n "features", which leaves every finite score exactly 0: its three methods are random sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.al.functional.ranking import top
from benchmark.al.functional.scores import confidence, margin

Kind = Literal["margin", "entropy", "least_conf"]
Scaling = Literal["official", "per_model"]


def negative_entropy(probs: Tensor) -> Tensor:
    """Sum of p ln p as released: (..., classes) -> (...,); NaN where a probability underflows to 0."""
    return (probs * torch.log(probs)).sum(dim=-1)


RELEASED: Mapping[Kind, Callable[[Tensor], Tensor]] = {
    "margin": margin,
    "entropy": negative_entropy,
    "least_conf": confidence,
}


def raw_scores(logits: Tensor, kind: Kind, *, underflow: Literal["nan", "zero"] = "nan") -> Tensor:
    """Score of every model for every image: logits (models, n, classes) -> (models, n), smaller is wanted.

    `underflow`: what a probability of exactly 0 does to the entropy; `nan` as released, `zero` by 0 ln 0 = 0.
    """
    probs = logits.softmax(dim=2)
    if kind == "entropy" and underflow == "zero":
        return torch.xlogy(probs, probs).sum(dim=2)
    return RELEASED[kind](probs.flatten(0, 1)).view(probs.shape[:2])


def combined(scores: Tensor, scaling: Scaling) -> Tensor:
    """One score per image: (models, n) -> (n,), the mean over models of their rescaled scores, smaller is wanted.

    `per_model`: each model's scores run from 0 to 1 over the images (all 0 where they are equal). `official`: each score
    minus itself, that is 0, or NaN where any model's score is NaN.
    """
    if scaling == "official":
        return (scores - scores).mean(dim=0)
    low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    return ((scores - low) / spread).mean(dim=0)


def smallest(scores: Tensor, budget: int) -> Tensor:
    """Positions (budget,) of the smallest scores, equal ones in order. Raises AlbenchError for scores that are not finite."""
    return top(-scores, budget)


def drawn(scores: Tensor, budget: int, rng: np.random.Generator) -> Tensor:
    """Positions (budget,) as the official mode comes to pick: a sort of equal zeros, which no program orders in a defined
    way, here a uniform draw. Images with a NaN come after all others."""
    order = torch.from_numpy(rng.permutation(len(scores))).to(scores.device)
    return order[torch.argsort(scores[order].isnan().long(), stable=True)][:budget]
