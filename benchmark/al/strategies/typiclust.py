"""TypiClust (Hacohen, Dekel and Weinshall, ICML 2022, algorithm 1): the most typical image of each
uncovered cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from benchmark.al.functional.clustering import cluster, typicality
from benchmark.al.strategies._outputs import image_features
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class TypiClust(Strategy):
    """k-means on labelled and unlabelled images together, into as many clusters as there will be
    labels, at most `clusters`.

    Clusters take turns: first those with the fewest labels, of these the largest. Each sells the
    image of highest typicality among those it still has. Clusters with fewer than `smallest` images
    sell nothing while others have any (appendix F). The paper clusters self-supervised features;
    the trained network's are the default here because every protocol has them.
    """

    features: str = "features"
    """The output that is clustered: `features`, `pretext.features`, or `features.<name>` from a
    file."""
    clusters: Annotated[int, Field(ge=1)] = 500
    """Most clusters (appendix F)."""
    neighbours: Annotated[int, Field(ge=1)] = 20
    """Nearest neighbours inside the cluster that typicality looks at (appendix F)."""
    smallest: Annotated[int, Field(ge=1)] = 5
    """Fewest images of a cluster that sells."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Features of candidates and labelled images."""
        return frozenset({self.features, f"labelled.{self.features}"})

    def select(self, view: View, budget: int) -> Picks:
        """One image of a cluster at a time."""
        candidates = image_features(view, self.features)
        labelled = image_features(view, f"labelled.{self.features}")
        both = torch.cat([labelled, candidates])
        wanted = min(len(labelled) + budget, self.clusters, len(both))
        names = cluster(both, wanted, view.rng)
        known, own = names[: len(labelled)], names[len(labelled) :]
        stock: dict[int, list[int]] = {}  # ranked when a cluster first sells: most never do
        labels = torch.bincount(known, minlength=wanted)
        sizes = torch.bincount(own, minlength=wanted)
        picked: list[int] = []
        while len(picked) < budget:
            name = min(
                (name for name in range(wanted) if sizes[name] > 0),
                key=lambda name: (
                    int(sizes[name]) < self.smallest,
                    int(labels[name]),
                    -int(sizes[name]),
                    name,
                ),
            )
            if name not in stock:
                stock[name] = self._ranked(candidates, own == name)
            picked.append(stock[name].pop(0))
            labels[name] += 1
            sizes[name] -= 1
        return Picks(torch.tensor(picked, dtype=torch.int64))

    def _ranked(self, candidates: Tensor, members: Tensor) -> list[int]:
        """Positions of a cluster's candidates, most typical first."""
        places = members.nonzero()[:, 0]
        found = typicality(candidates[places.to(candidates.device)], self.neighbours)
        return list(places[torch.argsort(found, descending=True, stable=True)].tolist())
