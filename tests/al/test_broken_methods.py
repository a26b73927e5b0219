"""What a smoke profile is for: a training that learns is far above chance, and one broken on purpose stays at it.

On the handwritten digits that every installation has; smoke profiles of papers are held to the same rule where their data are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from benchmark.al.learner import Learner
from benchmark.al.objectives import cod
from tests.helpers.trials import assembled, trial

CHANCE = 10.0
SETS = {"protocol.training.epochs": 8, "protocol.training.schedule.milestones": [6]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def reached(
    cache: Path, method: str = "random", damage: Callable[[Learner], None] = lambda _: None
) -> dict[str, float]:
    """Test accuracy of every network in percent after one training on 200 labels."""
    _, learner = assembled(trial(method, sets=SETS), cache)
    damage(learner)
    pool = torch.arange(1200).numpy()
    learner.fit(0, pool[:200], pool[200:], ())
    networks = {"student": learner.student, **learner.objective.modules()}
    return {name: learner.evaluate(network).accuracy for name, network in networks.items()}


def shuffle_labels(learner: Learner) -> None:
    order = torch.randperm(len(learner.parts.train_labels), generator=torch.Generator().manual_seed(0))
    learner.parts.train_labels.copy_(learner.parts.train_labels[order].clone())


def freeze(learner: Learner) -> None:
    optimizer = learner._optimizer

    def frozen() -> torch.optim.Optimizer:
        made = optimizer()
        made.step = lambda *_: None  # type: ignore[method-assign]
        return made

    learner._optimizer = frozen  # type: ignore[method-assign]


def test_a_training_that_learns_is_far_above_chance(cache: Path) -> None:
    assert reached(cache)["student"] > 4 * CHANCE
    assert min(reached(cache, "random+cod").values()) > 2 * CHANCE


@pytest.mark.parametrize("damage", [shuffle_labels, freeze])
def test_a_broken_training_stays_at_chance(damage: Callable[[Learner], None], cache: Path) -> None:
    assert reached(cache, damage=damage)["student"] < 2 * CHANCE


def test_a_teacher_that_is_not_updated_stays_at_chance(cache: Path) -> None:
    with patch.object(cod, "ema_update", lambda *_, **__: None):
        found = reached(cache, "random+cod")
    assert found["student"] > 2 * CHANCE > found["teacher"]
