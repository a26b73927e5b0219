"""Temporal output discrepancy (Huang et al., ICCV 2021, section 3.3; official code siyuhuang/TOD at
883494b).

Half the squared distance between the softmax outputs of the current model and of the model one
cycle earlier. In the first cycle there is no earlier model: the released code compares with an
untrained network and buys the LOWEST scores, which against an almost uniform reference is the Gini
index, most uncertain first; the paper's text says highest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.al.functional.scores import discrepancy, gini
from benchmark.al.strategies.base import Picks, ScoreStrategy, View

First = Literal["lowest_untrained", "highest_initial", "gini", "random"]


@dataclass(frozen=True)
class Tod(ScoreStrategy):
    """Cyclic output discrepancy, largest first; `first` says what happens in the first cycle."""

    first: First = "lowest_untrained"
    """lowest_untrained: as released. highest_initial: as the paper words it, against the student's
    own initial weights. gini: what the released rule amounts to. random: no acquisition function in
    the first cycle."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The earlier network is the same in every cycle but the first."""
        earlier = "previous.logits" if self.first == "highest_initial" else "reference.logits"
        return frozenset({"logits", earlier})

    def score(self, view: View) -> Tensor:
        """(n,) discrepancy; in the first cycle its negative, the Gini index, or random numbers."""
        if view.cycle == 0 and self.first == "gini":
            return gini(view.probs)
        if view.cycle == 0 and self.first == "random":
            return torch.from_numpy(view.rng.random(len(view.candidates)))
        earlier = view["previous.logits" if self.first == "highest_initial" else "reference.logits"]
        score = discrepancy(view.logits, earlier)
        return -score if view.cycle == 0 and self.first == "lowest_untrained" else score

    def select(self, view: View, budget: int) -> Picks:
        """The largest scores; the mean distance of the softmax outputs is what the paper's Fig. 3
        plots as COD."""
        picks = super().select(view, budget)
        assert picks.scores is not None
        if view.cycle == 0 and self.first in ("gini", "random"):
            return picks  # no distance was computed
        return picks._replace(
            diagnostics={"cod/mean": float((2 * picks.scores.double().abs()).sqrt().mean())}
        )
