"""Strategies for several target models: outputs have a leading axis of models, also where there is
only one.

Margin, entropy and least confidence averaged over target models as DIAM's comparison does it
(tangypnuaa/DIAM at cddf397, al_select.py; Tang and Huang, NeurIPS 2022).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from benchmark.al.functional.scores import require_finite
from benchmark.al.functional.votes import (
    Kind,
    Scaling,
    combine_scores,
    draw_ties,
    raw_scores,
    smallest_positions,
)
from benchmark.al.strategies.base import Picks, Strategy, View


def stack_votes(view: View) -> Tensor:
    """(snapshots, models, n) hard labels, as the formulas want them, from the learner's (models,
    snapshots, n)."""
    cast = view["votes"]
    return (cast if cast.dim() == 3 else cast[None]).transpose(0, 1)


def concatenate_models(features: Tensor) -> Tensor:
    """(n, models * d): what several models make of each image in one row; (n, d) stays as it is."""
    return features if features.dim() == 2 else features.movedim(0, 1).flatten(1)


def disagreement_diagnostics(models: Tensor) -> dict[str, float]:
    """Diagnostics of DIAM's D (n,): its mean, and the share of images that any model is in dispute
    about."""
    return {
        "disagreement/mean": float(models.double().mean()),
        "disagreement/share": float((models > 0).double().mean()),
    }


@dataclass(frozen=True)
class CommitteeUncertainty(Strategy):
    """Uncertainty averaged over the target models after rescaling each model's scores; smallest
    scores are bought.

    `official`: the release rescales along the wrong axis, which makes every score 0 and the picks a
    uniform draw.
    """

    needs = frozenset({"logits"})
    scaling: Scaling = "official"

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Which score."""

    def select(self, view: View, budget: int) -> Picks:
        """The `budget` smallest mean scores."""
        logits = view["logits"]
        logits = logits if logits.dim() == 3 else logits[None]
        if self.scaling == "official":
            # The release's own NaN come from a probability that underflows; these would come from a
            # diverged training.
            require_finite("logits", logits)
            scores = combine_scores(raw_scores(logits, self.kind), "official")
            return Picks(draw_ties(scores, budget, view.rng))
        scores = combine_scores(raw_scores(logits, self.kind, underflow="zero"), self.scaling)
        return Picks(smallest_positions(scores, budget), -scores)


@dataclass(frozen=True)
class CommitteeEntropy(CommitteeUncertainty):
    """Negative entropy of the predicted class distribution of each model, small is wanted."""

    @property
    def kind(self) -> Kind:
        """The score."""
        return "entropy"


@dataclass(frozen=True)
class CommitteeMargin(CommitteeUncertainty):
    """Margin, the gap between the two largest probabilities of each model, small is wanted."""

    @property
    def kind(self) -> Kind:
        """The score."""
        return "margin"


@dataclass(frozen=True)
class CommitteeLeastConfidence(CommitteeUncertainty):
    """The largest probability of each model, small is wanted."""

    @property
    def kind(self) -> Kind:
        """The score."""
        return "least_conf"
