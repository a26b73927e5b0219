"""Mean-teacher pieces of ST-CoNAL's semi-supervised option (soony1213/ST-CoNAL at 43cb8c9, train_test.py)."""

from __future__ import annotations

import math

from torch import Tensor


def ramp_up(weight: float, epoch: float, epochs: int) -> float:
    """weight * exp(-5 (1 - epoch/epochs)^2) until `epochs`, then `weight` (Laine and Aila, ICLR 2017)."""
    share = min(max(epoch / epochs, 0.0), 1.0) if epochs else 1.0
    return weight * math.exp(-5 * (1 - share) ** 2)


def softmax_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the softmax outputs, summed over the batch and divided by the number of classes.

    student, teacher: logits (b, classes) -> scalar; no gradient reaches the teacher.
    """
    difference = student.softmax(dim=1) - teacher.detach().softmax(dim=1)
    return difference.square().sum() / student.shape[1]
