"""The graph network of UncertainGCN and CoreGCN (Caramalau et al., CVPR 2021, section 3; official
code razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db, models/query_models.py)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Init = Literal["inputs", "outputs"]
"""What the bound of a graph convolution's first weights is one over the square root of."""


class Nodes(NamedTuple):
    """What the network says about each of n nodes."""

    labelled: Tensor
    """(n,) probability of being labelled."""
    embedding: Tensor
    """(n, hidden + 1): hidden output and the score before its sigmoid, which is what CoreGCN
    covers."""


class GraphConvolution(nn.Module):
    """adjacency @ (x @ weight) + bias, with weights (inputs, outputs).

    Weights and bias start uniform in +-1/sqrt(outputs) as released
    (GraphConvolution.reset_parameters, the second dimension of the weights), or in +-1/sqrt(inputs)
    as those of torch's linear layers.
    """

    def __init__(self, inputs: int, outputs: int, init: Init = "inputs") -> None:
        super().__init__()
        limit = (outputs if init == "outputs" else inputs) ** -0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-limit, limit))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """x: (n, inputs), adjacency: (n, n) -> (n, outputs)."""
        return adjacency @ (x @ self.weight) + self.bias


class Gcn(nn.Module):
    """Two graph convolutions: to `hidden` with ReLU and dropout, then to one number with a sigmoid.

    The names gc1 and gc3 are the release's; a third layer it declares is never used and is left
    out.
    """

    def __init__(
        self, features: int, hidden: int = 128, dropout: float = 0.3, init: Init = "inputs"
    ) -> None:
        super().__init__()
        self.gc1 = GraphConvolution(features, hidden, init)
        self.gc3 = GraphConvolution(hidden, 1, init)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Nodes:
        """x: (n, features), adjacency: (n, n), both of all candidates and labelled images
        together."""
        hidden = self.dropout(F.relu(self.gc1(x, adjacency)))
        score = self.gc3(hidden, adjacency)
        return Nodes(torch.sigmoid(score).squeeze(1), torch.cat([hidden, score], dim=1))
