"""ProbCover (Yehuda, Dekel, Hacohen and Weinshall, NeurIPS 2022, algorithm 1): balls of one radius
that cover most images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from benchmark.al.functional.coverage import BallCover, pure_radius
from benchmark.al.strategies._outputs import image_features
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class ProbCover(Strategy):
    """Buy, one after the other, the image with most uncovered images within `delta` of it, on
    features of unit length.

    The paper takes self-supervised features; the trained network's are the default here because
    every protocol has them.
    """

    features: str = "features"
    """The output that is covered: `features`, `pretext.features`, or `features.<name>` from a
    file."""
    delta: Annotated[float, Field(gt=0, le=2)] | None = None
    """Radius (None: the largest at which `purity` of all balls are pure, section 3.3)."""
    purity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of balls that hold images of one of as many clusters as there are classes."""

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Features of candidates and labelled images."""
        return frozenset({self.features, f"labelled.{self.features}"})

    def select(self, view: View, budget: int) -> Picks:
        """Largest out-degree first."""
        candidates = image_features(view, self.features)
        labelled = image_features(view, f"labelled.{self.features}")
        radius = self.delta
        if radius is None:
            radius = pure_radius(
                torch.cat([labelled, candidates]), view.classes, self.purity, view.rng
            )
        cover = BallCover(candidates, labelled, radius)
        facts = {"cover/radius": radius, "cover/share_before": float(cover.covered.double().mean())}
        picks = cover.pick(budget, view.rng)
        return Picks(
            picks, diagnostics=facts | {"cover/share_after": float(cover.covered.double().mean())}
        )
