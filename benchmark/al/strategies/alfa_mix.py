"""ALFA-Mix (Parvaneh et al., CVPR 2022, section 3): images whose prediction changes when labelled
features are mixed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.al.functional.clustering import nearest_to_centres
from benchmark.al.functional.mixing import class_anchors, flipped_by_mixing
from benchmark.al.strategies._outputs import fill_budget, require_one_model
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class AlfaMix(Strategy):
    """Of the images whose prediction any class anchor changes, those nearest to the centres of as
    many clusters as the budget.

    The anchor of a class is the mean of the features of its labelled images. Where fewer
    predictions change than there are images to buy, the others are drawn.
    """

    needs = frozenset(
        {"features", "head.weight", "head.bias", "labelled.features", "labelled.labels"}
    )

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """Length of the mixing vector (None: 0.2 divided by the square root of the width of the
    features)."""

    def select(self, view: View, budget: int) -> Picks:
        """Cluster by cluster."""
        require_one_model(view, "ALFA-Mix")
        features = view.features
        anchors = class_anchors(view["labelled.features"], view["labelled.labels"], view.classes)
        changed = flipped_by_mixing(
            features, view["head.weight"], view["head.bias"], anchors, self.epsilon
        )
        places = changed.nonzero()[:, 0].cpu()
        nearest = (
            nearest_to_centres(features[places.to(features.device)], budget, view.rng)
            if len(places)
            else places
        )
        return Picks(
            fill_budget(places[nearest], len(features), budget, view.rng),
            diagnostics={"changed": float(len(places))},
        )
