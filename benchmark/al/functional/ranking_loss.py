"""Ranking losses that teach a module to predict losses (learning loss, Yoo and Kweon, CVPR 2019, equation 2).

Image i of a batch of b is paired with image b-1-i; only which of the two has the larger loss is learnt.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import UsageError


def margin_ranking_loss(
    predicted: Tensor,
    losses: Tensor,
    margin: float = 1.0,
    ties: Literal["lower", "zero"] = "lower",
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Mean over pairs of max(0, margin - d * (predicted_i - predicted_j)), d = +1 where losses_i > losses_j, else -1.

    predicted, losses: (b,) -> scalar, or (b/2,) without reduction; no gradient reaches `losses`. `ties` of true losses
    count as -1 (`lower`: siyuhuang/TOD at 883494b and Sequential-GCN) or as 0 (`zero`: soony1213/ST-CoNAL at 43cb8c9),
    which makes the pair's loss the margin. Raises UsageError for odd b.
    """
    difference, target = _pairs(predicted), _pairs(losses.detach())
    sign = torch.sign(target) if ties == "zero" else torch.where(target > 0, 1, -1)
    per_pair = F.relu(margin - sign * difference)
    return per_pair if reduction == "none" else per_pair.mean()


def bce_ranking_loss(predicted: Tensor, losses: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(predicted_i - predicted_j) against [losses_i > losses_j], mean over pairs.

    predicted, losses: (b,) -> scalar; no gradient reaches `losses`. TA-VAAL (Kim et al., CVPR 2021), official code
    cubeyoung/TA-VAAL at 1161071. Raises UsageError for odd b.
    """
    target = _pairs(losses.detach()) > 0
    return F.binary_cross_entropy_with_logits(_pairs(predicted), target.to(predicted.dtype))


def _pairs(values: Tensor) -> Tensor:
    """values_i - values_(b-1-i) for the first half: (b,) -> (b/2,)."""
    if len(values) % 2:
        raise UsageError(
            f"pairs need an even batch, not {len(values)} images",
            where="protocol.training.batch_size",
            remedy="choose initial set, budget and batch size so that every last batch of an epoch is even, or drop_last",
        )
    half = len(values) // 2
    return values[:half] - values.flip(0)[:half]
