"""Random sampling: the baseline of every paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Random(Strategy):
    """Uniform draws among the candidates.

    With `replacement` it does what ST-CoNAL's release does (soony1213/ST-CoNAL at 43cb8c9,
    selection_methods.py): as many positions as there are candidates are drawn with replacement, the
    last `budget` of them are labelled, and the others, doubles included, go back.
    """

    replacement: bool = False

    def select(self, view: View, budget: int) -> Picks:
        """A uniform choice from the query stream."""
        count = len(view.candidates)
        if not self.replacement:
            return Picks(torch.from_numpy(view.rng.permutation(count)[:budget]))
        drawn = torch.from_numpy(view.rng.integers(0, count, size=count))
        return Picks(drawn[count - budget :], returned=drawn[: count - budget])
