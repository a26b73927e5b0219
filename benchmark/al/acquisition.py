"""Between learner and strategy: what a strategy is shown, and the check of what it picks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from benchmark.al.output_name import OutputName
from benchmark.al.pool import Pool
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, Strategy, View
from benchmark.al.trainable import TrainableModel
from benchmark.errors import AlbenchError
from benchmark.spec.models import Protocol


def acquire(
    strategy: Strategy,
    learner: TrainableModel,
    pool: Pool,
    cycle: int,
    protocol: Protocol,
    budget: int,
    statics: Mapping[str, torch.Tensor] | None = None,
) -> tuple[View, Picks]:
    """Show the strategy what it declared to need, and check what it picks. `statics` cover the whole pool (`View.statics`)."""
    view = View(
        cycle=cycle,
        cycles=protocol.acquisition.cycles,
        classes=protocol.data.classes,
        candidates=pool.candidates(protocol.acquisition.candidates),
        labelled=pool.labelled,
        pool_size=pool.size,
        rng=learner.streams.generator("query", cycle, strategy.stream),
        device=learner.numerics.device,
        outputs={},
        images=learner.scoring_images,
        ask=lambda names, indices: learner.outputs(names, indices, cycle),
        statics=statics or {},
    )
    positions = strategy.narrow(view)
    if positions is not None:
        view = replace(view, candidates=view.candidates[positions.cpu().numpy()])
    if len(view.candidates) == 0:  # a method that looks at a part of the pool may find it sold out
        return view, Picks(torch.empty(0, dtype=torch.int64))
    view = replace(view, outputs=gather(strategy, learner, view))
    with torch.no_grad():
        picks = strategy.select(view, min(budget, len(view.candidates)))
    _check(picks, view, budget)
    return view, picks


def gather(strategy: Strategy, learner: TrainableModel, view: View) -> dict[str, torch.Tensor]:
    """Everything the strategy declared: one pass over the candidates, one over the labelled images if it asked.

    Before the first training there is no model to ask.
    """
    if view.cycle == BEFORE_FIRST_TRAINING:
        return {}
    needs = [need for need in map(OutputName.parse, strategy.needs) if not need.is_static]
    found: dict[str, torch.Tensor] = {}
    for labelled, indices in ((False, view.candidates), (True, view.labelled)):
        asked = {str(need.unlabelled): str(need) for need in needs if need.labelled == labelled}
        if asked:
            given = learner.outputs(set(asked), indices, view.cycle)
            found |= {asked[name]: value for name, value in given.items()}
    return found


def _check(picks: Picks, view: View, budget: int) -> None:
    if not isinstance(picks, Picks):  # a plug-in's mistake
        raise AlbenchError(
            f"the strategy returned {type(picks).__name__}", remedy="return Picks(positions in `view.candidates`)"
        )
    positions = picks.positions.cpu().numpy()
    if positions.ndim != 1 or positions.dtype != np.int64 or len(positions) > budget:
        raise AlbenchError(
            f"the strategy returned {positions.dtype} of shape {positions.shape} for a budget of {budget}",
            remedy="return at most `budget` int64 positions in `view.candidates`",
        )
    if len(positions) and not (positions.min() >= 0 and positions.max() < len(view.candidates)):
        raise AlbenchError(
            "the strategy picked positions outside its candidates", remedy="return positions, not data set indices"
        )
    if picks.returned is None and len(np.unique(positions)) != len(positions):
        raise AlbenchError("the strategy picked a candidate twice", remedy="return distinct positions")
