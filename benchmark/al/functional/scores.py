"""Acquisition scores of one image each, from class probabilities or logits, and the order they
give.

Larger is not always more informative.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import AlbenchError

STUDENT_EPS = 1e-14
"""Added to student probabilities in the `prob` form of `consistency`, as released."""


def entropy(probs: Tensor) -> Tensor:
    """Shannon entropy in nats: probs (n, classes) -> (n,). 0 ln 0 counts as 0."""
    return -torch.xlogy(probs, probs).sum(dim=1)


def confidence(probs: Tensor) -> Tensor:
    """Probability of the most probable class: probs (n, classes) -> (n,)."""
    return probs.amax(dim=1)


def margin(probs: Tensor) -> Tensor:
    """Difference between the two largest probabilities: probs (n, classes) -> (n,)."""
    best = probs.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def gini(probs: Tensor) -> Tensor:
    """Gini impurity 1 - sum p^2: probs (n, classes) -> (n,)."""
    return 1 - probs.square().sum(dim=1)


def discrepancy(logits: Tensor, earlier: Tensor) -> Tensor:
    """Temporal output discrepancy: half the squared distance of the softmax outputs of two
    networks.

    logits, earlier: (n, classes) -> (n,). TOD, official code siyuhuang/TOD at 883494b, main_TOD.py
    get_uncertainty; the paper (ICCV 2021, section 3.3) gives the distance itself, which ranks
    alike.
    """
    return 0.5 * (logits.softmax(dim=1) - earlier.softmax(dim=1)).square().sum(dim=1)


def consistency(
    teacher: Tensor,
    students: Tensor,
    temperature: float | None = 0.7,
    form: Literal["prob", "logspace"] = "prob",
) -> Tensor:
    """Mean over students of KL(sharpened teacher || student), in nats.

    teacher: logits (n, classes), students: logits (students, n, classes) -> (n,). `temperature`
    sharpens the teacher only (None or 0: not at all). ST-CoNAL, official code soony1213/ST-CoNAL at
    43cb8c9, selection_methods.py get_consistency.

    `prob` is the released arithmetic on probabilities: 1e-14 in the denominator caps each term near
    32, and a teacher probability that underflows gives NaN. `logspace` is the same quantity without
    either.
    """
    if form == "logspace":
        log_teacher = F.log_softmax(teacher / temperature if temperature else teacher, dim=1)
        terms = log_teacher.exp() * (log_teacher - F.log_softmax(students, dim=2))
        return terms.sum(dim=2).mean(dim=0)
    probs = teacher.softmax(dim=1)
    if temperature:
        probs = probs.pow(1 / temperature)
        probs = probs / probs.sum(dim=1, keepdim=True)
    terms = probs * torch.log(probs / (students.softmax(dim=2) + STUDENT_EPS))
    return terms.sum(dim=2).mean(dim=0)


def normalised_confidence(logits: Tensor) -> Tensor:
    """Top-1 probability of the softmax of L2-normalised logits: (n, classes) -> (n,). PT4AL and BAL
    buy the smallest.

    PT4AL: Yi et al., ECCV 2022, johnsk95/PT4AL at 9a0da4a, main.py get_plabels2. BAL: Li et al.,
    TPAMI 2024, dvlab-research/BAL at 140d279, main.py get_confidence. The length of the logit
    vector has no influence: this is not ordinary least confidence.
    """
    return F.normalize(logits, dim=1).softmax(dim=1).amax(dim=1)


def top_positions(scores: Tensor, count: int) -> Tensor:
    """Positions (count,) int64 of the largest of `scores` (n,), best first.

    Sorting is stable by (score, position): unstable sorts pick different images on different
    machines when scores are equal. Raises AlbenchError for scores that are not finite: a NaN would
    sort first and be bought.
    """
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).sum())
        raise AlbenchError(
            f"{bad} of {len(scores)} scores are not finite",
            remedy="check the training for divergence",
        )
    return torch.argsort(scores, descending=True, stable=True)[:count]


def require_finite(name: str, values: Tensor) -> None:
    """Raise AlbenchError unless all `values` (any shape) are finite: no score would show what a
    diverged training left."""
    if not bool(torch.isfinite(values).all()):
        raise AlbenchError(f"the {name} are not finite", remedy="check the training for divergence")
