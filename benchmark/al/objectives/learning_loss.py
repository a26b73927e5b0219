"""Learning loss (Yoo and Kweon, CVPR 2019) as TOD's release runs it (siyuhuang/TOD at 883494b,
main_LL4AL.py).

A small module predicts the loss of each image from four stage outputs. It learns to rank pairs of
images by loss; for the first epochs its gradient also reaches the network.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.al.functional.losses import bce_ranking_loss, margin_ranking_loss
from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.networks.outputs import Outputs
from benchmark.al.objectives.base import Batch, Build, Objective
from benchmark.al.training.numerics import promote_dtype
from benchmark.spec.training import Training


@dataclass(eq=False)
class LearningLoss(Objective):
    """Cross-entropy + weight * ranking loss of the predicted losses over pairs (i, B-1-i) of the
    batch."""

    joint: bool
    """Whether the ranking loss trains the network too (auxiliary LL4AL) or only the module
    (auxiliary NONE)."""
    channels: tuple[int, ...]
    """Channels of the four stage outputs."""
    windows: tuple[int, ...]
    """Side of the average-pooling window on each of them; 0 pools the whole map."""
    joint_until: int = 0
    """Last epoch index with gradient into the network."""
    margin: float = 1.0
    weight: float = 1.0
    module_rate: Literal["constant", "scheduled"] = "constant"
    """The release never steps the module's schedule."""
    form: Literal["margin", "bce"] = "margin"
    hidden: int | None = None
    """Width of the module's layers (None: 128, as released)."""

    tied_to_size: ClassVar[bool] = True
    batch_multiple: ClassVar[int] = 2
    map_windows: ClassVar[str] = "windows"
    capturable: ClassVar[bool] = True

    def build(self, build: Build) -> None:
        """The loss-prediction module."""
        with build.seeded("loss prediction"):
            self._module = LossPrediction(self.channels, self.windows, self.hidden or 128)

    def modules(self) -> Mapping[str, nn.Module]:
        """The loss-prediction module."""
        return {"loss_prediction": self._module}

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """The module's parameters under the same optimiser settings, with or without the
        schedule."""
        return [
            {
                "params": list(self._module.parameters()),
                "scheduled": self.module_rate == "scheduled",
            }
        ]

    def kind(self, batch: Batch) -> Hashable:
        """Whether the ranking loss reaches the network."""
        return self._attached(batch)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Task loss + ranking loss against the detached true losses."""
        self._module.train()
        out: Outputs = model(batch.images)
        losses = F.cross_entropy(promote_dtype(out.logits), batch.labels, reduction="none")
        maps = out.maps if self._attached(batch) else tuple(stage.detach() for stage in out.maps)
        predicted = promote_dtype(self._module(maps))
        if self.form == "bce":
            ranking = bce_ranking_loss(predicted, losses.detach())
        else:
            ranking = margin_ranking_loss(predicted, losses.detach(), self.margin)
        return losses.mean() + self.weight * ranking

    def _attached(self, batch: Batch) -> bool:
        return self.joint and batch.epoch <= self.joint_until

    def heads(self) -> Mapping[str, Callable[[Outputs], Tensor]]:
        """`predicted_loss`: (n,) for the acquisition function."""
        return {"predicted_loss": self._predict}

    def _predict(self, out: Outputs) -> Tensor:
        self._module.eval()
        predicted: Tensor = self._module(out.maps)
        return predicted
