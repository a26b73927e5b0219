"""What a published number costs: methods with the cheapest numbers first, and only what is left to
do counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.planning.value import rank_by_value
from benchmark.runs.store import Store
from benchmark.spec.published import ReportedResult, Role
from tests.helpers.runs import finish, toy_trial
from tests.planning.test_plan import plan_of


def number(method: str, labelled: int, role: Role = "target") -> ReportedResult:
    return ReportedResult(method=method, labelled=labelled, mean=50.0, source="made up", role=role)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_cheapest_numbers_come_first(store: Store) -> None:
    first, second = (toy_trial(0, method="random"), toy_trial(1, method="random"))
    other = toy_trial(0, method="entropy")
    sizes = first.protocol.acquisition.labelled()
    published = [number("random", sizes[0]), *(number("entropy", size) for size in sizes)]
    plan = plan_of(store, first, second, other)
    ranked = rank_by_value(plan, {first.suite: published})
    assert [(value.method, value.trials, value.numbers) for value in ranked] == [
        ("entropy", 1, len(sizes)),
        ("random", 2, 1),
    ]
    each = [planned.remaining.macs for planned in plan.trials]
    assert [value.macs for value in ranked] == [each[2], each[0] + each[1]]
    assert ranked[0].macs_per_number == each[2] / len(sizes)


def test_only_numbers_that_decide_and_are_trained_on_count(store: Store) -> None:
    trial = toy_trial(0, method="random")
    size = trial.protocol.acquisition.labelled()[0]
    published = [
        number("random", size, "context"),
        number("random", size + 1),
        number("other", size),
    ]
    (value,) = rank_by_value(plan_of(store, trial), {trial.suite: published})
    assert (value.numbers, value.macs_per_number) == (0, float("inf"))


def test_finished_trials_cost_nothing(store: Store) -> None:
    trials = [toy_trial(seed, method="random") for seed in range(2)]
    finish(store, trials[0])
    (value,) = rank_by_value(plan_of(store, *trials), {})
    assert value.trials == 1
