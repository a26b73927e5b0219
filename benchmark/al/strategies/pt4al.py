"""PT4AL: pretext tasks for active learning (Yi et al., ECCV 2022; johnsk95/PT4AL at 9a0da4a, make_batches.py and main.py).

The pool is sorted once by pretext loss and cut into as many batches as there are cycles. The first labelled set is every
fifth image of the first batch; each later acquisition buys the least confident images of the next batch. What a batch does
not sell is never looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from benchmark.al.functional.normalised_confidence import normalised_confidence
from benchmark.al.functional.pretext_batches import FIRST_STRIDE, batches, first_picks, hardest_first
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, ScoreStrategy, View
from benchmark.errors import UsageError


@dataclass(frozen=True)
class Pt4al(ScoreStrategy):
    """Smallest top-1 probability of L2-normalised logits inside the batch of the cycle."""

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "pretext.loss"})

    order: Literal["text", "number"] = "text"
    """How losses are compared, largest first: as printed text, as released, or as numbers."""
    stride: Annotated[int, Field(ge=1)] = FIRST_STRIDE
    """The first labelled set is every so-many-th image of the first batch."""
    batches: Annotated[int, Field(ge=1)] | None = None
    """Parts of the pool (None: one per training)."""
    first_batch: Annotated[int, Field(ge=0)] = 0
    """Where the first labelled set is taken from. The release's cold start (main_pt4al.py) takes it from batch 5 of 10."""

    def narrow(self, view: View) -> Tensor:
        """Positions of the images of this cycle's batch that are not labelled."""
        # As text a loss is what Python prints for it: scientific notation below 1e-4 is what disorders the list.
        losses = view.statics["pretext.loss"].double().numpy()
        parts = batches(hardest_first(losses, self.order), self.batches or view.cycles)
        cycle = view.cycle + 1
        if view.cycle == BEFORE_FIRST_TRAINING:
            if self.first_batch >= len(parts):
                raise UsageError(
                    f"there is no batch {self.first_batch} among {len(parts)}, counted from 0",
                    where="pt4al: first_batch", remedy="lower it, or raise batches",
                )  # fmt: skip
            batch = first_picks(parts[self.first_batch], self.stride)
        else:
            batch = parts[cycle] if cycle < len(parts) else np.empty(0, dtype=np.int64)
        place = torch.full((view.pool_size,), -1)
        place[torch.from_numpy(view.candidates)] = torch.arange(len(view.candidates))
        found = place[torch.from_numpy(batch)]
        return found[found >= 0]

    def select(self, view: View, budget: int) -> Picks:
        """The first labelled set in order of the stride; later the least confident."""
        return Picks(torch.arange(budget)) if view.cycle == BEFORE_FIRST_TRAINING else super().select(view, budget)

    def score(self, view: View) -> Tensor:
        """(n,) minus the confidence."""
        return -normalised_confidence(view.logits)
