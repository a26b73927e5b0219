"""Core-set selection by greedy k-center (Sener and Savarese, ICLR 2018, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.al.strategies.committee import concatenate_models


@dataclass(frozen=True)
class Coreset(Strategy):
    """Buy, one after the other, the candidate farthest from everything labelled or bought, in
    feature space."""

    equivariant = True

    network: str = ""
    """Whose features: the trained network's (of several side by side), "model<i>" of several, or
    "extractor", the protocol's fixed network."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Features of candidates and labelled images."""
        return frozenset({self._features, f"labelled.{self._features}"})

    @property
    def _features(self) -> str:
        return f"{self.network}.features" if self.network else "features"

    def select(self, view: View, budget: int) -> Picks:
        """Greedy picks by Euclidean distance on penultimate-layer features."""
        candidates, labelled = (
            concatenate_models(view[name])
            for name in (self._features, f"labelled.{self._features}")
        )
        return Picks(k_center_greedy(candidates, labelled, budget))
