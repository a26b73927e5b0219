"""Numbers about an acquisition that papers plot and nothing depends on. Labels of candidates are read here, after the
strategy has decided, and nowhere else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.pool import Indices, indices_digest
from benchmark.al.strategies.base import Picks, View
from benchmark.al.trainable import TrainableModel

GROUPS = (0.0, 0.05, 0.10, 0.20, 0.50, 1.0)
"""Score groups from the highest-ranked down, as in Fig. 5 of the TOD paper: 0-5, 5-10, 10-20, 20-50, 50-100 %."""


def describe(learner: TrainableModel, view: View, picks: Picks, bought: Indices) -> dict[str, Any]:
    """Fields of a `CycleResult` that describe an acquisition."""
    labels = learner.parts.train_labels
    classes = torch.bincount(labels[torch.from_numpy(bought).to(labels.device)], minlength=view.classes)
    numbers: dict[str, float | tuple[float, ...]] = dict(picks.diagnostics or {})
    if picks.scores is not None:
        numbers["score/mean"] = float(picks.scores.double().mean())
        if "logits" in view.outputs and view.outputs["logits"].dim() == 2:
            truth = labels[torch.from_numpy(view.candidates).to(labels.device)]
            losses = F.cross_entropy(view.outputs["logits"].double(), truth, reduction="none")
            numbers["loss/mean"] = float(losses.mean())
            numbers["loss/by_score_group"] = by_score_group(picks.scores, losses)
    return {
        "picks_digest": indices_digest(bought),
        "acquired": tuple(int(count) for count in classes),
        "diagnostics": numbers,
    }


def by_score_group(scores: Tensor, losses: Tensor) -> tuple[float, ...]:
    """Mean loss of the candidates in each score group, best-ranked group first; groups without members are left out."""
    ranked = losses[torch.argsort(scores, descending=True, stable=True)].cpu().numpy()
    edges = [round(share * len(ranked)) for share in GROUPS]
    return tuple(float(np.mean(ranked[a:b])) for a, b in pairwise(edges) if b > a)
