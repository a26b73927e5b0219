"""UncertainGCN (Caramalau et al., CVPR 2021, section 3.3; official code
razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db, selection_methods.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.al.functional import gcn
from benchmark.al.networks.gcn import Gcn, Init, Nodes
from benchmark.al.strategies._seeded import seeded_training
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class UncertainGcn(ScoreStrategy):
    """A graph network learns to tell labelled images from candidates; those nearest to `margin` are bought."""

    margin: float = 0.1
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
    equivariant = False  # dropout falls on places in the list

    def score(self, view: View) -> Tensor:
        """(n,) minus the distance of the probability of being labelled from the margin."""
        nodes = nodes_of(
            view, self.hidden, self.dropout, self.weight, self.steps, self.lr, self.weight_decay, self.init
        )
        return gcn.uncertainty(nodes.labelled[: len(view.candidates)], self.margin)


def nodes_of(
    view: View, hidden: int, dropout: float, weight: float, steps: int, lr: float, weight_decay: float, init: Init
) -> Nodes:
    """What a graph network trained on this view says of all candidates, followed by all labelled images."""
    features = gcn.normalised(torch.cat([view.features, view["labelled.features"]]))
    with seeded_training(view.rng):
        network = Gcn(features.shape[1], hidden, dropout, init).to(view.device, features.dtype)
        gcn.train(network, features, len(view.candidates), weight, steps, lr, weight_decay)
    return gcn.describe(network, features)
