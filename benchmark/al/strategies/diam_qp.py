"""DIAM_qp: disagreement traded against density; a reading of code that cannot run (tangypnuaa/DIAM at cddf397, see
`functional.diam_qp`). No published number exists for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmark.al.functional.diam_qp import diam_qp, disputed
from benchmark.al.functional.votes import disagreement
from benchmark.al.strategies._committee import disagreement_diagnostics, votes
from benchmark.al.strategies.base import Picks, Strategy, View


@dataclass(frozen=True)
class DiamQp(Strategy):
    """The `budget` largest weights of the quadratic programme over the most disputed fifth of the images; fewer than
    the budget where that is smaller."""

    needs = frozenset({"votes"})
    q: float = 1.0
    """Weight of disagreement against density."""
    order: Literal["ascending", "descending"] = "ascending"
    """In which order of weight the images are bought, which the training sees where it does not shuffle. The release ascends."""

    def select(self, view: View, budget: int) -> Picks:
        """Embeddings are asked for model by model, for the disputed images only."""
        disagreed = disagreement(votes(view))
        chosen = disputed(disagreed)
        indices = view.candidates[chosen.cpu().numpy()]
        models = view["votes"].shape[0] if view["votes"].dim() == 3 else 0
        names = [f"model{place}.features" for place in range(models)] or ["features"]
        embeddings = (view.ask({name}, indices)[name] for name in names)
        picks = chosen[diam_qp(disagreed[chosen], embeddings, min(budget, len(chosen)), self.q)]
        return Picks(
            picks.flip(0) if self.order == "descending" else picks, diagnostics=disagreement_diagnostics(disagreed)
        )
