"""Cluster distances against an obvious twin; k-means on clusters that are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from benchmark.al.functional import cluster_distance
from benchmark.al.functional.cluster_distance import (
    cluster_distance_difference,
    k_means,
    rank_differences,
)
from benchmark.errors import AlbenchError, UsageError


def test_against_sorting_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of points, and offsets that would cost a matrix product its digits."""
    monkeypatch.setattr(cluster_distance, "BLOCK", 7)
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(30, 5)) + 1e6, rng.normal(size=(4, 5)) + 1e6
    nearest = np.sort(np.linalg.norm(points[:, None] - centres[None], axis=2), axis=1)
    found = cluster_distance_difference(torch.from_numpy(points), torch.from_numpy(centres))
    np.testing.assert_allclose(found.numpy(), nearest[:, 1] - nearest[:, 0], rtol=0, atol=1e-12)


def test_a_point_on_the_border_comes_first() -> None:
    """On the line between two centres: 0 in the middle, 2 at a centre; equal values keep their
    order."""
    centres = torch.tensor([[-1.0], [1.0]])
    found = cluster_distance_difference(
        torch.tensor([[1.0], [0.5], [0.0], [-1.0], [-0.5]]), centres
    )
    assert found.tolist() == [2.0, 1.0, 0.0, 2.0, 1.0]
    assert rank_differences(found).tolist() == [2, 1, 4, 0, 3]


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="second-nearest"):
        cluster_distance_difference(torch.zeros(3, 2), torch.zeros(1, 2))
    with pytest.raises(AlbenchError, match="not finite"):
        rank_differences(torch.tensor([0.0, torch.nan]))
    for clusters in (1, 4):
        with pytest.raises(UsageError):
            k_means(torch.zeros(3, 2), clusters, 1, np.random.default_rng(0))


def test_k_means_finds_separate_clusters_and_repeats() -> None:
    rng = np.random.default_rng(1)
    truth = 20 * np.eye(4)
    points = torch.from_numpy(np.repeat(truth, 15, axis=0) + rng.normal(size=(60, 4)))
    found = k_means(points, 4, 3, np.random.default_rng(5))
    order = found.argmax(dim=1).argsort()
    means = points.view(4, 15, 4).mean(dim=1)
    torch.testing.assert_close(found[order], means)
    assert torch.equal(found, k_means(points, 4, 3, np.random.default_rng(5)))


def test_mini_batch_k_means_is_one_pass_over_blocks_of_ten_points_a_cluster() -> None:
    """Option --kmeans MiniBatch: scikit-learn's own, fed block by block in the order of the pool,
    the last block short."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(95, 3)) + 8 * rng.integers(0, 3, size=(95, 1))
    found = k_means(torch.from_numpy(points), 3, 7, np.random.default_rng(5), "mini_batch")
    twin = MiniBatchKMeans(
        3,
        init="k-means++",
        batch_size=30,
        n_init=1,
        random_state=int(np.random.default_rng(5).integers(2**31)),
    )
    for rows in (slice(0, 30), slice(30, 60), slice(60, 90), slice(90, 95)):
        twin.partial_fit(points[rows])
    np.testing.assert_array_equal(found.numpy(), twin.cluster_centers_)
    assert not torch.equal(found, k_means(torch.from_numpy(points), 3, 7, np.random.default_rng(5)))
