"""Losses of VAAL (Sinha et al., ICCV 2019) as its re-implementations have them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.networks.vae import Encoded


def vae_loss(images: Tensor, encoded: Encoded, beta: float = 1.0, kl: Literal["sum", "mean"] = "mean") -> Tensor:
    """Mean squared reconstruction error + beta * KL(N(mean, variance) || N(0, 1)), a scalar.

    images: (b, channels, h, w). The KL term is summed over batch and latent in Sequential-GCN (bbc43db) and averaged over
    both in TA-VAAL (cubeyoung/TA-VAAL at 1161071) and ST-CoNAL (soony1213/ST-CoNAL at 43cb8c9).
    """
    terms = -0.5 * (1 + encoded.log_variance - encoded.mean.square() - encoded.log_variance.exp())
    return F.mse_loss(encoded.reconstruction, images) + beta * (terms.sum() if kl == "sum" else terms.mean())


def adversarial_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """What the autoencoder adds: it wants both codes to pass for labelled. Discriminator outputs (b, 1) each -> scalar."""
    return F.binary_cross_entropy(labelled, torch.ones_like(labelled)) + F.binary_cross_entropy(
        unlabelled, torch.ones_like(unlabelled)
    )


def discriminator_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """Binary cross-entropy of the discriminator: labelled codes are 1, unlabelled 0. (b, 1) each -> scalar."""
    return F.binary_cross_entropy(labelled, torch.ones_like(labelled)) + F.binary_cross_entropy(
        unlabelled, torch.zeros_like(unlabelled)
    )
