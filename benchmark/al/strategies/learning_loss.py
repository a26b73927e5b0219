"""Largest predicted loss first (Yoo and Kweon, CVPR 2019, section 3.2). Needs an objective that
predicts losses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class PredictedLoss(ScoreStrategy):
    """The loss-prediction module's output, in every cycle including the first."""

    needs = frozenset({"logits", "predicted_loss"})

    def score(self, view: View) -> Tensor:
        """(n,) predicted losses."""
        return view["predicted_loss"]
