"""VAAL (Sinha et al., ICCV 2019) and TA-VAAL (Kim et al., CVPR 2021): an autoencoder and a
discriminator are trained against each other on labelled images and candidates.

The training is train_vaal in selection_methods.py of
razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db and cubeyoung/TA-VAAL at 1161071, with
the loss that soony1213/ST-CoNAL at 43cb8c9 keeps (the KL term averaged, not summed).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from benchmark.al.functional.losses import adversarial_loss, discriminator_loss, vae_loss
from benchmark.al.functional.scores import require_finite, top_positions
from benchmark.al.networks.vae import SIDES, Discriminator, Encoded, Init, Vae
from benchmark.al.strategies._seeded import Chance, seeded_training
from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.al.training import optimizers
from benchmark.errors import UsageError


@dataclass(frozen=True)
class AdversarialTraining:
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
    """Autoencoder steps per iteration."""
    kl: Literal["sum", "mean"]
    train_mode: bool
    """The autoencoder scores with the statistics of the scoring batch, as released."""
    redraw: bool = False
    """Every autoencoder step of an iteration but the first, and so the discriminator's step, sees
    the next batch of either list, as released; otherwise all see the same two."""
    first_rank: Literal["sigmoid", "raw"] = "sigmoid"
    """What the decoder sees of the noise that stands for the ranks in the first iteration: the
    noise itself, as released, or its sigmoid, as of the ranks later on."""
    init: Init = "default"
    hidden: int = 512
    """Of the discriminator."""

    def count(self, view: View, budget: int) -> int:
        """Iterations of one acquisition."""
        seen = budget * (view.cycle + 1) + len(view.candidates)
        return seen * self.passes // self.batch_size if self.iterations is None else self.iterations


class AdversarialBatch(NamedTuple):
    """A batch of labelled images or of candidates."""

    images: Tensor
    """(b, channels, side, side)."""
    rank: Tensor | None
    """(b, 1) condition of the discriminator (TA-VAAL)."""
    decoded: Tensor | None
    """(b, 1) condition of the decoder."""


class AdversarialPair:
    """Both networks, freshly initialised from the strategy's stream, and the two lists of images
    they are trained on."""

    def __init__(
        self, view: View, recipe: AdversarialTraining, ranks: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """`ranks`: a number for every labelled image (m,) and every candidate (n,). Raises
        UsageError for images that are not of 32 or 224 pixels."""
        self.view, self.recipe = view, recipe
        example = view.images(view.candidates[:1])
        _, channels, height, width = example.shape
        if height != width or height not in SIDES:
            raise UsageError(
                f"VAAL's autoencoder takes square images of 32 or 224 pixels, not {height} x "
                f"{width}",
                remedy="leave VAAL and TA-VAAL out of this suite",
            )
        conditions = 0 if ranks is None else 1
        for rank in ranks or ():
            require_finite("predicted losses", rank)
        self.chance: Chance = (view.chance or Chance)(view.rng, view.device)
        with seeded_training(view.rng):
            made = Vae(recipe.latent, conditions, channels, recipe.width, height, recipe.init)
            judge = Discriminator(recipe.latent + conditions, recipe.hidden, recipe.init)
        self.vae, self.discriminator = (
            made.to(view.device, example.dtype),
            judge.to(view.device, example.dtype),
        )
        self.chance.start("vae", self.vae)
        self.chance.start("discriminator", self.discriminator)
        self.ranks = (
            None
            if ranks is None
            else [rank.to(view.device, example.dtype)[:, None].clone() for rank in ranks]
        )
        # On the device once: every iteration reads images of both lists.
        self._indices = [
            torch.from_numpy(listed).to(view.device) for listed in (view.labelled, view.candidates)
        ]
        self.losses: list[tuple[Tensor, Tensor]] = []
        """Of every iteration: the autoencoder's in its last step, and the discriminator's."""

    def play(self, count: int) -> None:
        """Train both: in every iteration the autoencoder's steps, then one of the discriminator.

        In the first iteration uniform noise stands for the ranks.
        """
        autoencoder = optimizers.Adam(self.vae.parameters(), lr=self.recipe.lr)
        judge = optimizers.Adam(self.discriminator.parameters(), lr=self.recipe.lr)
        known, unknown = self._rounds(0), self._rounds(1)
        self.vae.train()
        for number in range(count):
            labelled, unlabelled = self._drawn(known, number), self._drawn(unknown, number)
            with torch.enable_grad():
                for step in range(self.recipe.vae_steps):
                    if step > 0 and self.recipe.redraw:
                        labelled = self._drawn(known, number)
                        unlabelled = self._drawn(unknown, number)
                    coded = _make_step(autoencoder, self._autoencoder_loss(labelled, unlabelled))
                judged = _make_step(
                    judge, discriminator_loss(self._judged(labelled), self._judged(unlabelled))
                )
            self.losses.append((coded, judged))

    @torch.no_grad()
    def unlikely_labelled(self) -> Tensor:
        """(n,) 1 - D: how sure the discriminator is that a candidate is not of the labelled kind;
        batches in list order."""
        self.vae.train(self.recipe.train_mode)
        sides = self._once(1)
        return 1 - torch.cat([self._judged(side).squeeze(1) for side in sides])

    def _autoencoder_loss(self, labelled: AdversarialBatch, unlabelled: AdversarialBatch) -> Tensor:
        total, judged = [], []
        for side in (labelled, unlabelled):
            mean, log_variance = self.vae.encode(side.images)
            sample = mean + self.chance.normal(mean) * (log_variance / 2).exp()
            code = Encoded(self.vae.decode(sample, side.decoded), mean, log_variance)
            total.append(vae_loss(side.images, code, kl=self.recipe.kl))
            judged.append(self.discriminator(_condition_on_rank(code.mean, side.rank)))
        return total[0] + total[1] + adversarial_loss(judged[0], judged[1])

    def _judged(self, side: AdversarialBatch) -> Tensor:
        """(b, 1) discriminator output for the latent means, which are detached."""
        with torch.no_grad():
            mean, _ = self.vae.encode(side.images)
        judged: Tensor = self.discriminator(_condition_on_rank(mean, side.rank))
        return judged

    def _rounds(self, which: int) -> Iterator[AdversarialBatch]:
        while True:
            yield from self._once(which)

    def _once(self, which: int) -> Iterator[AdversarialBatch]:
        """Batches in list order; the last one may be short."""
        listed = self._indices[which]
        for start in range(0, len(listed), self.recipe.batch_size):
            chunk = slice(start, start + self.recipe.batch_size)
            rank = None if self.ranks is None else self.ranks[which][chunk]
            yield AdversarialBatch(
                self.view.images(listed[chunk]), rank, None if rank is None else torch.sigmoid(rank)
            )

    def _drawn(self, rounds: Iterator[AdversarialBatch], iteration: int) -> AdversarialBatch:
        """The next batch of a list; in the first iteration with noise for ranks."""
        side = next(rounds)
        if side.rank is None or iteration > 0:
            return side
        noise = self.chance.uniform(side.rank)
        return side._replace(
            rank=noise, decoded=noise if self.recipe.first_rank == "raw" else torch.sigmoid(noise)
        )


def _condition_on_rank(mean: Tensor, rank: Tensor | None) -> Tensor:
    return mean if rank is None else torch.cat([mean, rank], dim=1)


def _make_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@dataclass(frozen=True)
class AdversarialStrategy(Strategy):
    """Candidates that the discriminator finds least like labelled ones after both networks are
    trained against each other."""

    sides: ClassVar[tuple[int, ...]] = tuple(SIDES)

    kl: Literal["sum", "mean"] = "mean"
    """Over batch and latent: `sum` in Sequential-GCN."""
    vae_steps: int = 2
    latent: int = 32
    width: int = 128
    batch_size: int = 128
    lr: float = 5e-4
    passes: int = 100
    iterations: int | None = None
    scoring: Literal["train", "eval"] = "train"
    """Mode of the autoencoder when it scores; with `train`, as released, a score depends on its
    batch."""
    redraw: bool = False
    """Whether the second autoencoder step and the discriminator's step of an iteration see new
    batches, as released."""
    init: Init = "default"
    """Where both networks start: `kaiming` as released."""
    hidden: int = 512
    """Of the discriminator's two hidden layers."""

    @abstractmethod
    def game(self, view: View) -> AdversarialPair:
        """Both networks before their training."""

    def recipe(self, first_rank: Literal["sigmoid", "raw"] = "sigmoid") -> AdversarialTraining:
        """The parameters of both networks' training."""
        return AdversarialTraining(
            self.latent,
            self.width,
            self.batch_size,
            self.lr,
            self.passes,
            self.iterations,
            self.vae_steps,
            self.kl,
            self.scoring == "train",
            self.redraw,
            first_rank,
            self.init,
            self.hidden,
        )

    def select(self, view: View, budget: int) -> Picks:
        """The largest 1 - D."""
        scores = play_game(self.game(view), view, budget)
        return Picks(top_positions(scores, budget), scores)


