"""CAL: a uniform draw from the union of the target models' disagreement regions (Cohn et al. 1994), with the snapshots of a
training as the version space; tangypnuaa/DIAM at cddf397, al_select.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.al.functional.votes import cal_candidates, disagreement
from benchmark.al.strategies._committee import disagreement_diagnostics, votes
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Cal(Strategy):
    """Images that at least one model's snapshots do not all agree on. Where there are fewer than the budget, fewer are
    bought, as released."""

    needs = frozenset({"votes"})

    def select(self, view: View, budget: int) -> Picks:
        """Shuffle the disputed images and take the first."""
        cast = votes(view)
        disputed = cal_candidates(cast)
        drawn = torch.from_numpy(view.rng.permutation(len(disputed))[:budget]).to(disputed.device)
        return Picks(disputed[drawn], diagnostics=disagreement_diagnostics(disagreement(cast)))
