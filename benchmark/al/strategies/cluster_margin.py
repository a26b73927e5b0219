"""Cluster-Margin (Citovsky et al., NeurIPS 2021, algorithms 1 and 2): small margins, taken from
clusters in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from benchmark.al.functional.clustering import linkage_clusters
from benchmark.al.functional.scores import margin, top_positions
from benchmark.al.strategies._outputs import class_probs, image_features
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class ClusterMargin(Strategy):
    """The images of smallest margin, `multiple` for each one to be bought, are clustered by average
    linkage. Clusters sell one image each in turn, drawn, smallest cluster first.

    The paper clusters the whole pool once and cuts the tree at a distance. Here the tree is over
    the images of small margin, so that no matrix is (pool, pool), and it is cut into as many
    clusters as images are bought.
    """

    multiple: Annotated[int, Field(ge=1)] = 10
    """Images of small margin for each one that is bought (section 2)."""
    largest: Annotated[int, Field(ge=1)] = 5000
    """Most images that are clustered: their distances are held."""
    clusters: Annotated[int, Field(ge=1)] | None = None
    """Parts that the tree is cut into (None: the budget)."""

    needs = frozenset({"logits", "features"})

    def select(self, view: View, budget: int) -> Picks:
        """Round after round over the clusters."""
        count = min(max(budget, min(self.multiple * budget, self.largest)), len(view.candidates))
        narrow = top_positions(-margin(class_probs(view)), count).cpu()
        if count == budget:
            return Picks(narrow)
        features = image_features(view, "features")
        names = linkage_clusters(
            features[narrow.to(features.device)].double().cpu().numpy(), self.clusters or budget
        )
        members = [np.flatnonzero(names == name) for name in np.unique(names)]
        members.sort(key=lambda places: (len(places), places[0]))
        queues = [list(view.rng.permutation(places)) for places in members]
        picked: list[int] = []
        while len(picked) < budget:
            for queue in queues:
                if queue and len(picked) < budget:
                    picked.append(int(queue.pop()))
        return Picks(narrow[torch.tensor(picked, dtype=torch.int64)])
