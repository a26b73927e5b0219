"""Networks of VAAL (Sinha et al., ICCV 2019) and TA-VAAL (Kim et al., CVPR 2021) for 32-pixel images, as in
Sequential-GCN (razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db) and TA-VAAL (cubeyoung/TA-VAAL at 1161071).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Encoded(NamedTuple):
    """One pass of the autoencoder over b images."""

    reconstruction: Tensor
    """(b, channels, 32, 32), no activation."""
    mean: Tensor
    """(b, latent)."""
    log_variance: Tensor
    """(b, latent)."""


class Vae(nn.Module):
    """Variational autoencoder of 32x32 images; 22,835,139 parameters at the defaults.

    `conditions` further numbers per image are appended to the latent vector before decoding (TA-VAAL: 1, the rank).
    `width` is the channels of the first convolution; the others double it.
    """

    def __init__(self, latent: int = 32, conditions: int = 0, channels: int = 3, width: int = 128) -> None:
        super().__init__()
        deepest = 8 * width
        down, up = (channels, width, 2 * width, 4 * width, deepest), (deepest, 4 * width, 2 * width, width)
        encoder: list[nn.Module] = []
        for inputs, outputs in pairwise(down):
            encoder += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.fc_mu = nn.Linear(deepest * 2 * 2, latent)
        self.fc_logvar = nn.Linear(deepest * 2 * 2, latent)
        decoder: list[nn.Module] = [nn.Linear(latent + conditions, deepest * 4 * 4), nn.Unflatten(1, (deepest, 4, 4))]
        for inputs, outputs in pairwise(up):
            decoder += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(up[-1], channels, 1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (b, channels, 32, 32) -> mean and log-variance, (b, latent) each."""
        hidden = self.encoder(x)
        return self.fc_mu(hidden), self.fc_logvar(hidden)

    def decode(self, code: Tensor, conditions: Tensor | None = None) -> Tensor:
        """code: (b, latent), conditions: (b, conditions) -> images (b, channels, 32, 32)."""
        seen = code if conditions is None else torch.cat([code, conditions], dim=1)
        images: Tensor = self.decoder(seen)
        return images

    def forward(self, x: Tensor, conditions: Tensor | None = None, generator: torch.Generator | None = None) -> Encoded:
        """x: (b, channels, 32, 32) -> reconstruction from a sample of the latent Gaussian, its mean and log-variance."""
        mean, log_variance = self.encode(x)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return Encoded(self.decode(mean + noise * (log_variance / 2).exp(), conditions), mean, log_variance)


class Discriminator(nn.Module):
    """Probability that a latent code is of a labelled image; 280,065 parameters at the defaults.

    `inputs` is the latent size plus the conditions (TA-VAAL: 33).
    """

    def __init__(self, inputs: int = 32, hidden: int = 512) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )

    def forward(self, code: Tensor) -> Tensor:
        """code: (b, inputs) -> (b, 1) in (0, 1)."""
        probability: Tensor = self.net(code)
        return probability
