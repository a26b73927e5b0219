"""The graph network's training: what the golden run does not show."""

from __future__ import annotations

from inspect import signature

import numpy as np
import torch

from benchmark.al.functional import gcn
from benchmark.al.networks.gcn import Gcn


def test_adjacency_by_hand() -> None:
    features = gcn.normalise_rows(
        torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    )
    similar = np.array([[0, 0.6, 0], [0.6, 0, 0.8], [0, 0.8, 0]])
    np.testing.assert_allclose(
        gcn.adjacency(features), similar / similar.sum(axis=0) + np.eye(3), atol=1e-12
    )


def test_it_learns_to_tell_labelled_from_unlabelled() -> None:
    """Candidates near the labelled images get the higher scores."""
    torch.manual_seed(0)
    near, far, labelled = torch.randn(10, 8) + 3, torch.randn(10, 8) - 3, torch.randn(20, 8) + 3
    features = gcn.normalise_rows(torch.cat([near, far, labelled]))
    network = Gcn(8, hidden=16)
    losses = gcn.train(network, features, 20, steps=150, lr=1e-2)
    assert losses[-1] < losses[0]
    scores = gcn.describe(network, features).labelled
    assert float(scores[:10].min()) > float(scores[10:20].max())


def test_defaults_are_the_released_ones() -> None:
    """Sequential-GCN at bbc43db: 128 hidden units, dropout 0.3, 200 Adam steps, weight 1.2, margin
    0.1."""
    fit, score, build = (signature(part).parameters for part in (gcn.train, gcn.uncertainty, Gcn))
    assert {name: fit[name].default for name in ("weight", "steps", "lr", "weight_decay")} == {
        "weight": 1.2,
        "steps": 200,
        "lr": 1e-3,
        "weight_decay": 5e-4,
    }
    assert (score["margin"].default, build["hidden"].default, build["dropout"].default) == (
        0.1,
        128,
        0.3,
    )