@dataclass(frozen=True)
class Vaal(AdversarialStrategy):
    """Candidates whose latent code the discriminator finds least like a labelled one. Needs images
    of 32 or 224 pixels."""

    def game(self, view: View) -> AdversarialPair:
        """Both networks before their training."""
        return AdversarialPair(view, self.recipe())


@dataclass(frozen=True)
class TaVaal(AdversarialStrategy):
    """As VAAL; the decoder also sees the sigmoid of an image's predicted loss, the discriminator
    the number itself.

    Needs an objective that predicts losses, trained with the pairwise cross-entropy form of
    learning loss.
    """

    vae_steps: int = 1
    first_rank: Literal["sigmoid", "raw"] = "sigmoid"
    """What the decoder sees of the noise that stands for the predicted losses in the first
    iteration: `raw` as released."""

    needs = frozenset({"predicted_loss", "labelled.predicted_loss"})

    def game(self, view: View) -> AdversarialPair:
        """Both networks before their training."""
        return AdversarialPair(
            view,
            self.recipe(self.first_rank),
            (view["labelled.predicted_loss"], view["predicted_loss"]),
        )


def play_game(game: AdversarialPair, view: View, budget: int) -> Tensor:
    """(n,) scores of the candidates after the training that the recipe asks for."""
    game.play(game.recipe.count(view, budget))
    return game.unlikely_labelled()
