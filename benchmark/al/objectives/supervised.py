"""Plain supervised training: cross-entropy on the labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.objectives.base import Batch, Build, Objective
from benchmark.al.training.numerics import promote_dtype


@dataclass(eq=False)
class Supervised(Objective):
    """Mean cross-entropy over the batch, with the training's label smoothing."""

    capturable: ClassVar[bool] = True

    def build(self, build: Build) -> None:
        """Remember the smoothing; there are no branches."""
        self._smoothing = build.training.label_smoothing

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over the batch."""
        return F.cross_entropy(
            promote_dtype(model(batch.images).logits), batch.labels, label_smoothing=self._smoothing
        )
