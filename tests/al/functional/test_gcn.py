"""The graph network's training: what the golden run does not show."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.al.functional import gcn
from benchmark.al.models.gcn import Gcn


def test_adjacency_by_hand() -> None:
    features = gcn.normalised(torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]], dtype=torch.float64))
    similar = np.array([[0, 0.6, 0], [0.6, 0, 0.8], [0, 0.8, 0]])
    np.testing.assert_allclose(gcn.adjacency(features), similar / similar.sum(axis=0) + np.eye(3), atol=1e-12)


def test_it_learns_to_tell_labelled_from_unlabelled() -> None:
    """Candidates near the labelled images get the higher scores."""
    torch.manual_seed(0)
    near, far, labelled = torch.randn(10, 8) + 3, torch.randn(10, 8) - 3, torch.randn(20, 8) + 3
    features = gcn.normalised(torch.cat([near, far, labelled]))
    network = Gcn(8, hidden=16)
    losses = gcn.train(network, features, 20, steps=150, lr=1e-2)
    assert losses[-1] < losses[0]
    scores = gcn.describe(network, features).labelled
    assert float(scores[:10].min()) > float(scores[10:20].max())
