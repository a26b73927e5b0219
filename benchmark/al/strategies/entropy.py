"""Shannon entropy of the predicted class distribution (Shannon 1948; as an acquisition function: Settles 2009, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.scores import entropy
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class Entropy(ScoreStrategy):
    """Predictive entropy, largest first."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return entropy(view.probs)
