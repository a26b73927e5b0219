"""What a smoke profile is for: a training that learns is far above chance, and one broken on
purpose stays at it.

On the handwritten digits that every installation has; profiles of papers are held to the threshold
that their notes name where ALBENCH_TEST_DATA names a data root.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from benchmark.al import datasets
from benchmark.al.committee import Committee
from benchmark.al.learner import Learner
from benchmark.al.objectives import cod
from benchmark.al.training.numerics import Numerics
from benchmark.spec.load import find_suite
from benchmark.worker import assemble
from tests.helpers.trials import SUITES, assembled, trial

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
    order = torch.randperm(
        len(learner.parts.train_labels), generator=torch.Generator().manual_seed(0)
    )
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


THRESHOLD = 20.0
"""Percent below which the notes of these profiles call a network broken."""
REAL = pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)
PROFILES = [
    (suite, "smoke")
    for suite in (
        "tod/cifar10",
        "st-conal/cifar10",
        "bal/cifar10-base",
        "pt4al/cifar10",
        "diam/mnist",
    )
]
"""One of each paper."""


def reached_by_profile(
    suite: str,
    profile: str,
    method: str,
    cache: Path,
    damage: Callable[[Learner], None] = lambda _: None,
) -> dict[str, float]:
    """Test accuracy of every network in percent after one training on as many labels as the profile
    ends with; of several target models the mean."""
    (made,) = find_suite(suite, SUITES).trials(profile, methods=[method], seeds=[0])
    data = datasets.load(made.protocol.data, Path(os.environ["ALBENCH_TEST_DATA"]), cache)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    _, learner = assemble(made, data, Numerics(torch.device("cpu")), cache / "weights")
    members = learner.members if isinstance(learner, Committee) else [learner]
    for member in members:
        damage(member)
    pool = torch.arange(made.protocol.data.train_size).numpy()
    labelled = made.protocol.acquisition.labelled()[-1]
    learner.fit(0, pool[:labelled], pool[labelled:], ())
    networks = {f"student{member.place}": (member, member.student) for member in members}
    networks |= {
        name: (member, module)
        for member in members
        for name, module in member.objective.modules().items()
    }
    found = {
        name: member.evaluate(network).accuracy for name, (member, network) in networks.items()
    }
    students = [found.pop(f"student{member.place}") for member in members]
    return found | {"student": sum(students) / len(students)}


@REAL
@pytest.mark.slow
@pytest.mark.parametrize(("suite", "profile"), PROFILES)
def test_the_threshold_of_a_profile_tells_a_broken_training(
    suite: str, profile: str, cache: Path
) -> None:
    assert reached_by_profile(suite, profile, "random", cache)["student"] > THRESHOLD
    for damage in (shuffle_labels, freeze):
        assert reached_by_profile(suite, profile, "random", cache, damage)["student"] < THRESHOLD, (
            damage.__name__
        )


@REAL
@pytest.mark.slow
def test_the_threshold_of_tods_profile_tells_a_teacher_that_is_not_updated(cache: Path) -> None:
    assert min(reached_by_profile("tod/cifar10", "smoke", "tod+cod", cache).values()) > THRESHOLD
    with patch.object(cod, "ema_update", lambda *_, **__: None):
        assert reached_by_profile("tod/cifar10", "smoke", "tod+cod", cache)["teacher"] < THRESHOLD
