"""BADGE (Ash et al., ICLR 2020, algorithm 1): diverse and uncertain batches by k-means++ seeding on gradient embeddings.

Seeding starts at the embedding of largest norm, as in soony1213/ST-CoNAL at 43cb8c9, selection_methods.py. That leftover
code takes the true labels of the pool for the embeddings, which no strategy may see here: it is the predicted labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.al.functional.badge import kmeanspp_seeds, residuals
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Badge(Strategy):
    """Seeds on (one-hot of the prediction - p) (x) features, never building an embedding."""

    needs = frozenset({"logits", "features"})

    def select(self, view: View, budget: int) -> Picks:
        """`budget` seeds in the order in which they are drawn."""
        return Picks(kmeanspp_seeds(residuals(view.probs), view.features, budget, view.rng))
