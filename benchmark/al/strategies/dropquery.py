"""DropQuery (Gupte, Aklilu, Nirschl and Yeung-Levy, TMLR 2024, section 4): images whose prediction
dropout changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.al.functional.clustering import nearest_to_centres
from benchmark.al.functional.mixing import changed_by_dropout
from benchmark.al.strategies._outputs import fill_budget, require_one_model
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class DropQuery(Strategy):
    """Of the images whose prediction changes in more than half of the passes with dropped features,
    those nearest to the centres of as many clusters as the budget. Where they are fewer than the
    budget, the others are drawn.

    The paper drops features of a frozen foundation model below a linear classifier; here they are
    those of the trained network.
    """

    needs = frozenset({"features", "head.weight", "head.bias"})

    passes: Annotated[int, Field(ge=1)] = 3
    """Predictions with dropped features for each image."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Share of the features that is dropped."""

    def select(self, view: View, budget: int) -> Picks:
        """Cluster by cluster."""
        require_one_model(view, "DropQuery")
        features = view.features
        changes = changed_by_dropout(
            features, view["head.weight"], view["head.bias"], self.passes, self.share, view.rng
        )
        places = (2 * changes > self.passes).nonzero()[:, 0].cpu()
        nearest = (
            nearest_to_centres(features[places.to(features.device)], budget, view.rng)
            if len(places)
            else places
        )
        return Picks(
            fill_budget(places[nearest], len(features), budget, view.rng),
            diagnostics={"changed": float(len(places))},
        )
