"""Disagreement of target models with their own snapshots (Tang and Huang, NeurIPS 2022;
tangypnuaa/DIAM at cddf397, al_select.py): DIAM in the conference version, CAL, and a reading of
DIAM_qp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from benchmark.al.functional.diam_qp import diam_qp, find_disputed
from benchmark.al.functional.votes import cal_candidates, diam_candidates, disagreement
from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.al.strategies.committee import disagreement_diagnostics, stack_votes


@dataclass(frozen=True)
class Diam(Strategy):
    """Joint disagreement, then a uniform draw from the top: of the 5 * budget images with the
    largest (D, V), see `functional.votes`."""

    needs = frozenset({"votes"})
    formula: Literal["alipy", "exact"] = "alipy"
    """Vote entropy as ALiPy 1.2.5 computes it, or without its small constant: they differ in exact
    ties only."""

    def select(self, view: View, budget: int) -> Picks:
        """Draw from the top of the list; the mean of D and the share of disputed images are
        recorded."""
        cast = stack_votes(view)
        best = diam_candidates(cast, budget, view.classes, self.formula)
        drawn = torch.from_numpy(view.rng.permutation(len(best))[:budget]).to(best.device)
        return Picks(best[drawn], diagnostics=disagreement_diagnostics(disagreement(cast)))


@dataclass(frozen=True)
class Cal(Strategy):
    """A uniform draw from the union of the target models' disagreement regions (Cohn et al. 1994),
    with the snapshots of a training as the version space: images that at least one model's
    snapshots do not all agree on. Where there are fewer than the budget, fewer are bought, as
    released."""

    needs = frozenset({"votes"})

    def select(self, view: View, budget: int) -> Picks:
        """Shuffle the disputed images and take the first."""
        cast = stack_votes(view)
        disputed = cal_candidates(cast)
        drawn = torch.from_numpy(view.rng.permutation(len(disputed))[:budget]).to(disputed.device)
        return Picks(disputed[drawn], diagnostics=disagreement_diagnostics(disagreement(cast)))


@dataclass(frozen=True)
class DiamQp(Strategy):
    """Disagreement traded against density: the `budget` largest weights of the quadratic programme
    over the most disputed fifth of the images; fewer than the budget where that is smaller.

    A reading of code that cannot run (see `functional.diam_qp`); no published number exists for it.
    """

    needs = frozenset({"votes"})
    q: float = 1.0
    """Weight of disagreement against density."""
    order: Literal["ascending", "descending"] = "ascending"
    """In which order of weight the images are bought, which the training sees where it does not
    shuffle. The release ascends."""

    def select(self, view: View, budget: int) -> Picks:
        """Embeddings are asked for model by model, for the disputed images only."""
        disagreed = disagreement(stack_votes(view))
        chosen = find_disputed(disagreed)
        indices = view.candidates[chosen.cpu().numpy()]
        models = view["votes"].shape[0] if view["votes"].dim() == 3 else 0
        names = [f"model{place}.features" for place in range(models)] or ["features"]
        embeddings = (view.ask({name}, indices)[name] for name in names)
        picks = diam_qp(disagreed[chosen], embeddings, min(budget, len(chosen)), self.q, self.order)
        return Picks(chosen[picks], diagnostics=disagreement_diagnostics(disagreed))
