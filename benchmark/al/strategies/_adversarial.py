"""The game between autoencoder and discriminator that VAAL and TA-VAAL share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from benchmark.al import optimizers
from benchmark.al.functional.finite import demand_finite
from benchmark.al.functional.vaal import adversarial_loss, discriminator_loss, vae_loss
from benchmark.al.models.vae import Discriminator, Vae
from benchmark.al.pool import Indices
from benchmark.al.strategies._seeded import seeded_generator, seeded_training
from benchmark.al.strategies.base import View
from benchmark.errors import UsageError

SIDE = 32
"""Pixels the autoencoder is made for."""


@dataclass(frozen=True)
class Recipe:
    """How the two networks are trained."""

    latent: int
    width: int
    """Channels of the autoencoder's first convolution."""
    batch_size: int
    lr: float
    """Of both networks' Adam."""
    passes: int
    """Rounds over `budget * (cycle + 1) + candidates` images."""
    iterations: int | None
    """A fixed number instead, for profiles that shrink a protocol."""
    vae_steps: int
    """Autoencoder steps per iteration, on the same two batches."""
    kl: Literal["sum", "mean"]
    train_mode: bool
    """The autoencoder scores with the statistics of the scoring batch, as released."""

    def count(self, view: View, budget: int) -> int:
        """Iterations of one acquisition."""
        seen = budget * (view.cycle + 1) + len(view.candidates)
        return seen * self.passes // self.batch_size if self.iterations is None else self.iterations


class Side(NamedTuple):
    """A batch of labelled images or of candidates."""

    images: Tensor
    """(b, channels, 32, 32)."""
    rank: Tensor | None
    """(b, 1) condition of decoder and discriminator (TA-VAAL)."""


class Game:
    """Both networks, freshly initialised from the strategy's stream, and the two lists of images they are trained on."""

    def __init__(self, view: View, recipe: Recipe, ranks: tuple[Tensor, Tensor] | None = None) -> None:
        """`ranks`: a number for every labelled image (m,) and every candidate (n,). Raises UsageError for other sizes
        than 32 pixels."""
        self.view, self.recipe = view, recipe
        _, channels, height, width = view.images(view.candidates[:1]).shape
        if (height, width) != (SIDE, SIDE):
            raise UsageError(
                f"VAAL's autoencoder takes images of {SIDE} pixels, not {height} x {width}",
                remedy="leave VAAL and TA-VAAL out of this suite",
            )
        conditions = 0 if ranks is None else 1
        for rank in ranks or ():
            demand_finite("predicted losses", rank)
        self.noise = seeded_generator(view.rng, view.device)
        with seeded_training(view.rng):
            self.vae = Vae(recipe.latent, conditions, channels, recipe.width).to(view.device)
            self.discriminator = Discriminator(recipe.latent + conditions).to(view.device)
        self.ranks = None if ranks is None else [rank.to(view.device, torch.float32)[:, None].clone() for rank in ranks]

    def play(self, count: int) -> None:
        """Train both: in every iteration the autoencoder's steps, then one of the discriminator.

        In the first iteration uniform noise stands for the ranks.
        """
        autoencoder = optimizers.Adam(self.vae.parameters(), lr=self.recipe.lr)
        judge = optimizers.Adam(self.discriminator.parameters(), lr=self.recipe.lr)
        known, unknown = self._rounds(self.view.labelled, 0), self._rounds(self.view.candidates, 1)
        self.vae.train()
        for number in range(count):
            labelled, unlabelled = next(known), next(unknown)
            if number == 0:
                labelled, unlabelled = self._unranked(labelled), self._unranked(unlabelled)
            with torch.enable_grad():
                for _ in range(self.recipe.vae_steps):
                    _step(autoencoder, self._autoencoder_loss(labelled, unlabelled))
                _step(judge, discriminator_loss(self._judged(labelled), self._judged(unlabelled)))

    @torch.no_grad()
    def unlikely_labelled(self) -> Tensor:
        """(n,) 1 - D: how sure the discriminator is that a candidate is not of the labelled kind; batches in list order."""
        self.vae.train(self.recipe.train_mode)
        sides = self._once(self.view.candidates, 1)
        return 1 - torch.cat([self._judged(side).squeeze(1) for side in sides])

    def _autoencoder_loss(self, labelled: Side, unlabelled: Side) -> Tensor:
        total, judged = [], []
        for side in (labelled, unlabelled):
            code = self.vae(side.images, None if side.rank is None else torch.sigmoid(side.rank), self.noise)
            total.append(vae_loss(side.images, code, kl=self.recipe.kl))
            judged.append(self.discriminator(_conditioned(code.mean, side.rank)))
        return total[0] + total[1] + adversarial_loss(judged[0], judged[1])

    def _judged(self, side: Side) -> Tensor:
        """(b, 1) the discriminator's word on the autoencoder's means, which get no gradient."""
        with torch.no_grad():
            mean, _ = self.vae.encode(side.images)
        judged: Tensor = self.discriminator(_conditioned(mean, side.rank))
        return judged

    def _rounds(self, indices: Indices, which: int) -> Iterator[Side]:
        while True:
            yield from self._once(indices, which)

    def _once(self, indices: Indices, which: int) -> Iterator[Side]:
        """Batches in list order; the last one may be short."""
        for start in range(0, len(indices), self.recipe.batch_size):
            chunk = slice(start, start + self.recipe.batch_size)
            yield Side(self.view.images(indices[chunk]), None if self.ranks is None else self.ranks[which][chunk])

    def _unranked(self, side: Side) -> Side:
        if side.rank is None:
            return side
        return side._replace(rank=torch.rand(side.rank.shape, generator=self.noise, device=side.rank.device))


def _conditioned(mean: Tensor, rank: Tensor | None) -> Tensor:
    return mean if rank is None else torch.cat([mean, rank], dim=1)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
