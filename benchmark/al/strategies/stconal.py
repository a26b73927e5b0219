"""ST-CoNAL (Baik, Yoon and Choi, ACCV 2022; official code soony1213/ST-CoNAL at 43cb8c9,
selection_methods.py).

Snapshots along the last epochs of one training are students, the average of their weights is the
teacher. An image on which the students disagree with the sharpened teacher is bought. How snapshots
and teacher are made is the protocol's `training.trajectory`; with an exponential moving average as
the teacher this is ST-CoNAL-EMA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmark.al.functional.scores import consistency
from benchmark.al.strategies.base import ScoreStrategy, View


@dataclass(frozen=True)
class StConal(ScoreStrategy):
    """Mean over students of KL(sharpened teacher || student), largest first."""

    temperature: float | None = 0.7
    """Sharpens the teacher's probabilities: below 1 more certain (None or 0: not at all)."""
    form: Literal["prob", "logspace"] = "prob"
    """Arithmetic on probabilities as released (each term is capped near 32 nats, and a teacher
    probability that underflows makes the score NaN, which is refused here), or the same quantity
    from logarithms."""

    needs = frozenset({"teacher.logits", "students.logits"})

    def score(self, view: View) -> Tensor:
        """(n,) in nats; teacher and students have seen the same images in one pass."""
        return consistency(
            view["teacher.logits"], view["students.logits"], self.temperature, self.form
        )
