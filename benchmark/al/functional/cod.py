"""The training loss of TOD (official code siyuhuang/TOD at 883494b, main_TOD.py train_epoch; ICCV 2021, section 3.4)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from benchmark.al.networks.outputs import Outputs


def cod_loss(
    labelled: Outputs,
    unlabelled: Outputs,
    teacher_labelled: Tensor,
    teacher_unlabelled: Tensor,
    labels: Tensor,
    weight: float,
) -> Tensor:
    """CE(A_L, y) + weight * [MSE(A_L, B_L) + MSE(A_U, B_U) + MSE(B_L, T_L) + MSE(B_U, T_U)], a scalar.

    A and B are the logits of the student's two heads on b labelled and u unlabelled images, T those of the teacher's
    first head: (b, classes) and (u, classes), labels (b,). The MSEs are means over images and classes of raw logits, so
    both batches weigh the same whatever their sizes. The teacher gets no gradient.
    """
    assert labelled.consistency is not None and unlabelled.consistency is not None, "the student needs two heads"
    residual = F.mse_loss(labelled.logits, labelled.consistency) + F.mse_loss(unlabelled.logits, unlabelled.consistency)
    temporal = F.mse_loss(labelled.consistency, teacher_labelled.detach()) + F.mse_loss(
        unlabelled.consistency, teacher_unlabelled.detach()
    )
    return F.cross_entropy(labelled.logits, labels) + weight * (residual + temporal)
