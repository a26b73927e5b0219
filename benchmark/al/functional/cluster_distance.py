"""Cluster distance difference of BAL (Li et al., TPAMI 2024; dvlab-research/BAL at 140d279,
kmeans.py).

Features of a rotation network are clustered; an image about as near to its second-nearest centre as
to its nearest lies on a border and comes first. The rank never changes afterwards.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import AlbenchError, UsageError

BLOCK = 8192
"""Points whose distances are computed together."""
MINI_BATCH = 10
"""Images per cluster in a block of mini-batch k-means."""


def cluster_distance_difference(features: Tensor, centres: Tensor) -> Tensor:
    """Distance to the second-nearest centre minus distance to the nearest, Euclidean.

    features: (n, d), centres: (k, d) with k of at least 2 -> (n,) float64, 0 or more.
    """
    if len(centres) < 2:
        raise UsageError(
            f"{len(centres)} centre has no second-nearest one", where="protocol.pretext.clusters"
        )
    found = []
    for rows in torch.split(features, BLOCK):
        # Sums of squared differences, not a matrix product: borders are where two distances nearly
        # cancel.
        distances = torch.cdist(
            rows.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest = distances.topk(2, dim=1, largest=False).values
        found.append(nearest[:, 1] - nearest[:, 0])
    return torch.cat(found) if found else features.new_empty(0, dtype=torch.float64)


def rank_differences(differences: Tensor) -> Tensor:
    """(n,) int64 positions by ascending difference, border images first; equal ones keep their
    order.

    Raises AlbenchError for values that are not finite.
    """
    if not bool(torch.isfinite(differences).all()):
        raise AlbenchError(
            "distances to the cluster centres are not finite", remedy="check the pretext training"
        )
    return torch.argsort(differences, stable=True)


def k_means(
    features: Tensor,
    clusters: int,
    n_init: int,
    rng: np.random.Generator,
    kind: Literal["full", "mini_batch"] = "full",
) -> Tensor:
    """Centres (clusters, d) of scikit-learn's k-means with k-means++ starts, on the device of
    `features` (n, d).

    kmeans.py of dvlab-research/BAL at 140d279, option --kmeans, without a seed there. `full`:
    scikit-learn's defaults, 300 iterations, `n_init` 10 before version 1.4 and 1 since.
    `mini_batch`: one pass over blocks of 10 * clusters consecutive rows, the last one as long as it
    is; k-means++ sees the first block alone, and `n_init` plays no part.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if not 2 <= clusters <= len(features):
        raise UsageError(
            f"{clusters} clusters of {len(features)} points", where="protocol.pretext.clusters"
        )
    seed, points = int(rng.integers(2**31)), features.cpu().numpy()
    if kind == "full":
        found = KMeans(
            clusters, init="k-means++", n_init=n_init, max_iter=300, random_state=seed
        ).fit(points)
    else:
        rows = MINI_BATCH * clusters
        found = MiniBatchKMeans(
            clusters, init="k-means++", batch_size=rows, n_init=1, random_state=seed
        )
        for start in range(0, len(points), rows):
            found.partial_fit(points[start : start + rows])
    return torch.from_numpy(found.cluster_centers_).to(features.device)
