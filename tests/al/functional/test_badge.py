"""Factored BADGE against explicit gradient embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.al.functional import badge
from benchmark.errors import AlbenchError


def parts(
    count: int = 40, classes: int = 5, width: int = 7, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(count, classes, generator=generator, dtype=torch.float64).softmax(dim=1)
    return badge.label_residuals(probs), torch.randn(
        count, width, generator=generator, dtype=torch.float64
    )


def test_residuals_take_the_predicted_class() -> None:
    probs = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    torch.testing.assert_close(
        badge.label_residuals(probs), torch.tensor([[-0.2, 0.3, -0.1], [0.5, -0.25, -0.25]])
    )


def test_embedding_is_the_negative_gradient_of_the_last_layer() -> None:
    _, features = parts(count=1)
    weight = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    logits = features @ weight.T
    label = logits.argmax(dim=1)
    torch.nn.functional.cross_entropy(logits, label).backward()
    mine = badge.gradient_embedding(badge.label_residuals(logits.detach().softmax(dim=1)), features)
    torch.testing.assert_close(mine, -weight.grad.flatten()[None])


def test_seeds_are_those_of_plain_kmeanspp_on_the_embeddings() -> None:
    """The same draws on explicit embeddings, with numpy's own weighted choice written out."""
    residual, features = parts()
    vectors = badge.gradient_embedding(residual, features).numpy()
    draws = np.random.default_rng(3)
    expected = [int(np.argmax((vectors**2).sum(axis=1)))]
    for _ in range(14):
        gaps = vectors[:, None] - vectors[None, expected]
        nearest = (gaps**2).sum(axis=2).min(axis=1)
        edges = np.cumsum(nearest / nearest.sum())
        expected.append(int(np.searchsorted(edges, draws.random(), side="right")))
    found = badge.kmeanspp_seeds(residual, features, 15, _SkipFirst(np.random.default_rng(3)))
    assert found.tolist() == expected


class _SkipFirst:
    """Hands the generator's numbers out; the first centre needs none."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.random = rng.random


def test_draw_frequencies_follow_squared_distances() -> None:
    residual, features = parts(count=6, seed=2)
    norms = badge.squared_norms(residual, features)
    first = norms.argmax()
    nearest = badge.squared_distances(residual, features, norms, first).double()
    wanted = (nearest / nearest.sum()).numpy()
    seconds = [
        int(badge.kmeanspp_seeds(residual, features, 2, np.random.default_rng(seed))[1])
        for seed in range(2000)
    ]
    share = np.bincount(seconds, minlength=6) / 2000
    assert wanted[int(first)] == 0 == share[int(first)]
    # Five standard deviations of a share.
    assert np.all(np.abs(share - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 2000) + 1e-9)


def test_identical_points_still_give_distinct_seeds() -> None:
    residual, features = parts(count=1)
    seeds = badge.kmeanspp_seeds(
        residual.expand(9, -1), features.expand(9, -1), 9, np.random.default_rng(0)
    )
    assert seeds.tolist() == list(range(9))


def test_refusals() -> None:
    residual, features = parts(count=4)
    with pytest.raises(AlbenchError, match="5 seeds from 4"):
        badge.kmeanspp_seeds(residual, features, 5, np.random.default_rng(0))
    with pytest.raises(AlbenchError, match="not finite"):
        badge.kmeanspp_seeds(residual, features * torch.nan, 2, np.random.default_rng(0))
