"""Networks of VAAL (Sinha et al., ICCV 2019) and TA-VAAL (Kim et al., CVPR 2021): for 32-pixel
images as in Sequential-GCN (razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db) and
TA-VAAL (cubeyoung/TA-VAAL at 1161071), models/query_models.py; for 224-pixel images as in ST-CoNAL
(soony1213/ST-CoNAL at 43cb8c9), the same file.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Init = Literal["default", "kaiming"]
"""Where the networks start: torch's default everywhere, or as released. There, `kaiming_init` draws
convolutions and linear layers from N(0, 2 / fan_in) with biases of 0, but reaches only the encoder,
the decoder's linear layer and the discriminator: fc_mu and fc_logvar are no sequences that it could
walk over, and transposed convolutions are no plain ones."""
SIDES = {32: ((1, 2, 4, 8), 4), 224: ((1, 1, 2, 2, 4, 8), 7)}
"""Side of an image -> the encoder's channels in multiples of the width, and the side of its last
kernel. For 224 pixels the release leaves that kernel open: 7 is the only one with which the shapes
fit."""


class Encoded(NamedTuple):
    """One pass of the autoencoder over b images."""

    reconstruction: Tensor
    """(b, channels, side, side), no activation."""
    mean: Tensor
    """(b, latent)."""
    log_variance: Tensor
    """(b, latent)."""


class Vae(nn.Module):
    """Variational autoencoder of square images of 32 or 224 pixels; at the defaults 22,835,139 and
    59,661,376 parameters.

    `conditions` further numbers per image are appended to the latent vector before decoding
    (TA-VAAL: 1, the rank). `width` is the channels of the first convolution; the others are
    multiples of it. Raises KeyError for another `side`.
    """

    def __init__(
        self,
        latent: int = 32,
        conditions: int = 0,
        channels: int = 3,
        width: int = 128,
        side: int = 32,
        init: Init = "default",
    ) -> None:
        super().__init__()
        multiples, last = SIDES[side]
        down = (channels, *(width * multiple for multiple in multiples))
        deepest, kernels = down[-1], (*[4] * (len(multiples) - 1), last)
        encoder: list[nn.Module] = []
        for (inputs, outputs), kernel in zip(pairwise(down), kernels, strict=True):
            encoder += [
                nn.Conv2d(inputs, outputs, kernel, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.fc_mu = nn.Linear(deepest * 2 * 2, latent)
        self.fc_logvar = nn.Linear(deepest * 2 * 2, latent)
        first = 4 if side == 32 else 2
        decoder: list[nn.Module] = [
            nn.Linear(latent + conditions, deepest * first * first),
            nn.Unflatten(1, (deepest, first, first)),
        ]
        up, back = down[:0:-1], (kernels[1:] if side == 32 else kernels[::-1])
        for (inputs, outputs), kernel in zip(pairwise(up), back, strict=False):
            decoder += [
                nn.ConvTranspose2d(inputs, outputs, kernel, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        to_image = (
            nn.ConvTranspose2d(width, channels, 1)
            if side == 32
            else nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False)
        )
        self.decoder = nn.Sequential(*decoder, to_image)
        if init == "kaiming":
            _initialise_kaiming(self.encoder)
            _initialise_kaiming(self.decoder)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (b, channels, side, side) -> mean and log-variance, (b, latent) each."""
        hidden = self.encoder(x)
        return self.fc_mu(hidden), self.fc_logvar(hidden)

    def decode(self, code: Tensor, conditions: Tensor | None = None) -> Tensor:
        """code: (b, latent), conditions: (b, conditions) -> images (b, channels, side, side)."""
        seen = code if conditions is None else torch.cat([code, conditions], dim=1)
        images: Tensor = self.decoder(seen)
        return images

    def forward(
        self, x: Tensor, conditions: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Encoded:
        """x: (b, channels, side, side) -> reconstruction from a sample of the latent Gaussian, its
        mean and log-variance."""
        mean, log_variance = self.encode(x)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return Encoded(
            self.decode(mean + noise * (log_variance / 2).exp(), conditions), mean, log_variance
        )


class Discriminator(nn.Module):
    """Probability that a latent code is of a labelled image; 280,065 parameters at the defaults.

    `inputs` is the latent size plus the conditions (TA-VAAL: 33).
    """

    def __init__(self, inputs: int = 32, hidden: int = 512, init: Init = "default") -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        if init == "kaiming":
            _initialise_kaiming(self.net)

    def forward(self, code: Tensor) -> Tensor:
        """code: (b, inputs) -> (b, 1) in (0, 1)."""
        probability: Tensor = self.net(code)
        return probability


def _initialise_kaiming(layers: nn.Sequential) -> None:
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
