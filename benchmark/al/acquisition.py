"""An acquisition: what a strategy is shown, the check of what it picks, the first labelled set, and
numbers about a purchase.

Labels of unlabelled images are read where a protocol pins a balanced first set, and by `describe`
after the strategy has decided; nowhere else in a trial (`oracle`, which reads all of them, makes no
trial). Those of labelled images are shown to a strategy that declares `labelled.labels`. Outputs
that are not finite are refused here, for every method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.al.output_name import LABELS, OutputName
from benchmark.al.pool import Indices, Pool, indices_digest
from benchmark.al.random.streams import Streams
from benchmark.al.strategies.base import BEFORE_FIRST_TRAINING, Picks, Strategy, View
from benchmark.al.trainable import TrainableModel
from benchmark.errors import AlbenchError, UsageError
from benchmark.spec.protocol import Protocol


def acquire(
    strategy: Strategy,
    learner: TrainableModel,
    pool: Pool,
    cycle: int,
    protocol: Protocol,
    budget: int,
    statics: Mapping[str, torch.Tensor] | None = None,
) -> tuple[View, Picks]:
    """Show the strategy what it declared to need, and check what it picks. `statics` cover the
    whole pool (`View.statics`)."""
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
        ask=lambda names, indices: _require_finite(
            strategy, cycle, learner.outputs(names, indices, cycle)
        ),
        statics=statics or {},
    )
    positions = strategy.narrow(view)
    if positions is not None:
        view = replace(view, candidates=view.candidates[positions.cpu().numpy()])
    if len(view.candidates) == 0:  # a method that looks at a part of the pool may find it sold out
        return view, Picks(torch.empty(0, dtype=torch.int64))
    _require_finite(strategy, cycle, view.statics)
    view = replace(view, outputs=_require_finite(strategy, cycle, gather(strategy, learner, view)))
    with torch.no_grad():
        picks = strategy.select(view, min(budget, len(view.candidates)))
    _check_picks(picks, view, budget)
    return view, picks


def gather(strategy: Strategy, learner: TrainableModel, view: View) -> dict[str, torch.Tensor]:
    """Everything the strategy declared: one pass over the candidates, one over the labelled images
    if it asked.

    Before the first training there is no model to ask.
    """
    if view.cycle == BEFORE_FIRST_TRAINING:
        return {}
    needs = [need for need in map(OutputName.parse, strategy.needs) if not need.is_static]
    found: dict[str, torch.Tensor] = {}
    for labelled, indices in ((False, view.candidates), (True, view.labelled)):
        asked = {
            str(need.unlabelled): str(need)
            for need in needs
            if need.labelled == labelled and str(need) != LABELS
        }
        if asked:
            given = learner.outputs(set(asked), indices, view.cycle)
            found |= {asked[name]: value for name, value in given.items()}
    if LABELS in strategy.needs:
        labels = learner.parts.train_labels
        found[LABELS] = labels[torch.from_numpy(view.labelled).to(labels.device)]
    return found


def _require_finite(
    strategy: Strategy, cycle: int, outputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The outputs as they are. Raises AlbenchError for one that is not finite: it would be bought
    first, or never."""
    for name, values in outputs.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).sum())
            raise AlbenchError(
                f"the output '{name}' has {bad} of {values.numel()} numbers that are not finite",
                where=f"{strategy.stream.lstrip(':') or 'random'} in cycle {cycle}",
                remedy="check the training for divergence",
            )
    return dict(outputs)


def _check_picks(picks: Picks, view: View, budget: int) -> None:
    if not isinstance(picks, Picks):  # a plug-in's mistake
        raise AlbenchError(
            f"the strategy returned {type(picks).__name__}",
            remedy="return Picks(positions in `view.candidates`)",
        )
    positions = picks.positions.cpu().numpy()
    if positions.ndim != 1 or positions.dtype != np.int64 or len(positions) > budget:
        raise AlbenchError(
            f"the strategy returned {positions.dtype} of shape {positions.shape} for a budget of "
            f"{budget}",
            remedy="return at most `budget` int64 positions in `view.candidates`",
        )
    if len(positions) and not (positions.min() >= 0 and positions.max() < len(view.candidates)):
        raise AlbenchError(
            "the strategy picked positions outside its candidates",
            remedy="return positions, not data set indices",
        )
    if picks.returned is None and len(np.unique(positions)) != len(positions):
        raise AlbenchError(
            "the strategy picked a candidate twice", remedy="return distinct positions"
        )


