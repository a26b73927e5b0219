"""Options of ST-CoNAL's command line, and the first unlabelled batch of TOD, by counts and by
hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.al.acquisition import draw_balanced
from benchmark.al.objectives.cod import Cod
from benchmark.al.pool import Pool
from benchmark.al.training.schedules import in_cycle, learning_rate_at
from benchmark.errors import UsageError
from benchmark.spec.suite import Component
from benchmark.spec.training import CosineRestarts, MultiStep
from tests.helpers.trials import assembled, trial


def test_gamma_falls_from_cycle_to_cycle() -> None:
    schedule = MultiStep(kind="multistep", milestones=(160,), gamma=1.0, late=True, last_gamma=0.1)
    gammas = [
        learning_rate_at(in_cycle(schedule, cycle, 5), 1.0, 199, 0, 200, 1) for cycle in range(5)
    ]
    assert gammas == pytest.approx([1, 0.775, 0.55, 0.325, 0.1], abs=1e-15)
    plain = MultiStep(kind="multistep", milestones=(160,), gamma=0.1)
    assert in_cycle(plain, 3, 5) is plain


def test_cosines_fall_to_their_floor() -> None:
    """torch's warm restarts: floor + (top - floor) (1 + cos(pi t / T)) / 2."""
    schedule = CosineRestarts(kind="cosine_restarts", start=1, period=10, gamma=1.0, floor=0.02)
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, eta_min=0.02)
    for epoch in range(35):
        optimizer.step()
        assert learning_rate_at(schedule, 0.1, epoch + 1, 0, 200, 1) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-12
        )
        theirs.step()


def test_a_balanced_start_has_as_many_of_every_class() -> None:
    labels = np.repeat(np.arange(4), (5, 50, 20, 7))
    pool = draw_balanced(labels, 20, 4, np.random.default_rng(0))
    assert np.bincount(labels[pool.labelled]).tolist() == [5, 5, 5, 5]
    pool.check()
    with pytest.raises(UsageError, match="class 0 has 5 images"):
        draw_balanced(labels, 24, 4, np.random.default_rng(0))


def test_the_batch_of_the_first_cycle_says_nothing_about_who_is_a_candidate(tmp_path: Path) -> None:
    """Of 32 images among 1,257 some 3 are among the first 120; the head of the list would be all
    32."""
    shared = {}
    for first_batch in ("drawn_once", "fixed"):
        shared[first_batch] = []
        for seed in range(8):
            made = trial(
                "random+cod",
                seed,
                objective=Component(
                    name="cod", params={"weight": 0.02, "first_batch": first_batch}
                ),
            )
            _, learner = assembled(made, tmp_path)
            assert isinstance(learner.objective, Cod)
            pool = Pool.shuffled(1_297, 40, learner.streams.generator("pool"))
            data = learner._cycle_data(0, pool.labelled, pool.unlabelled)
            batches = {
                tuple(indices.tolist())
                for epoch in range(3)
                for indices, _ in learner.objective._unlabelled(data, epoch)
            }
            assert len(batches) == 1, "one batch in all steps"
            (batch,) = batches
            shared[first_batch].append(len(set(batch) & set(pool.candidates(120).tolist())))
    assert shared["fixed"] == [32] * 8
    assert max(shared["drawn_once"]) <= 10
    assert 1 <= np.mean(shared["drawn_once"]) <= 6
