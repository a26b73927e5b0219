"""Strategies that look at one part of a pool ranked by a pretext task: BAL and PT4AL.

BAL: Li et al., TPAMI 2024; dvlab-research/BAL at 140d279, main.py. PT4AL: Yi et al., ECCV 2022;
johnsk95/PT4AL at 9a0da4a, main.py. Cycle c of either main.py is the acquisition before training c.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random as Generator
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from benchmark.al.functional.bal_windows import (
    FIRST_STRIDE,
    first_picks,
    hardest_first,
    split_ranks,
    sub_pool,
    window_bounds,
    window_step,
)
from benchmark.al.functional.cluster_distance import rank_differences
from benchmark.al.functional.scores import entropy, normalised_confidence, top_positions
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, ScoreStrategy, Strategy, View
from benchmark.errors import UsageError

FIRST_SEED = 0
"""Of Python's generator, which nothing draws from before the first selection (main.py at
140d279)."""


@dataclass(frozen=True)
class Bal(Strategy):
    """Uncertainty inside a moving window of the pool sorted by cluster distance difference of a
    pretext task's features.

    The first labelled set is the head of that list. Every later acquisition looks at one window of
    it, which moves through the pool from cycle to cycle, and buys the most uncertain images in it.

    A window that runs dry sells less than the budget, as in the release; nothing else makes up for
    it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "pretext.cdd"})

    beta: Annotated[float, Field(gt=0)]
    """Balance factor: the window's length in units of the step. 1 is the paper's BAL(fix) as the
    suites read it."""
    sampler: Literal["confidence", "entropy", "random"] = "confidence"
    """Inside a window: smallest top-1 probability of L2-normalised logits, largest entropy, or
    uniform draws."""
    addendum: Annotated[int, Field(gt=0)] | None = None
    """The step a of the window in images (None: floor(pool size / cycles), the reading that fills
    the published budgets)."""
    first: Literal["high1st", "low1st", "rand"] = "high1st"
    """The first labelled set: the head of the first window, its tail, both by rank, or images drawn
    from it. The release draws by Python's generator under seed 0, so that every run takes the same
    ranks; so does `rand`."""

    def narrow(self, view: View) -> Tensor:
        """Positions of the unlabelled images in this cycle's window, by rank."""
        place = torch.full((view.pool_size,), -1)
        place[torch.from_numpy(view.candidates)] = torch.arange(len(view.candidates))
        order = rank_differences(view.statics["pretext.cdd"]).numpy()
        found = place[torch.from_numpy(sub_pool(order, view.labelled, self.window(view)))]
        return found[found >= 0]

    def window(self, view: View) -> tuple[int, int]:
        """Ranks of this cycle's window, as the two ends of a slice: they may lie beyond the
        list."""
        addendum = self.addendum or window_step(view.pool_size, view.cycles)
        return window_bounds(view.cycle + 1, view.cycles, view.pool_size, self.beta, addendum)

    def select(self, view: View, budget: int) -> Picks:
        """The head of the first window; of later ones the most uncertain images."""
        begin, end = self.window(view)
        facts = {
            "window/begin": float(begin),
            "window/end": float(min(end, view.pool_size)),
            "window/unlabelled": float(len(view.candidates)),
        }
        if view.cycle == BEFORE_FIRST_TRAINING:
            return Picks(self.first_ranks(len(view.candidates), budget), diagnostics=facts)
        scores = self.score(view)
        return Picks(top_positions(scores, budget), scores, diagnostics=facts)

    def first_ranks(self, count: int, budget: int) -> Tensor:
        """Positions (budget,) in the first window, which holds `count` images by rank, in the order
        of buying."""
        if self.first == "rand":
            return torch.tensor(
                Generator(FIRST_SEED).sample(range(count), budget), dtype=torch.int64
            )
        begin = count - budget if self.first == "low1st" else 0
        return torch.arange(begin, begin + budget)

    def score(self, view: View) -> Tensor:
        """(n,) larger is bought first."""
        if self.sampler == "random":
            return torch.from_numpy(view.rng.random(len(view.candidates)))
        if self.sampler == "entropy":
            return entropy(view.probs)
        return -normalised_confidence(view.logits)


@dataclass(frozen=True)
class Pt4al(ScoreStrategy):
    """Smallest top-1 probability of L2-normalised logits inside the batch of the cycle.

    The pool is sorted once by pretext loss and cut into as many batches as there are cycles. The
    first labelled set is every fifth image of the first batch; each later acquisition buys the
    least confident images of the next batch. What a batch does not sell is never looked at again.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "pretext.loss"})

    order: Literal["text", "number"] = "text"
    """How losses are compared, largest first: as printed text, as released, or as numbers."""
    stride: Annotated[int, Field(ge=1)] = FIRST_STRIDE
    """The first labelled set is every so-many-th image of the first batch."""
    batches: Annotated[int, Field(ge=1)] | None = None
    """Parts of the pool (None: one per training)."""
    first_batch: Annotated[int, Field(ge=0)] = 0
    """Where the first labelled set is taken from. The release's cold start (main_pt4al.py) takes it
    from batch 5 of 10."""

    def narrow(self, view: View) -> Tensor:
        """Positions of the images of this cycle's batch that are not labelled."""
        # As text a loss is what Python prints for it: scientific notation below 1e-4 is what
        # disorders the list.
        losses = view.statics["pretext.loss"].double().numpy()
        parts = split_ranks(hardest_first(losses, self.order), self.batches or view.cycles)
        cycle = view.cycle + 1
        if view.cycle == BEFORE_FIRST_TRAINING:
            if self.first_batch >= len(parts):
                raise UsageError(
                    f"there is no batch {self.first_batch} among {len(parts)}, counted from 0",
                    where="pt4al: first_batch",
                    remedy="lower it, or raise batches",
                )
            batch = first_picks(parts[self.first_batch], self.stride)
        else:
            batch = parts[cycle] if cycle < len(parts) else np.empty(0, dtype=np.int64)
        place = torch.full((view.pool_size,), -1)
        place[torch.from_numpy(view.candidates)] = torch.arange(len(view.candidates))
        found = place[torch.from_numpy(batch)]
        return found[found >= 0]

    def select(self, view: View, budget: int) -> Picks:
        """The first labelled set in order of the stride; later the least confident."""
        return (
            Picks(torch.arange(budget))
            if view.cycle == BEFORE_FIRST_TRAINING
            else super().select(view, budget)
        )

    def score(self, view: View) -> Tensor:
        """(n,) minus the confidence."""
        return -normalised_confidence(view.logits)
