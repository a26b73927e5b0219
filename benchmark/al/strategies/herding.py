"""MaxHerding (Bae, Noh and Sutherland, ECCV 2024, algorithm 1) and UHerding (Bae, Oliveira,
Sutherland and Noh, ICLR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmark.al.functional.coverage import select_herding
from benchmark.al.functional.scores import margin
from benchmark.al.strategies._outputs import class_probs, image_features
from benchmark.al.strategies.base import Picks, Strategy, View

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class MaxHerding(Strategy):
    """Buy, one after the other, the image that raises the generalised coverage of the candidates
    most.

    The paper takes self-supervised features; the trained network's are the default here because
    every protocol has them.
    """

    features: str = "features"
    """The output that is covered: `features`, `pretext.features`, or `features.<name>` from a
    file."""
    sigma: Positive = 1.0
    """Width of the Gaussian kernel on features of unit length."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Features of candidates and labelled images."""
        return frozenset({self.features, f"labelled.{self.features}"})

    def select(self, view: View, budget: int) -> Picks:
        """Largest gain first."""
        candidates = image_features(view, self.features)
        return Picks(
            select_herding(
                candidates, image_features(view, f"labelled.{self.features}"), budget, self.sigma
            )
        )


@dataclass(frozen=True)
class UHerding(Strategy):
    """MaxHerding in which every image counts by how uncertain it is: 1 minus its margin (section
    3).

    Left out: the paper's adaptation of the temperature and of the kernel's width to the labelled
    images. Both are parameters here.
    """

    features: str = "features"
    """As for MaxHerding."""
    sigma: Positive = 1.0
    """As for MaxHerding."""
    temperature: Positive = 1.0
    """By which logits are divided before the margin is taken."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Features of candidates and labelled images, logits of candidates."""
        return frozenset({self.features, f"labelled.{self.features}", "logits"})

    def select(self, view: View, budget: int) -> Picks:
        """Largest gain first."""
        weights = 1 - margin(class_probs(view, "logits", self.temperature).double())
        candidates = image_features(view, self.features)
        return Picks(
            select_herding(
                candidates,
                image_features(view, f"labelled.{self.features}"),
                budget,
                self.sigma,
                weights,
            )
        )
