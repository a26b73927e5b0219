"""Power acquisition (Kirsch et al., TMLR 2023, "Stochastic Batch Acquisition", section 3): scores
are drawn from, not sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from benchmark.al.functional.bald import mutual_information
from benchmark.al.functional.scores import margin
from benchmark.al.strategies._outputs import class_probs, pass_probs
from benchmark.al.strategies.base import Picks, Strategy, View


def power_draw(scores: Tensor, beta: float, count: int, rng: np.random.Generator) -> Tensor:
    """Positions (count,) drawn without replacement with probability proportional to scores (n,) **
    beta, 0 or more.

    The largest of beta * ln(score) + Gumbel noise (proposition 3.1). Images with a score of 0 come
    last, by their noise.
    """
    noise = torch.from_numpy(rng.gumbel(size=len(scores))).to(scores.device)
    keys = beta * scores.double().clamp(min=1e-300).log() + noise
    return torch.argsort(keys, descending=True, stable=True)[:count]


@dataclass(frozen=True)
class PowerMargin(Strategy):
    """Draws in proportion to (1 - margin) ** beta."""

    needs = frozenset({"logits"})

    beta: Annotated[float, Field(gt=0)] = 1.0
    """Power: towards 0 uniform draws, towards infinity the largest scores."""

    def select(self, view: View, budget: int) -> Picks:
        """In the order of the draws."""
        return Picks(power_draw(1 - margin(class_probs(view)), self.beta, budget, view.rng))


@dataclass(frozen=True)
class PowerBald(Strategy):
    """Draws in proportion to BALD ** beta."""

    beta: Annotated[float, Field(gt=0)] = 1.0
    """As for PowerMargin."""
    passes: Annotated[int, Field(ge=2)] = 20
    """Passes with dropout; all images meet the same masks."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Logits of the passes."""
        return frozenset({f"dropout{self.passes}.logits"})

    def select(self, view: View, budget: int) -> Picks:
        """In the order of the draws."""
        scores, _ = mutual_information(pass_probs(view, f"dropout{self.passes}.logits"))
        return Picks(power_draw(scores, self.beta, budget, view.rng))
