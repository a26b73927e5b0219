"""CoreGCN (Caramalau et al., CVPR 2021, section 3.3; official code
razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db, selection_methods.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from benchmark.al.functional import gcn
from benchmark.al.functional.kcenter import k_center_greedy
from benchmark.al.networks.gcn import Init
from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.al.strategies.uncertain_gcn import nodes_of


@dataclass(frozen=True)
class CoreGcn(Strategy):
    """Greedy k-center on what the graph network of UncertainGCN makes of the features."""

    space: Literal["graph", "backbone"] = "graph"
    """`graph`: hidden output and score of the graph network. `backbone`: the normalised features themselves, as in
    cubeyoung/TA-VAAL at 1161071, where the graph network has no influence (and is not trained here)."""
    hidden: int = 128
    dropout: float = 0.3
    weight: float = 1.2
    steps: int = 200
    lr: float = 1e-3
    weight_decay: float = 5e-4
    init: Init = "inputs"
    """Where the graph network starts: `outputs` as released, see `GraphConvolution`."""

    needs = frozenset({"features", "labelled.features"})

    def select(self, view: View, budget: int) -> Picks:
        """Greedy picks by Euclidean distance; the labelled images are the first centres."""
        if self.space == "backbone":
            points = gcn.normalised(torch.cat([view.features, view["labelled.features"]]))
        else:
            points = nodes_of(
                view, self.hidden, self.dropout, self.weight, self.steps, self.lr, self.weight_decay, self.init
            ).embedding
        count = len(view.candidates)
        return Picks(k_center_greedy(points[:count], points[count:], budget))
