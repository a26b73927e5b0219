"""Least confidence on L2-normalised logits over all candidates: the sampler of PT4AL and BAL without their windows.

BAL: Li et al., TPAMI 2024, dvlab-research/BAL at 140d279, main.py get_confidence. The length of the logit vector has no
influence, so the ranking differs from ordinary least confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.normalised_confidence import normalised_confidence
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class NormalisedConfidence(ScoreStrategy):
    """Smallest top-1 probability of the softmax of normalised logits."""

    needs = frozenset({"logits"})

    def score(self, view: View) -> Tensor:
        """(n,) minus the confidence."""
        return -normalised_confidence(view.logits)
