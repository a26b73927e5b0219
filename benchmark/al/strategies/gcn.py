"""UncertainGCN and CoreGCN (Caramalau et al., CVPR 2021, section 3.3; official code
razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db, selection_methods.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmark.al.functional import gcn
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.networks.gcn import Gcn, Init, Nodes
from benchmark.al.strategies._seeded import seeded_training
from benchmark.al.strategies.base import Picks, ScoreStrategy, Strategy, View


@dataclass(frozen=True)
class GraphStrategy(Strategy):
    """How the graph network is trained that learns to distinguish labelled images from
    candidates."""

    hidden: int = 128
    dropout: float = 0.3
    weight: float = 1.2
    """Of the candidates' part of the loss."""
    steps: int = 200
    lr: float = 1e-3
    weight_decay: float = 5e-4
    init: Init = "inputs"
    """Where the graph network starts: `outputs` as released, see `GraphConvolution`."""

    needs = frozenset({"features", "labelled.features"})

    def nodes(self, view: View) -> Nodes:
        """Outputs of a graph network trained on this view for all candidates, followed by all
        labelled images."""
        features = normalised_features(view)
        with seeded_training(view.rng):
            network = Gcn(features.shape[1], self.hidden, self.dropout, self.init).to(
                view.device, features.dtype
            )
            gcn.train(
                network,
                features,
                len(view.candidates),
                self.weight,
                self.steps,
                self.lr,
                self.weight_decay,
            )
        return gcn.describe(network, features)


@dataclass(frozen=True)
class UncertainGcn(GraphStrategy, ScoreStrategy):
    """A graph network learns to distinguish labelled images from candidates; those nearest to
    `margin` are bought."""

    margin: float = 0.1

    equivariant = False  # dropout falls on places in the list

    def score(self, view: View) -> Tensor:
        """(n,) minus the distance of the probability of being labelled from the margin."""
        return gcn.uncertainty(self.nodes(view).labelled[: len(view.candidates)], self.margin)


@dataclass(frozen=True)
class CoreGcn(GraphStrategy):
    """Greedy k-center on what the graph network of UncertainGCN makes of the features."""

    space: Literal["graph", "backbone"] = "graph"
    """`graph`: hidden output and score of the graph network. `backbone`: the normalised features
    themselves, as in cubeyoung/TA-VAAL at 1161071, where the graph network has no influence (and is
    not trained here)."""

    def select(self, view: View, budget: int) -> Picks:
        """Greedy picks by Euclidean distance; the labelled images are the first centres."""
        points = (
            normalised_features(view) if self.space == "backbone" else self.nodes(view).embedding
        )
        count = len(view.candidates)
        return Picks(k_center_greedy(points[:count], points[count:], budget))


def normalised_features(view: View) -> Tensor:
    """(n + m, d) features of unit length of all candidates, followed by all labelled images."""
    return gcn.normalise_rows(torch.cat([view.features, view["labelled.features"]]))