def initial_pool(
    protocol: Protocol,
    strategy: Strategy,
    learner: TrainableModel,
    statics: Mapping[str, Tensor] | None = None,
) -> Pool:
    """The pool before the first training. It does not depend on the strategy, unless the rule says
    so."""
    rule, size = protocol.acquisition.initial, protocol.data.train_size
    if rule.rule != "strategy":
        return drawn_pool(protocol, learner.parts.train_labels.cpu().numpy(), learner.streams)
    rng = learner.streams.generator("pool")
    empty = replace(Pool.shuffled(size, 0, rng), unlabelled=np.arange(size))
    view, picks = acquire(
        strategy, learner, empty, BEFORE_FIRST_TRAINING, protocol, rule.size, statics
    )
    return empty.label(view.candidates[picks.positions.cpu().numpy()], rng)


def drawn_pool(protocol: Protocol, labels: Indices, streams: Streams) -> Pool:
    """The pool before the first training where no strategy picks the first labelled set. labels:
    (pool,)."""
    rule, size = protocol.acquisition.initial, protocol.data.train_size
    if rule.rule == "torch_randperm":
        assert rule.seed is not None
        return Pool(*torch_randperm(size, rule.size, rule.seed), size)
    rng = streams.generator("pool")
    if rule.rule == "balanced":
        return draw_balanced(labels, rule.size, protocol.data.classes, rng)
    if rule.rule == "uniform":
        return Pool.shuffled(size, rule.size, rng)
    raise UsageError(
        f"the first labelled set is picked by a strategy ('{rule.rule}')",
        where="protocol.acquisition.initial",
        remedy="pin rule = 'uniform' or 'balanced'",
    )


def draw_balanced(labels: Indices, initial: int, classes: int, rng: np.random.Generator) -> Pool:
    """initial / classes images of every class, class by class, drawn uniformly without replacement;
    the rest is shuffled.

    labels: (pool,). soony1213/ST-CoNAL at 43cb8c9, main.py, option use_balanced_init. Raises
    UsageError where a class has fewer images, as there the release stops.
    """
    each, order = initial // classes, rng.permutation(len(labels)).astype(np.int64)
    chosen = [order[labels[order] == label][:each] for label in range(classes)]
    for label, found in enumerate(chosen):
        if len(found) < each:
            raise UsageError(
                f"class {label} has {len(found)} images in the pool, but {each} of every class are "
                "asked for",
                where="protocol.acquisition.initial",
                remedy=f"ask for at most {len(found) * classes}, or pin rule = 'uniform'",
            )
    labelled = np.concatenate(chosen)
    return Pool(labelled, order[~np.isin(order, labelled)], len(labels))


def torch_randperm(size: int, initial: int, seed: int) -> tuple[Indices, Indices]:
    """Labelled and unlabelled lists cut from torch's CPU permutation of 0..size-1 under `seed`: its
    head and its tail.

    DIAM's split (tangypnuaa/DIAM at cddf397, base_provider.py random_sample_valid_set); the same
    for every trial.
    """
    order: Indices = (
        torch.randperm(size, generator=torch.Generator().manual_seed(seed)).numpy().astype(np.int64)
    )
    return order[:initial], order[initial:]


GROUPS = (0.0, 0.05, 0.10, 0.20, 0.50, 1.0)
"""Score groups from the highest-ranked down, as in Fig. 5 of the TOD paper: 0-5, 5-10, 10-20,
20-50, 50-100 %."""


def describe(learner: TrainableModel, view: View, picks: Picks, bought: Indices) -> dict[str, Any]:
    """Fields of a `CycleResult` that describe an acquisition."""
    labels = learner.parts.train_labels
    classes = torch.bincount(
        labels[torch.from_numpy(bought).to(labels.device)], minlength=view.classes
    )
    numbers: dict[str, float | tuple[float, ...]] = dict(picks.diagnostics or {})
    if picks.scores is not None:
        numbers["score/mean"] = float(picks.scores.double().mean())
        if "logits" in view.outputs and view.outputs["logits"].dim() == 2:
            truth = labels[torch.from_numpy(view.candidates).to(labels.device)]
            losses = F.cross_entropy(view.outputs["logits"].double(), truth, reduction="none")
            numbers["loss/mean"] = float(losses.mean())
            numbers["loss/by_score_group"] = by_score_group(picks.scores, losses)
    return {
        "picks_digest": indices_digest(bought),
        "acquired": tuple(int(count) for count in classes),
        "diagnostics": numbers,
    }


def by_score_group(scores: Tensor, losses: Tensor) -> tuple[float, ...]:
    """Mean loss of the candidates in each score group, best-ranked group first; groups without
    members are left out."""
    ranked = losses[torch.argsort(scores, descending=True, stable=True)].cpu().numpy()
    edges = [round(share * len(ranked)) for share in GROUPS]
    return tuple(float(np.mean(ranked[a:b])) for a, b in pairwise(edges) if b > a)
