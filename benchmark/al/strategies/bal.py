"""BAL: balancing active learning (Li et al., TPAMI 2024; dvlab-research/BAL at 140d279, main.py).

The pool is ranked once by the cluster distance difference of a pretext task's features. The first labelled set is the
head of that list. Every later acquisition looks at one window of it, which moves through the pool from cycle to cycle, and
buys the most uncertain images in it. Cycle c of main.py is the acquisition before training c.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random as Generator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from benchmark.al.functional.bal_windows import step, sub_pool, window
from benchmark.al.functional.cluster_distance import ranked
from benchmark.al.functional.normalised_confidence import normalised_confidence
from benchmark.al.functional.ranking import top
from benchmark.al.functional.scores import entropy
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, Strategy, View

FIRST_SEED = 0
"""Of Python's generator, which nothing draws from before the first selection (main.py at 140d279)."""


@dataclass(frozen=True)
class Bal(Strategy):
    """Uncertainty inside a moving window of the pool sorted by cluster distance difference.

    A window that runs dry sells less than the budget, as in the release; nothing else makes up for it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits", "pretext.cdd"})

    beta: Annotated[float, Field(gt=0)]
    """Balance factor: the window's length in units of the step. 1 is the paper's BAL(fix) as the suites read it."""
    sampler: Literal["confidence", "entropy", "random"] = "confidence"
    """Inside a window: smallest top-1 probability of L2-normalised logits, largest entropy, or uniform draws."""
    addendum: Annotated[int, Field(gt=0)] | None = None
    """The step a of the window in images (None: floor(pool size / cycles), the reading that fills the published budgets)."""
    first: Literal["high1st", "low1st", "rand"] = "high1st"
    """The first labelled set: the head of the first window, its tail, both by rank, or images drawn from it. The release draws
    by Python's generator under seed 0, so that every run takes the same ranks; so does `rand`."""

    def narrow(self, view: View) -> Tensor:
        """Positions of the unlabelled images in this cycle's window, by rank."""
        place = torch.full((view.pool_size,), -1)
        place[torch.from_numpy(view.candidates)] = torch.arange(len(view.candidates))
        order = ranked(view.statics["pretext.cdd"]).numpy()
        found = place[torch.from_numpy(sub_pool(order, view.labelled, self.window(view)))]
        return found[found >= 0]

    def window(self, view: View) -> tuple[int, int]:
        """Ranks of this cycle's window, as the two ends of a slice: they may lie beyond the list."""
        addendum = self.addendum or step(view.pool_size, view.cycles)
        return window(view.cycle + 1, view.cycles, view.pool_size, self.beta, addendum)

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
        return Picks(top(scores, budget), scores, diagnostics=facts)

    def first_ranks(self, count: int, budget: int) -> Tensor:
        """Positions (budget,) in the first window, which holds `count` images by rank, in the order of buying."""
        if self.first == "rand":
            return torch.tensor(Generator(FIRST_SEED).sample(range(count), budget), dtype=torch.int64)
        begin = count - budget if self.first == "low1st" else 0
        return torch.arange(begin, begin + budget)

    def score(self, view: View) -> Tensor:
        """(n,) larger is bought first."""
        if self.sampler == "random":
            return torch.from_numpy(view.rng.random(len(view.candidates)))
        if self.sampler == "entropy":
            return entropy(view.probs)
        return -normalised_confidence(view.logits)
