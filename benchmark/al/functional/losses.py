"""Losses of the papers' training objectives and of the networks that strategies train, as pure
functions."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.vae import Encoded
from benchmark.errors import UsageError


def margin_ranking_loss(
    predicted: Tensor,
    losses: Tensor,
    margin: float = 1.0,
    ties: Literal["lower", "zero"] = "lower",
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Learning loss (Yoo and Kweon, CVPR 2019, equation 2): mean over pairs of max(0, margin - d *
    (predicted_i - predicted_j)).

    d = +1 where losses_i > losses_j, else -1; image i of a batch of b is paired with image b-1-i.

    predicted, losses: (b,) -> scalar, or (b/2,) without reduction; no gradient reaches `losses`.
    `ties` of true losses count as -1 (`lower`: siyuhuang/TOD at 883494b and Sequential-GCN) or as 0
    (`zero`: soony1213/ST-CoNAL at 43cb8c9), which makes the pair's loss the margin. Raises
    UsageError for odd b.
    """
    difference, target = _pair_differences(predicted), _pair_differences(losses.detach())
    sign = torch.sign(target) if ties == "zero" else torch.where(target > 0, 1, -1)
    per_pair = F.relu(margin - sign * difference)
    return per_pair if reduction == "none" else per_pair.mean()


def bce_ranking_loss(predicted: Tensor, losses: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(predicted_i - predicted_j) against [losses_i > losses_j],
    mean over pairs.

    predicted, losses: (b,) -> scalar; no gradient reaches `losses`. TA-VAAL (Kim et al., CVPR
    2021), official code cubeyoung/TA-VAAL at 1161071. Raises UsageError for odd b.
    """
    target = _pair_differences(losses.detach()) > 0
    return F.binary_cross_entropy_with_logits(
        _pair_differences(predicted), target.to(predicted.dtype)
    )


def _pair_differences(values: Tensor) -> Tensor:
    """values_i - values_(b-1-i) for the first half: (b,) -> (b/2,)."""
    if len(values) % 2:
        raise UsageError(
            f"pairs need an even batch, not {len(values)} images",
            where="protocol.training.batch_size",
            remedy=(
                "choose initial set, budget and batch size so that every last batch of an epoch is "
                "even, or drop_last"
            ),
        )
    half = len(values) // 2
    return values[:half] - values.flip(0)[:half]


def cod_loss(
    labelled: Outputs,
    unlabelled: Outputs,
    teacher_labelled: Tensor,
    teacher_unlabelled: Tensor,
    labels: Tensor,
    weight: float,
) -> Tensor:
    """TOD's loss (ICCV 2021, section 3.4; siyuhuang/TOD at 883494b, main_TOD.py train_epoch), a
    scalar: CE(A_L, y) + weight * [MSE(A_L, B_L) + MSE(A_U, B_U) + MSE(B_L, T_L) + MSE(B_U, T_U)].

    A and B are the logits of the student's two heads on b labelled and u unlabelled images, T those
    of the teacher's first head: (b, classes) and (u, classes), labels (b,). The MSEs are means over
    images and classes of raw logits, so both batches weigh the same regardless of their sizes. The
    teacher gets no gradient.
    """
    assert labelled.consistency is not None and unlabelled.consistency is not None, (
        "the student needs two heads"
    )
    residual = F.mse_loss(labelled.logits, labelled.consistency) + F.mse_loss(
        unlabelled.logits, unlabelled.consistency
    )
    temporal = F.mse_loss(labelled.consistency, teacher_labelled.detach()) + F.mse_loss(
        unlabelled.consistency, teacher_unlabelled.detach()
    )
    return F.cross_entropy(labelled.logits, labels) + weight * (residual + temporal)


def ramp_up(weight: float, epoch: float, epochs: int) -> float:
    """weight * exp(-5 (1 - epoch/epochs)^2) until `epochs`, then `weight` (Laine and Aila, ICLR
    2017; soony1213/ST-CoNAL at 43cb8c9, train_test.py)."""
    share = min(max(epoch / epochs, 0.0), 1.0) if epochs else 1.0
    return weight * math.exp(-5 * (1 - share) ** 2)


def softmax_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the softmax outputs, summed over the batch and divided by the number of
    classes, as in the semi-supervised option of soony1213/ST-CoNAL at 43cb8c9, train_test.py.

    student, teacher: logits (b, classes) -> scalar; no gradient reaches the teacher.
    """
    difference = student.softmax(dim=1) - teacher.detach().softmax(dim=1)
    return difference.square().sum() / student.shape[1]


def vae_loss(
    images: Tensor, encoded: Encoded, beta: float = 1.0, kl: Literal["sum", "mean"] = "mean"
) -> Tensor:
    """VAAL (Sinha et al., ICCV 2019): mean squared reconstruction error + beta * KL(N(mean,
    variance) || N(0, 1)), a scalar.

    images: (b, channels, h, w). The KL term is summed over batch and latent in Sequential-GCN
    (bbc43db) and averaged over both in TA-VAAL (cubeyoung/TA-VAAL at 1161071) and ST-CoNAL
    (soony1213/ST-CoNAL at 43cb8c9).
    """
    terms = -0.5 * (1 + encoded.log_variance - encoded.mean.square() - encoded.log_variance.exp())
    return F.mse_loss(encoded.reconstruction, images) + beta * (
        terms.sum() if kl == "sum" else terms.mean()
    )


def adversarial_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """What the autoencoder adds: it wants both codes to pass for labelled. Discriminator outputs
    (b, 1) each -> scalar."""
    return F.binary_cross_entropy(labelled, torch.ones_like(labelled)) + F.binary_cross_entropy(
        unlabelled, torch.ones_like(unlabelled)
    )


def discriminator_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """Binary cross-entropy of the discriminator: labelled codes are 1, unlabelled 0. (b, 1) each ->
    scalar."""
    return F.binary_cross_entropy(labelled, torch.ones_like(labelled)) + F.binary_cross_entropy(
        unlabelled, torch.zeros_like(unlabelled)
    )
