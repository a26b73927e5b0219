"""A stored selection, bought again: the same images in the same cycles, with any network or recipe
trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.errors import UsageError


@dataclass(frozen=True)
class Replay(Strategy):
    """Buys what another trial bought. Everything else of the trial has its usual streams, so that a
    difference from the trial it comes from is the training's, and equality is that of the picks.

    Raises UsageError where labelled sets or amounts are others than the stored ones.
    """

    labelled: tuple[int, ...]
    """Data set indices in the order in which they were labelled, the first labelled set
    included."""
    sizes: tuple[int, ...]
    """Labelled images at each training."""
    data: str = ""
    """Digest of the data set that the indices belong to (empty: not known)."""

    def select(self, view: View, budget: int) -> Picks:
        """The stored images of this cycle, in the stored order."""
        have = len(view.labelled)
        where = f"replay in cycle {view.cycle}"
        if (
            view.cycle + 1 >= len(self.sizes)
            or (have, have + budget) != self.sizes[view.cycle : view.cycle + 2]
        ):
            raise UsageError(
                f"{budget} images are to be bought at {have} labels, and the stored sizes are "
                f"{list(self.sizes)}",
                where=where,
                remedy="replay under the budgets and cycles that the selection was made with",
            )
        if tuple(view.labelled.tolist()) != self.labelled[:have]:
            raise UsageError(
                "the labelled images are others than the stored ones",
                where=where,
                remedy=(
                    "replay with the seed and the first labelled set of the trial that the "
                    "selection comes from"
                ),
            )
        wanted = np.array(self.labelled[have : have + budget], dtype=np.int64)
        order = np.argsort(view.candidates, kind="stable")
        places = np.searchsorted(view.candidates, wanted, sorter=order).clip(max=len(order) - 1)
        positions = order[places]
        if missing := wanted[view.candidates[positions] != wanted].tolist():
            raise UsageError(
                f"image {missing[0]} is not among the candidates",
                where=where,
                remedy="replay on the pool and the candidates that the selection was made from",
            )
        return Picks(torch.from_numpy(positions.astype(np.int64)))
