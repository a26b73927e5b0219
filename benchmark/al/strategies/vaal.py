"""VAAL (Sinha et al., ICCV 2019) as razvancaramalau/Sequential-GCN-for-Active-Learning at bbc43db runs it, with the loss
that soony1213/ST-CoNAL at 43cb8c9 keeps (the KL term averaged, not summed)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmark.al.functional.ranking import top
from benchmark.al.networks.vae import Init
from benchmark.al.strategies._adversarial import AdversarialPair, AdversarialTraining
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class Vaal(Strategy):
    """Candidates whose latent code the discriminator finds least like a labelled one. Needs images of 32 or 224 pixels."""

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
    """Mode of the autoencoder when it scores; with `train`, as released, a score depends on its batch."""
    redraw: bool = False
    """Whether the second autoencoder step and the discriminator's step of an iteration see new batches, as released."""
    init: Init = "default"
    """Where both networks start: `kaiming` as released."""
    hidden: int = 512
    """Of the discriminator's two hidden layers."""

    def game(self, view: View) -> AdversarialPair:
        """Both networks before their training."""
        return AdversarialPair(view, AdversarialTraining(
            self.latent, self.width, self.batch_size, self.lr, self.passes, self.iterations, self.vae_steps, self.kl,
            self.scoring == "train", self.redraw, init=self.init, hidden=self.hidden,
        ))  # fmt: skip

    def select(self, view: View, budget: int) -> Picks:
        """The largest 1 - D."""
        scores = played(self.game(view), view, budget)
        return Picks(top(scores, budget), scores)


def played(game: AdversarialPair, view: View, budget: int) -> Tensor:
    """(n,) scores of the candidates after the training that the recipe asks for."""
    game.play(game.recipe.count(view, budget))
    return game.unlikely_labelled()
