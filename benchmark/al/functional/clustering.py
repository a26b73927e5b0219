"""k-means as newer methods use it, points nearest to centres, typicality, and average-linkage
clusters of a few points."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MOST_FULL = 50
"""Most clusters that full k-means finds; beyond, mini-batch k-means does (Hacohen et al., ICML
2022, appendix F)."""
MINI_BATCH = 5000
"""Points in a batch of mini-batch k-means."""
ROWS = 256
"""Points that meet all others together."""


def cluster(features: Tensor, clusters: int, rng: np.random.Generator) -> Tensor:
    """Cluster (n,) int64 of each of (n, d) points by scikit-learn's k-means with one k-means++
    start, on the CPU.

    The seed is one draw of `rng`. Equal points may leave clusters empty.
    """
    return _k_means(features, clusters, rng)[0]


def nearest_to_centres(features: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Positions of the points nearest to the centres of `count` clusters, cluster by cluster; fewer
    where clusters are empty.

    features: (n, d) with n at least `count`; the first of equally near points. As in ALFA-Mix and
    DropQuery.
    """
    if count >= len(features):
        return torch.arange(len(features))
    names, centres = _k_means(features, count, rng)
    points = features.double().cpu()
    distances = torch.cat(
        [
            (rows - centres[own]).square().sum(dim=1)
            for rows, own in zip(torch.split(points, ROWS), torch.split(names, ROWS), strict=True)
        ]
    )
    found = []
    for name in range(count):
        members = (names == name).nonzero()[:, 0]
        if len(members):
            found.append(members[distances[members].argmin()])
    return torch.stack(found)


def _k_means(features: Tensor, clusters: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    seed, points = int(rng.integers(2**31)), np.ascontiguousarray(features.float().cpu().numpy())
    method = (
        KMeans(clusters, n_init=1, random_state=seed)
        if clusters <= MOST_FULL
        else MiniBatchKMeans(clusters, n_init=1, batch_size=MINI_BATCH, random_state=seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        names = method.fit_predict(points)
    return torch.from_numpy(names.astype(np.int64)), torch.from_numpy(
        method.cluster_centers_
    ).double()


def typicality(features: Tensor, neighbours: int) -> Tensor:
    """Inverse of the mean Euclidean distance to the nearest `neighbours` other points: (n, d) ->
    (n,) float64.

    Hacohen et al., ICML 2022, equation 4. Fewer neighbours where there are fewer points; a single
    point has 0, and points that lie on their neighbours share the largest number that is not
    infinite.
    """
    count = min(neighbours, len(features) - 1)
    if count < 1:
        return torch.zeros(len(features), dtype=torch.float64)
    points = features.double().cpu()
    found = []
    for start in range(0, len(points), ROWS):
        distances = torch.cdist(
            points[start : start + ROWS], points, compute_mode="donot_use_mm_for_euclid_dist"
        )
        rows = torch.arange(len(distances))
        distances[rows, start + rows] = torch.inf
        found.append(distances.topk(count, dim=1, largest=False).values.mean(dim=1))
    return 1 / torch.cat(found).clamp(min=1e-12)


def linkage_clusters(features: npt.NDArray[np.float64], clusters: int) -> npt.NDArray[np.int64]:
    """Cluster (n,) of each of (n, d) points when their average-linkage tree (Euclidean) is cut into
    at most `clusters` parts.

    n (n - 1) / 2 distances are held: for a few thousand points only.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(features) < 2:
        return np.zeros(len(features), dtype=np.int64)
    found: npt.NDArray[np.int64] = fcluster(
        linkage(features, "average"), clusters, "maxclust"
    ).astype(np.int64)
    return found
