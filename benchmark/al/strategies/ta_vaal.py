"""TA-VAAL (Kim et al., CVPR 2021; official code cubeyoung/TA-VAAL at 1161071): VAAL that knows the predicted loss.

Needs an objective that predicts losses, trained with the pairwise cross-entropy form of learning loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.al.functional.ranking import top
from benchmark.al.networks.vae import Init
from benchmark.al.strategies._adversarial import AdversarialPair, AdversarialTraining
from benchmark.al.strategies.base import Picks, Strategy, View
from benchmark.al.strategies.vaal import played


@dataclass(frozen=True)
class TaVaal(Strategy):
    """As VAAL; the decoder also sees the sigmoid of an image's predicted loss, the discriminator the number itself."""

    kl: Literal["sum", "mean"] = "mean"
    vae_steps: int = 1
    latent: int = 32
    width: int = 128
    batch_size: int = 128
    lr: float = 5e-4
    passes: int = 100
    iterations: int | None = None
    scoring: Literal["train", "eval"] = "train"
    redraw: bool = False
    first_rank: Literal["sigmoid", "raw"] = "sigmoid"
    """What the decoder sees of the noise that stands for the predicted losses in the first iteration: `raw` as released."""
    init: Init = "default"
    """Where both networks start: `kaiming` as released."""
    hidden: int = 512
    """Of the discriminator's two hidden layers."""

    needs = frozenset({"predicted_loss", "labelled.predicted_loss"})

    def game(self, view: View) -> AdversarialPair:
        """Both networks before their training."""
        recipe = AdversarialTraining(
            self.latent, self.width, self.batch_size, self.lr, self.passes, self.iterations, self.vae_steps, self.kl,
            self.scoring == "train", self.redraw, self.first_rank, self.init, self.hidden,
        )  # fmt: skip
        return AdversarialPair(view, recipe, (view["labelled.predicted_loss"], view["predicted_loss"]))

    def select(self, view: View, budget: int) -> Picks:
        """The largest 1 - D."""
        scores = played(self.game(view), view, budget)
        return Picks(top(scores, budget), scores)
