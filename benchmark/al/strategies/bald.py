"""BALD (Gal, Islam and Ghahramani, ICML 2017) and BatchBALD (Kirsch, van Amersfoort and Gal,
NeurIPS 2019, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from benchmark.al.functional.bald import batch_bald, mutual_information
from benchmark.al.strategies._outputs import pass_probs
from benchmark.al.strategies.base import Picks, ScoreStrategy, Strategy, View

Passes = Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class Bald(ScoreStrategy):
    """Largest mutual information between the label and the parameters, estimated from passes with
    dropout."""

    passes: Passes = 20
    """Passes with dropout; all images meet the same masks."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Logits of the passes."""
        return frozenset({f"dropout{self.passes}.logits"})

    def score(self, view: View) -> Tensor:
        """(n,) in nats."""
        return mutual_information(pass_probs(view, f"dropout{self.passes}.logits"))[0]


@dataclass(frozen=True)
class BatchBald(Strategy):
    """The batch whose labels together are most informative about the parameters, greedily.

    The information is at most ln(passes) nats, so larger batches are filled by BALD: the paper buys
    at most 20 images at once, with 100 passes.
    """

    passes: Passes = 100
    """Passes with dropout; all images meet the same masks."""
    samples: Annotated[int, Field(ge=2)] = 1000
    """Most combinations of labels of the batch, exact or drawn."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Logits of the passes."""
        return frozenset({f"dropout{self.passes}.logits"})

    def select(self, view: View, budget: int) -> Picks:
        """In the order in which they enter the batch."""
        return Picks(
            batch_bald(
                pass_probs(view, f"dropout{self.passes}.logits"), budget, self.samples, view.rng
            )
        )
