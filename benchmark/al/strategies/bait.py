"""BAIT (Ash, Goel, Krishnamurthy and Kakade, NeurIPS 2021, algorithm 1): smallest trace of inverse
times whole information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.al.functional.bait import fisher_weights, select_bait
from benchmark.al.strategies._outputs import class_probs, image_features
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Bait(Strategy):
    """Twice the budget is chosen forward, then the images that are missed least are let go.

    Exact for two classes; with more, the Fisher information of the last layer is approximated
    (`functional/bait.py`).
    """

    needs = frozenset({"logits", "features", "labelled.logits", "labelled.features"})
    equivariant = True

    ridge: Annotated[float, Field(gt=0)] = 1.0
    """Multiple of the identity that is added to the information of the labelled images."""
    excess: Annotated[int, Field(ge=1)] = 2
    """Forward steps for each image that is bought."""

    def select(self, view: View, budget: int) -> Picks:
        """In the order of the forward steps."""
        return Picks(
            select_bait(
                image_features(view, "features"),
                fisher_weights(class_probs(view)),
                image_features(view, "labelled.features"),
                fisher_weights(class_probs(view, "labelled.logits")),
                budget,
                self.ridge,
                self.excess,
            )
        )
