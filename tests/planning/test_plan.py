"""Plans: states, obstacles, predicted time; a plan is a value that survives being written down."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmark.planning.plan import DataStatus, Plan, data_key, make_plan, measure_speeds, speed_key
from benchmark.runs.store import Store
from benchmark.spec.identity import trial_id
from benchmark.spec.selectors import SelectedTrial
from benchmark.spec.suite import Cost, MethodCost, Trial
from tests.helpers.runs import ENVIRONMENT, fail, finish, interrupt, toy_record, toy_trial

GOOD = DataStatus(name="digits", present=True, digest="d" * 64, canonical=True, note="")
ABSENT = DataStatus(
    name="digits", present=False, digest=None, canonical=False, note="digits: no file under data/"
)
ALTERED = DataStatus(
    name="digits", present=True, digest="d" * 64, canonical=False, note="one image is missing"
)


def ask(*trials: Trial, scoring: int = 1) -> list[SelectedTrial]:
    return [
        SelectedTrial(
            trial.model_copy(update={"data_digest": None}),
            MethodCost(scoring=scoring),
            Cost(forward_macs=1_000),
        )
        for trial in trials
    ]


def plan_of(store: Store, *trials: Trial, data: DataStatus = GOOD, **options: object) -> Plan:
    statuses = {data_key(toy_trial().protocol.data): data}
    return make_plan(
        ask(*trials),
        ENVIRONMENT,
        data=statuses,
        status=partial(store.status, env=ENVIRONMENT),
        **options,
    )  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def mixed(store: Store) -> Store:
    finish(store, toy_trial(0))
    interrupt(store, toy_trial(1), cycles=2)
    fail(store, toy_trial(2))
    return store


SEEDS = tuple(toy_trial(seed) for seed in range(4))


def test_states(mixed: Store) -> None:
    plan = plan_of(mixed, *SEEDS)
    assert [planned.state for planned in plan.trials] == ["finished", "resumable", "new", "new"]
    assert [planned.cycles_done for planned in plan.trials] == [3, 2, 0, 0]
    assert "boom" in plan.trials[2].note
    assert [planned.trial.seed for planned in plan.todo] == [1, 2, 3]
    assert [planned.trial.data_digest for planned in plan.trials] == ["d" * 64] * 4
    assert [planned.trial_id for planned in plan.trials] == [trial_id(trial) for trial in SEEDS]
    assert (plan.count("new"), plan.count("finished"), plan.has_nothing_to_run) == (2, 1, False)


def test_remaining_work(mixed: Store) -> None:
    finished, resumable, new, _ = plan_of(mixed, *SEEDS).trials
    assert finished.remaining.forward_equivalents == 0
    assert resumable.remaining == resumable.work[2]
    assert new.remaining == new.total
    assert new.macs == new.total.forward_equivalents * 1_000


def test_fresh_does_everything_again(mixed: Store) -> None:
    plan = plan_of(mixed, *SEEDS, fresh=True)
    assert [planned.state for planned in plan.trials] == ["new"] * 4
    assert [planned.cycles_done for planned in plan.trials] == [0] * 4
    assert plan.fresh


def test_absent_data_block(store: Store) -> None:
    plan = plan_of(store, *SEEDS, data=ABSENT)
    assert {planned.state for planned in plan.trials} == {"blocked"}
    assert plan.trials[0].note == ABSENT.note
    assert plan.has_nothing_to_run
    assert plan.todo == ()


def test_other_data_need_permission_and_are_said(mixed: Store) -> None:
    plan = plan_of(mixed, *SEEDS, data=ALTERED)
    assert [planned.state for planned in plan.trials] == [
        "finished",
        "blocked",
        "blocked",
        "blocked",
    ]
    assert "--allow-noncanonical-data" in plan.trials[1].note
    allowed = plan_of(mixed, *SEEDS, data=ALTERED, allow_noncanonical=True)
    assert [planned.state for planned in allowed.trials] == ["finished", "resumable", "new", "new"]
    assert all("NOT CANONICAL: one image is missing" in planned.note for planned in allowed.trials)
    assert "one image is missing" in plan.trials[0].note


def test_obstacles_block(store: Store) -> None:
    plan = plan_of(
        store, *SEEDS[:2], obstacle=lambda trial: "no such strategy" if trial.seed else ""
    )
    assert [(planned.state, planned.note) for planned in plan.trials] == [
        ("new", ""),
        ("blocked", "no such strategy"),
    ]
    assert not plan.has_nothing_to_run


def test_empty_plan_is_void(store: Store) -> None:
    assert plan_of(store).has_nothing_to_run


def test_finished_plan_is_not_void(mixed: Store) -> None:
    plan = plan_of(mixed, SEEDS[0])
    assert not plan.has_nothing_to_run
    assert plan.todo == ()


def test_one_question_with_two_names_is_executed_once(store: Store) -> None:
    alias = SEEDS[0].model_copy(update={"method_name": "chance"})
    plan = plan_of(store, SEEDS[0], alias)
    assert len(plan.trials) == 2
    assert len(plan.todo) == 1


def test_a_plan_survives_the_trip(mixed: Store) -> None:
    plan = plan_of(mixed, *SEEDS, speeds={speed_key(SEEDS[0]): 0.1})
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert again.digest == plan.digest
    assert plan_of(mixed, *SEEDS).digest != plan.digest
    assert plan_of(mixed, *SEEDS, fresh=True).digest != plan.digest


def test_predicted_seconds_follow_finished_trials(mixed: Store) -> None:
    records = [
        toy_record(toy_trial(seed), seconds=seconds)
        for seed, seconds in enumerate([10.0, 20.0, 90.0])
    ]
    rates = measure_speeds(records, {("toy/one", "random"): MethodCost(scoring=1)})
    plan = plan_of(mixed, *SEEDS, speeds=rates)
    finished, resumable, new, _ = (planned.seconds for planned in plan.trials)
    assert finished == 0
    assert new == pytest.approx(20.0)
    assert resumable is not None
    assert 0 < resumable < 20
    assert plan_of(mixed, *SEEDS).trials[3].seconds is None


def test_speeds_are_not_carried_to_other_networks_or_images() -> None:
    keys = {
        speed_key(trial)
        for trial in (
            toy_trial(),
            toy_trial(models=[{"name": "other"}]),
            toy_trial(models=[{"name": "toy", "size": 64}]),
            toy_trial(views={"train": [{"op": "to_rgb"}], "test": [], "pool": "test"}),
            toy_trial(data__name="svhn"),
        )
    }
    assert len(keys) == 5
    assert speed_key(toy_trial()) == speed_key(
        toy_trial(seed=3, training__epochs=5, acquisition__cycles=2)
    )
    assert measure_speeds([toy_record(toy_trial())], {}) == {}
