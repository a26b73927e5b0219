"""FALCUN (Gilhuber, Beer, Ma and Seidl, ECML PKDD 2024): draws by uncertainty and diversity in the
space of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.al.functional.mixing import select_falcun
from benchmark.al.strategies._outputs import class_probs
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Falcun(Strategy):
    """Draws in proportion to (uncertainty + diversity) ** gamma; diversity falls near what was
    drawn."""

    needs = frozenset({"logits"})

    gamma: Annotated[float, Field(ge=0)] = 10.0
    """0 is random sampling, infinity the largest relevance."""

    def select(self, view: View, budget: int) -> Picks:
        """In the order of the draws."""
        return Picks(select_falcun(class_probs(view), budget, self.gamma, view.rng))
