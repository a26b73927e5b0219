"""BADGE (Ash et al., ICLR 2020, algorithm 1): diverse and uncertain batches by k-means++ seeding on
gradient embeddings.

Seeding starts at the embedding of largest norm, as in soony1213/ST-CoNAL at 43cb8c9,
selection_methods.py. That leftover code takes the true labels of the pool for the embeddings, which
no strategy may see here: it is the predicted labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.al.functional.badge import kmeanspp_seeds, label_residuals
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Badge(Strategy):
    """Seeds on (one-hot of the prediction - p) (x) features, never building an embedding."""

    network: str = ""
    """Whose outputs: the trained network's, or `teacher`, the average of a trajectory (ST-CoNAL's
    option SWA_inference)."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Logits and features of the candidates."""
        return frozenset({self._named("logits"), self._named("features")})

    def _named(self, output: str) -> str:
        return f"{self.network}.{output}" if self.network else output

    def select(self, view: View, budget: int) -> Picks:
        """`budget` seeds in the order in which they are drawn."""
        probs = view[self._named("logits")].softmax(dim=1)
        return Picks(
            kmeanspp_seeds(label_residuals(probs), view[self._named("features")], budget, view.rng)
        )
