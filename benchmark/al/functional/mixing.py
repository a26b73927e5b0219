"""Whose prediction changes when its features are disturbed: ALFA-Mix by mixing, DropQuery by
dropout; and FALCUN's draws."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchmark.al.functional.scores import margin

ROWS = 1024
"""Images that are disturbed together."""
EPSILON = 0.2
"""ALFA-Mix's epsilon times the square root of the width of the features."""


def class_anchors(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes with a labelled image, d) mean features of each: features (m, d), labels (m,)."""
    counts = torch.bincount(labels, minlength=classes)
    sums = features.new_zeros(classes, features.shape[1]).index_add_(0, labels, features)
    return sums[counts > 0] / counts[counts > 0, None]


def flipped_by_mixing(
    features: Tensor, weight: Tensor, bias: Tensor, anchors: Tensor, epsilon: float | None = None
) -> Tensor:
    """(n,) whether mixing an image's features (n, d) with any anchor (a, d) changes the predicted
    class.

    weight: (classes, d), bias: (classes,). Parvaneh et al., CVPR 2022, equations 1 and 5: with the
    closed-form alpha the mixed features alpha z* + (1 - alpha) z are z + epsilon |z* - z| g / |g|,
    where g is the gradient by z of the loss at the predicted class; a feature in which image and
    anchor agree stays. `epsilon` None: 0.2 / sqrt(d).
    """
    step = EPSILON / math.sqrt(features.shape[1]) if epsilon is None else epsilon
    found = []
    for rows in torch.split(features, ROWS):
        logits = rows @ weight.T + bias
        predicted = logits.argmax(dim=1)
        residual = logits.softmax(dim=1)
        residual[torch.arange(len(rows), device=rows.device), predicted] -= 1
        gradient = residual @ weight
        direction = gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)
        # Logits are linear in features: what a step of length 1 adds to them is the same for all
        # anchors, less what the features that stay would have added.
        slope = direction @ weight.T
        lengths = step * torch.cdist(rows, anchors, compute_mode="donot_use_mm_for_euclid_dist")
        flipped = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for anchor, length in zip(anchors, lengths.T, strict=True):
            agree = rows == anchor
            some = agree.any(dim=0).nonzero()[:, 0]  # columns in which any image agrees
            kept = (direction[:, some] * agree[:, some]) @ weight[:, some].T
            flipped |= (logits + length[:, None] * (slope - kept)).argmax(dim=1) != predicted
        found.append(flipped)
    return torch.cat(found)


def changed_by_dropout(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    passes: int,
    share: float,
    rng: np.random.Generator,
) -> Tensor:
    """(n,) in how many of `passes` the predicted class changes when a `share` of the features (n,
    d) is dropped.

    Gupte et al., TMLR 2024, section 4: every image and pass has a mask of its own.
    """
    found = []
    for rows in torch.split(features, ROWS):
        predicted = (rows @ weight.T + bias).argmax(dim=1)
        changes = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        for _ in range(passes):
            drawn = torch.from_numpy(rng.random(rows.shape, dtype=np.float32)).to(rows.device)
            kept = rows * (drawn >= share) / (1 - share)
            changes += (kept @ weight.T + bias).argmax(dim=1) != predicted
        found.append(changes)
    return torch.cat(found)


def select_falcun(probs: Tensor, count: int, gamma: float, rng: np.random.Generator) -> Tensor:
    """Positions (count,) drawn one after the other by relevance: probs (n, classes).

    Gilhuber et al., ECML PKDD 2024, equations 1 to 6. Uncertainty is 1 - margin (1). Diversity
    begins as the uncertainty (3) and becomes the L1 distance (2) to the nearest drawn image,
    rescaled to [0, 1] after every draw (4). The sum of both (5) to the power of gamma is the
    probability of the next draw (6).
    """
    exact = probs.double()
    uncertainty = 1 - margin(exact)
    diversity = uncertainty.clone()
    free = torch.ones(len(exact), dtype=torch.float64, device=exact.device)
    drawn: list[int] = []
    for _ in range(count):
        if drawn:
            diversity = torch.minimum(diversity, (exact - exact[drawn[-1]]).abs().sum(dim=1))
            diversity = diversity - diversity.min()
            if float(diversity.max()) > 0:
                diversity = diversity / diversity.max()
        relevance = (uncertainty + diversity).pow(gamma) * free
        total = (relevance if float(relevance.sum()) > 0 else free).cumsum(dim=0)
        place = int(torch.searchsorted(total, total[-1] * float(rng.random()), right=True))
        # At the very end rounding may lead behind the last image that can be drawn.
        drawn.append(place if place < len(total) else int(free.nonzero()[-1]))
        free[drawn[-1]] = 0
    return torch.tensor(drawn, dtype=torch.int64, device=probs.device)
