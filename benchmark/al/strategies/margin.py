"""Difference between the two largest class probabilities (Scheffer et al. 2001)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.scores import margin
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class Margin(ScoreStrategy):
    """Margin between the two most probable classes, smallest first."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return -margin(view.probs)
