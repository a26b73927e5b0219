"""Label smoothing as DIAM's release computes it (tangypnuaa/DIAM at cddf397,
ofa/utils/pytorch_utils.py).

A slow twin: in float32 this is torch's `cross_entropy(..., label_smoothing=)`, which the supervised
objective uses; written out, it shows the target that training really saw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """(1 - smoothing) * one-hot + smoothing / classes: labels (n,) -> (n, classes), always float32
    as released."""
    hard = F.one_hot(labels, classes).to(torch.float32)
    return hard * (1 - smoothing) + smoothing / classes


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean over the batch of the cross-entropy with the soft targets: logits (n, classes), labels
    (n,) -> scalar."""
    return F.cross_entropy(
        logits, soft_targets(labels, logits.shape[1], smoothing).to(logits.dtype)
    )
