"""Pool-based active learning: train, evaluate, acquire, repeat. What every suite runs with every
method.

It reads like the papers' Algorithm 1: all that differs between methods lies behind `Learner`,
`Objective` and `Strategy`; all that concerns files, time and resuming lies behind `Session`.
"""

from __future__ import annotations

import numpy as np

from benchmark.al.acquisition import acquire, describe, initial_pool
from benchmark.al.pool import indices_digest
from benchmark.al.session import Session
from benchmark.al.static_outputs import static_outputs
from benchmark.al.strategies.base import Strategy
from benchmark.al.trainable import TrainableModel
from benchmark.runs.events import CycleResult
from benchmark.spec.protocol import Protocol


def run(protocol: Protocol, strategy: Strategy, learner: TrainableModel, session: Session) -> None:
    """Run or continue one trial until its last training is evaluated. May raise
    `TrainingInterrupted` with the state saved."""
    acquisition = protocol.acquisition
    first, pool = session.resume(learner)
    statics = static_outputs(protocol, strategy, learner, session)
    if pool is None:
        pool = initial_pool(protocol, strategy, learner, statics)
    for cycle in range(first, acquisition.cycles):
        session.train(learner, cycle, pool, strategy)
        with session.timed("evaluate"):
            evaluated = learner.finish_cycle()
        result = CycleResult(
            cycle=cycle,
            labelled=len(pool.labelled),
            metrics=learner.metrics,
            per_class=evaluated.per_class,
            training=session.training_key,
            weights=learner.weights(),
            labelled_digest=indices_digest(pool.labelled),
            picks_digest=None,
        )
        if cycle + 1 < acquisition.cycles:
            with session.timed("acquire"):
                view, picks = acquire(
                    strategy, learner, pool, cycle, protocol, acquisition.budgets()[cycle], statics
                )
            bought = view.candidates[picks.positions.cpu().numpy()]
            returned = None
            if picks.returned is not None:
                # Beyond the candidates the unlabelled list stays as it is, by place: it may hold
                # images twice.
                beyond = pool.unlabelled[len(pool.candidates(acquisition.candidates)) :]
                returned = np.concatenate([view.candidates[picks.returned.cpu().numpy()], beyond])
            result = result.model_copy(update=describe(learner, view, picks, bought))
            pool = pool.label(bought, learner.streams.generator("pool", cycle + 1), returned)
        session.finish_cycle(result, pool, learner)
