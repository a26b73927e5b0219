"""What a strategy sees in the golden cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.al.strategies.base import View


class Listed:
    """A random generator whose permutation is the identity: the golden lists are already
    shuffled."""

    def permutation(self, values: Any) -> np.ndarray:
        return np.arange(values) if isinstance(values, int) else np.asarray(values)


def view_of(
    candidates: np.ndarray,
    labelled: np.ndarray,
    cycle: int,
    outputs: Mapping[str, Tensor],
    rng: Any,
) -> View:
    """A view of one cycle over the candidates, with given network outputs."""
    return View(
        cycle=cycle,
        cycles=max(7, cycle + 2),
        classes=2,
        candidates=candidates,
        labelled=labelled,
        pool_size=len(candidates) + len(labelled),
        rng=rng,
        device=torch.device("cpu"),
        outputs=outputs,
    )


def logits_with_discrepancy(score: np.ndarray) -> dict[str, Tensor]:
    """Two-class logits of two networks whose discrepancies are in the order of `score`, ties
    included."""
    ranked = torch.from_numpy(score.astype(np.float64))
    gap = (0.2 * ranked / ranked.max().clamp(min=1e-300)).sqrt()
    probs = torch.stack([0.5 + gap, 0.5 - gap], dim=1)
    return {"logits": probs.log(), "reference.logits": torch.zeros_like(probs)}
