"""Probability of the most probable class (Lewis and Gale 1994)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.scores import confidence
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class LeastConfidence(ScoreStrategy):
    """Probability of the predicted class, smallest first."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return -confidence(view.probs)
