"""BADGE (Ash et al., ICLR 2020): k-means++ seeding on gradient embeddings, never building an
embedding.

The gradient of the last layer's cross-entropy is (p - one-hot) times the features, n x (classes *
features) numbers. Its inner products factor into those of the two parts, <a_i (x) f_i, a_j (x) f_j>
= <a_i, a_j> <f_i, f_j>, and k-means++ needs nothing else. Sign as in soony1213/ST-CoNAL at 43cb8c9,
selection_methods.py: one-hot - p.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import AlbenchError


def label_residuals(probs: Tensor, labels: Tensor | None = None) -> Tensor:
    """one-hot - p: probs (n, classes) -> (n, classes). Without `labels` (n,), the predicted
    classes, as in the paper.

    ST-CoNAL's leftover code takes the true labels of the pool, which no acquisition function may
    see.
    """
    target = probs.argmax(dim=1) if labels is None else labels
    return F.one_hot(target, probs.shape[1]).to(probs.dtype) - probs


def gradient_embedding(residual: Tensor, features: Tensor) -> Tensor:
    """The gradient embedding itself, classes slowest: (n, classes), (n, d) -> (n, classes * d). For
    small n only."""
    return (residual[:, :, None] * features[:, None, :]).flatten(1)


def squared_norms(residual: Tensor, features: Tensor) -> Tensor:
    """(n,) squared lengths of the embeddings."""
    return residual.square().sum(dim=1) * features.square().sum(dim=1)


def squared_distances(residual: Tensor, features: Tensor, norms: Tensor, centre: Tensor) -> Tensor:
    """(n,) squared distances of all embeddings to that of point `centre` (a 0-d int64 tensor); its
    own is exactly 0."""
    # Not `residual[centre]`, which would read the position on the host.
    chosen = centre.reshape(1)
    own = residual.index_select(0, chosen)[0]
    product = (residual @ own) * (features @ features.index_select(0, chosen)[0])
    distances = (norms + norms.index_select(0, chosen) - 2 * product).clamp_(min=0)
    return distances.index_fill(0, chosen, 0.0)


def kmeanspp_seeds(
    residual: Tensor, features: Tensor, count: int, rng: np.random.Generator
) -> Tensor:
    """Distinct positions (count,) int64 of k-means++ seeds on embeddings residual (n, classes) (x)
    features (n, d).

    The first is the embedding of largest norm (first of equals); each next one is drawn with
    probability proportional to its squared distance to the nearest seed. When all remaining
    distances are 0, the first unpicked points follow. Raises AlbenchError for values that are not
    finite or a count beyond n.
    """
    if count > len(features):
        raise AlbenchError(f"{count} seeds from {len(features)} points", remedy="lower the budget")
    norms = squared_norms(residual, features)
    if not bool(torch.isfinite(norms).all()):
        raise AlbenchError(
            "the embeddings are not finite",
            where="BADGE",
            remedy="check the training for divergence",
        )
    picked = torch.zeros(len(norms), dtype=torch.bool, device=norms.device)
    seeds = torch.empty((count,), dtype=torch.int64, device=norms.device)
    nearest = torch.full_like(norms, torch.inf)
    for place in range(count):
        centre = norms.argmax() if place == 0 else _draw_point(nearest, picked, rng.random())
        seeds[place] = centre
        picked.index_fill_(0, centre.reshape(1), True)
        nearest = torch.minimum(nearest, squared_distances(residual, features, norms, centre))
        nearest.masked_fill_(picked, 0.0)
    return seeds


def _draw_point(nearest: Tensor, picked: Tensor, uniform: float) -> Tensor:
    """The point at `uniform` of the way through the cumulative distribution, as a 0-d tensor."""
    total = nearest.double().cumsum(dim=0)
    unpicked = (~picked).to(torch.uint8).argmax()
    place = torch.searchsorted(total, total[-1] * uniform, right=True).clamp(max=len(total) - 1)
    # At the very end rounding may point behind the last point that has any weight.
    last = torch.where(nearest != 0, torch.arange(len(nearest), device=nearest.device), 0).max()
    return torch.where(total[-1] > 0, torch.minimum(place, last), unpicked)
