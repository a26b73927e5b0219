"""Uncertainty of one network's prediction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.scores import confidence, entropy, margin, normalised_confidence
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class Entropy(ScoreStrategy):
    """Shannon entropy of the predicted class distribution, largest first (Shannon 1948; as an
    acquisition function: Settles 2009, section 3.1)."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return entropy(view.probs)


@dataclass(frozen=True)
class Margin(ScoreStrategy):
    """Difference between the two largest class probabilities, smallest first (Scheffer et al.
    2001)."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return -margin(view.probs)


@dataclass(frozen=True)
class LeastConfidence(ScoreStrategy):
    """Probability of the most probable class, smallest first (Lewis and Gale 1994)."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) from the class probabilities of the trained model."""
        return -confidence(view.probs)


@dataclass(frozen=True)
class NormalisedConfidence(ScoreStrategy):
    """Smallest top-1 probability of the softmax of L2-normalised logits: the sampler of PT4AL and
    BAL without their windows.

    BAL: Li et al., TPAMI 2024, dvlab-research/BAL at 140d279, main.py get_confidence. The length of
    the logit vector has no influence, so the ranking differs from ordinary least confidence.
    """

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) minus the confidence."""
        return -normalised_confidence(view.logits)
