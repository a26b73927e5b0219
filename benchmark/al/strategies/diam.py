"""DIAM: images on which most target models disagree with their own snapshots (Tang and Huang, NeurIPS 2022).

tangypnuaa/DIAM at cddf397, al_select.py, the conference version: joint disagreement, then a uniform draw from the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from benchmark.al.functional.votes import diam_candidates, disagreement
from benchmark.al.strategies._committee import disagreement_diagnostics, votes
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Diam(Strategy):
    """A uniform draw from the 5 * budget images with the largest (D, V), see `functional.votes`."""

    needs = frozenset({"votes"})
    formula: Literal["alipy", "exact"] = "alipy"
    """Vote entropy as ALiPy 1.2.5 computes it, or without its small constant: they differ in exact ties only."""

    def select(self, view: View, budget: int) -> Picks:
        """Draw from the top of the list; the mean of D and the share of disputed images are recorded."""
        cast = votes(view)
        best = diam_candidates(cast, budget, view.classes, self.formula)
        drawn = torch.from_numpy(view.rng.permutation(len(best))[:budget]).to(best.device)
        return Picks(best[drawn], diagnostics=disagreement_diagnostics(disagreement(cast)))
