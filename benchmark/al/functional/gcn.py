"""Graph and training of UncertainGCN and CoreGCN (Caramalau et al., CVPR 2021; official code
razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db, selection_methods.py).

Nodes are all candidates followed by all labelled images; the graph network learns to distinguish
the two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.networks.gcn import Gcn, Nodes
from benchmark.al.training import optimizers


def normalise_rows(features: Tensor) -> Tensor:
    """Rows of unit length: (n, d) -> (n, d)."""
    return F.normalize(features, dim=1)


def adjacency(features: Tensor) -> Tensor:
    """Normalised features (n, d) -> (n, n): cosine similarities minus I, columns divided by their
    sums, plus I."""
    eye = torch.eye(len(features), dtype=features.dtype, device=features.device)
    similar = features @ features.T - eye
    return similar / similar.sum(dim=0, keepdim=True) + eye


def node_loss(labelled: Tensor, candidates: int, weight: float = 1.2) -> Tensor:
    """- mean ln p over labelled nodes - weight * mean ln(1 - p) over candidates; `labelled`: p of n
    nodes -> scalar."""
    return -labelled[candidates:].log().mean() - weight * (1 - labelled[:candidates]).log().mean()


def train(
    network: Gcn,
    features: Tensor,
    candidates: int,
    weight: float = 1.2,
    steps: int = 200,
    lr: float = 1e-3,
    weight_decay: float = 5e-4,
) -> list[float]:
    """Fit the graph network to normalised features (n, d) of candidates, then labelled images; the
    loss at every step."""
    graph = adjacency(features)
    optimizer = optimizers.Adam(network.parameters(), lr=lr, weight_decay=weight_decay)
    network.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = node_loss(network(features, graph).labelled, candidates, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.detach())
    return [float(loss) for loss in losses]


@torch.no_grad()
def describe(network: Gcn, features: Tensor) -> Nodes:
    """Scores and embeddings of all nodes in eval mode."""
    network.eval()
    nodes: Nodes = network(features, adjacency(features))
    return nodes


def uncertainty(labelled: Tensor, margin: float = 0.1) -> Tensor:
    """-|p - margin|: (n,) -> (n,); UncertainGCN buys the largest, the nodes nearest to the
    margin."""
    return -(labelled - margin).abs()
