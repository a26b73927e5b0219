"""Outputs of one or several target models in one shape, for strategies that take both."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.al.strategies.base import View
from benchmark.al.strategies.committee import concatenate_models
from benchmark.errors import UsageError


def class_probs(view: View, name: str = "logits", temperature: float = 1.0) -> Tensor:
    """(n, classes) probabilities of logits divided by a temperature: of several target models the
    mean."""
    probs = (view[name] / temperature).softmax(dim=-1)
    return probs if probs.dim() == 2 else probs.mean(dim=0)


def image_features(view: View, name: str) -> Tensor:
    """(n, d) float features: of several target models side by side."""
    return concatenate_models(view[name]).float()


def pass_probs(view: View, name: str) -> Tensor:
    """(passes, n, classes) probabilities: those of several target models one after the other."""
    probs = view[name].softmax(dim=-1)
    return probs if probs.dim() == 3 else probs.flatten(0, 1)


def require_one_model(view: View, method: str) -> None:
    """Raise UsageError where the protocol has several target models."""
    if view.features.dim() > 2:
        raise UsageError(
            f"{method} is about one target model", remedy="leave it out where a suite has several"
        )


def fill_budget(positions: Tensor, count: int, budget: int, rng: np.random.Generator) -> Tensor:
    """At most `budget` of these positions, and uniform draws among the other candidates of `count`
    where they are fewer."""
    positions = positions.cpu()
    missing = budget - len(positions)
    if missing <= 0:
        return positions[:budget]
    rest = torch.ones(count, dtype=torch.bool)
    rest[positions] = False
    left = rest.nonzero()[:, 0]
    return torch.cat([positions, left[torch.from_numpy(rng.permutation(len(left))[:missing])]])
