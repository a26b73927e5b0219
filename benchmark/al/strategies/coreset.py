"""Core-set selection by greedy k-center (Sener and Savarese, ICLR 2018, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Coreset(Strategy):
    """Buy, one after the other, the candidate farthest from everything labelled or bought, in feature space."""

    needs = frozenset({"features", "labelled.features"})

    def select(self, view: View, budget: int) -> Picks:
        """Greedy picks by Euclidean distance on penultimate-layer features."""
        return Picks(k_center_greedy(view.features, view["labelled.features"], budget))
