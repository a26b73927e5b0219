"""The largest probability, averaged over target models as DIAM's comparison does it
(tangypnuaa/DIAM at cddf397, al_select.py; Tang and Huang, NeurIPS 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.al.functional.model_scores import Kind
from benchmark.al.strategies._committee import CommitteeUncertainty


@dataclass(frozen=True)
class CommitteeLeastConfidence(CommitteeUncertainty):
    """The largest probability of each model, small is wanted."""

    @property
    def kind(self) -> Kind:
        """The score."""
        return "least_conf"
