"""Counted costs agree with what the released programs cost, counted by hand from their loops."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UsageError
from benchmark.planning.workload import (
    Workload,
    add_step_cost,
    count_evaluations,
    estimate_workload,
    sum_workloads,
)
from benchmark.spec.data import Validation
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Component, Cost, GameCost, MethodCost
from tests.helpers.runs import protocol

PLAIN, COD = MethodCost(scoring=2), MethodCost(scoring=2, unlabelled=True, teacher=True)
CIFAR = protocol()
SVHN = protocol(
    data__train_size=73_257,
    data__test_size=26_032,
    acquisition__initial=7_324,
    acquisition__candidates=29_302,
    acquisition__budget=3_662,
)
CALTECH101 = protocol(
    data__train_size=7_766,
    data__test_size=911,
    acquisition__initial=868,
    acquisition__candidates=4_340,
    acquisition__budget=434,
    training__epochs=50,
    training__batch_size=64,
)


@pytest.mark.parametrize(
    ("suite", "steps", "labelled", "unlabelled", "teacher", "useful", "plain", "cod"),
    [
        (CIFAR, 137_600, 17_500_000, 17_612_800, 35_112_800, 300_000, 52_500_000, 140_451_200),
        (SVHN, 201_000, 25_634_000, 25_728_000, 51_362_000, 351_624, 76_902_000, 205_448_000),
        (CALTECH101, 12_050, 759_500, 771_200, 1_530_700, 52_080, 2_278_500, 6_122_800),
    ],
    ids=["cifar10", "svhn", "caltech101"],
)
def test_tod(
    suite: Protocol,
    steps: int,
    labelled: int,
    unlabelled: int,
    teacher: int,
    useful: int,
    plain: int,
    cod: int,
) -> None:
    task = sum_workloads(estimate_workload(suite, PLAIN))
    both = sum_workloads(estimate_workload(suite, COD))
    assert task.steps == both.steps == steps
    assert task.labelled == both.labelled == labelled
    assert (task.unlabelled, both.unlabelled) == (0, unlabelled)
    assert (task.teacher, both.teacher) == (0, teacher)
    # The last of the release's seven acquisitions is used by nothing and is not done; the test set
    # is read once a cycle.
    assert task.acquisition == both.acquisition == useful
    assert task.test == 7 * suite.data.test_size
    assert task.forward_equivalents - task.test - task.acquisition == plain
    assert both.forward_equivalents - both.test - both.acquisition == cod


@pytest.mark.parametrize(
    ("suite", "test", "acquisition", "macs", "peta"),
    [
        (CIFAR, 840_000, 350_000, 555_432_960, [29.8, 78.7]),
        (SVHN, 2_186_688, 410_228, 555_432_960, [44.2, 115.6]),
        (CALTECH101, 25_508, 60_668, 1.8137e9, [4.3, 11.3]),
    ],
    ids=["cifar10", "svhn", "caltech101"],
)
def test_tod_totals_with_the_evaluations_of_the_release(
    suite: Protocol, test: int, acquisition: int, macs: float, peta: list[float]
) -> None:
    released = {"test": test, "acquisition": acquisition}
    amounts = [
        sum_workloads(estimate_workload(suite, method))
        .model_copy(update=released)
        .forward_equivalents
        for method in (PLAIN, COD)
    ]
    assert [round(amount * macs / 1e15, 1) for amount in amounts] == peta


@pytest.mark.parametrize(
    ("suite", "steps"),
    [
        (CIFAR, [8_000, 11_800, 15_800, 19_600, 23_600, 27_400, 31_400]),
        (SVHN, [11_600, 17_200, 23_000, 28_800, 34_400, 40_200, 45_800]),
        (CALTECH101, [700, 1_050, 1_400, 1_700, 2_050, 2_400, 2_750]),
    ],
    ids=["cifar10", "svhn", "caltech101"],
)
def test_steps_of_each_cycle(suite: Protocol, steps: list[int]) -> None:
    assert [part.steps for part in estimate_workload(suite, PLAIN)] == steps


def test_learning_loss_scores_with_one_network() -> None:
    assert sum_workloads(estimate_workload(CIFAR, MethodCost(scoring=1))).acquisition == 150_000


@pytest.mark.parametrize(
    ("cycle_labels", "candidates", "pool", "passes", "steps", "scored"),
    [
        ((1_000, 1_000), 10_000, 50_000, 3_000_000, 24_000, 200_000),
        ((2_000, 2_000), 20_000, 50_000, 6_000_000, 47_400, 400_000),
        ((1_000, 1_000), 10_000, 12_406, 3_000_000, 24_000, 189_060),
        ((2_000, 2_000), 20_000, 25_250, 6_000_000, 47_400, 382_500),
    ],
    ids=["cifar10", "cifar100", "cifar10imlong", "cifar100im"],
)
def test_st_conal(
    cycle_labels: tuple[int, int], candidates: int, pool: int, passes: int, steps: int, scored: int
) -> None:
    suite = protocol(
        data__train_size=pool,
        acquisition__cycles=5,
        acquisition__initial=cycle_labels[0],
        acquisition__budget=cycle_labels[1],
        acquisition__candidates=candidates,
    )
    cost = sum_workloads(estimate_workload(suite, MethodCost(scoring=5)))
    assert (cost.labelled, cost.steps, cost.acquisition) == (passes, steps, scored)


TRAJECTORY = {"start": 160, "every": 10}


@pytest.mark.parametrize(
    ("start", "candidates", "refreshed", "test", "released", "peta"),
    [
        (1_000, 10_000, 75_000, 100_000, 320_000, 11.1),
        (2_000, 20_000, 150_000, 100_000, 640_000, 21.5),
    ],
    ids=["cifar10", "cifar100"],
)
def test_st_conal_averages(
    start: int, candidates: int, refreshed: int, test: int, released: int, peta: float
) -> None:
    suite = protocol(
        acquisition__cycles=5,
        acquisition__initial=start,
        acquisition__budget=start,
        acquisition__candidates=candidates,
        training__trajectory=TRAJECTORY,
    )
    cost = sum_workloads(estimate_workload(suite, MethodCost(scoring=5)))
    assert (cost.refresh, cost.test) == (refreshed, test)
    # The release evaluates 12 times a cycle and runs the teacher anew for each of four students.
    as_released = cost.model_copy(update={"test": 600_000, "acquisition": released})
    assert round(as_released.forward_equivalents * 1.1108e9 / 1e15, 1) == peta


def test_refreshed_students_double_the_refresh() -> None:
    suite = protocol(training__trajectory=TRAJECTORY | {"student_bn": "refreshed"})
    assert sum_workloads(estimate_workload(suite, PLAIN)).refresh == 10 * 87_500


def test_bal_and_pt4al_main_trainings() -> None:
    best = {"epoch": "best", "every": 1, "batch_size": 1}
    small = protocol(
        acquisition__initial=1_000,
        acquisition__budget=1_000,
        acquisition__cycles=5,
        acquisition__candidates=10_000,
        training__epochs=100,
        evaluation=best,
    )
    cost = sum_workloads(estimate_workload(small, MethodCost(scoring=1)))
    assert (cost.labelled, cost.test, cost.acquisition) == (1_500_000, 5_000_000, 40_000)
    pt4al = protocol(
        acquisition__initial=1_000,
        acquisition__budget=1_000,
        acquisition__cycles=10,
        acquisition__candidates=5_000,
        evaluation=best,
    )
    cost = sum_workloads(estimate_workload(pt4al, MethodCost(scoring=1)))
    assert (cost.labelled, cost.test, cost.acquisition) == (11_000_000, 20_000_000, 45_000)


@pytest.mark.parametrize(
    ("every", "expected"), [(None, 1), (1, 200), (20, 10), (150, 2), (200, 1), (300, 1)]
)
def test_evaluations(every: int | None, expected: int) -> None:
    assert (
        count_evaluations(protocol(evaluation={"epoch": "last", "every": every, "batch_size": 1}))
        == expected
    )


def test_validation_images_are_evaluated_once_in_a_cycle() -> None:
    changes = {
        "evaluation": {"epoch": "last", "every": 100, "batch_size": 1},
        "models": [{"name": "a"}, {"name": "b"}],
    }
    plain, drawn = protocol(**changes), {"size": 500, "rule": "uniform", "seed": 0}
    data = plain.data.model_copy(update={"validation": Validation.model_validate(drawn)})
    assert [
        part.test - before.test
        for part, before in zip(
            estimate_workload(plain.model_copy(update={"data": data}), MethodCost()),
            estimate_workload(plain, MethodCost()),
            strict=True,
        )
    ] == [2 * 500] * plain.acquisition.cycles


def test_dropped_batches_models_and_labelled_scoring() -> None:
    suite = protocol(
        training__drop_last=True,
        training__epochs=1,
        models=[{"name": "a"}, {"name": "b"}],
        acquisition__cycles=2,
        acquisition__candidates=None,
    )
    first, last = estimate_workload(suite, MethodCost(scoring=1, scores_labelled=True))
    assert first == Workload(steps=78, labelled=2 * 39 * 128, test=20_000, acquisition=50_000)
    assert (last.labelled, last.acquisition) == (2 * 58 * 128, 0)


def test_unlabelled_batches_are_no_larger_than_what_is_left() -> None:
    suite = protocol(
        data__train_size=300,
        acquisition__initial=200,
        acquisition__budget=60,
        acquisition__cycles=2,
        acquisition__candidates=None,
        training__epochs=1,
    )
    assert [part.unlabelled for part in estimate_workload(suite, COD)] == [2 * 100, 3 * 40]


def test_training_has_a_price_of_its_own_where_layers_are_frozen() -> None:
    suite = protocol(training__trajectory=TRAJECTORY)
    parts = estimate_workload(suite, COD, Cost(forward_macs=100, trained_macs=142))
    plain = estimate_workload(suite, COD, Cost(forward_macs=100))
    for part, whole in zip(parts, plain, strict=True):
        assert (
            part.macs == whole.macs - (300 - 142) * (part.labelled + part.unlabelled)
            and part.refresh > 0
        )


@pytest.mark.parametrize(
    ("start", "steps", "peta"), [(1_000, 489_200, 278.2), (2_000, 458_000, 260.5)]
)
def test_epochs_over_the_unlabelled_pool(start: int, steps: int, peta: float) -> None:
    """32 labelled and 96 unlabelled images a step, 200 passes over what is not labelled, in full
    batches."""
    suite = protocol(acquisition__cycles=5, acquisition__initial=start, acquisition__budget=start)
    cost = sum_workloads(estimate_workload(suite, MethodCost(mixed=(32, 96), teacher=True)))
    assert cost.steps == sum(200 * ((50_000 - k * start) // 96) for k in range(1, 6)) == steps
    assert (cost.labelled, cost.unlabelled, cost.teacher) == (32 * steps, 96 * steps, 128 * steps)
    assert round((cost.forward_equivalents - cost.test) * 1.1108e9 / 1e15, 1) == peta


def test_the_second_pass_of_labelled_images_is_a_forward_pass_more() -> None:
    once = MethodCost(mixed=(32, 96), teacher=True)
    twice = once.model_copy(update={"second_pass": True})
    plain, both = (
        sum_workloads(estimate_workload(CIFAR, cost, Cost(forward_macs=7)))
        for cost in (once, twice)
    )
    assert (plain.repeated, both.repeated) == (0, plain.labelled)
    assert both.forward_equivalents - plain.forward_equivalents == plain.labelled
    assert both.macs - plain.macs == 7 * plain.labelled


def test_the_game_of_vaal_is_counted_as_its_release_plays_it() -> None:
    suite = protocol(
        acquisition__cycles=5,
        acquisition__initial=1_000,
        acquisition__budget=1_000,
        acquisition__candidates=10_000,
    )
    game = GameCost(forward_macs=5, encoder_macs=2, steps=2, batch_size=128, passes=100)
    parts = estimate_workload(suite, MethodCost(game=game), Cost(forward_macs=1))
    # Sequential-GCN's train_vaal: floor((1,000 (c + 1) + 10,000) * 100 / 128) iterations after
    # cycle c from 0.
    iterations = [8_593, 9_375, 10_156, 10_937]
    assert [part.game for part in parts] == [count * 2 * 2 * 128 for count in iterations] + [0]
    assert [part.coded for part in parts] == [count * 2 * 128 + 10_000 for count in iterations] + [
        0
    ]
    plain = estimate_workload(suite, MethodCost(), Cost(forward_macs=1))
    for part, without in zip(parts, plain, strict=True):
        assert part.macs - without.macs == 3 * 5 * part.game + 2 * part.coded
        assert part.forward_equivalents == without.forward_equivalents


def test_a_fixed_number_of_iterations_replaces_the_rounds() -> None:
    game = GameCost(forward_macs=5, encoder_macs=2, steps=1, batch_size=8, passes=100, iterations=3)
    first, *_ = estimate_workload(CIFAR, MethodCost(game=game))
    assert (first.game, first.coded) == (3 * 16, 3 * 16 + CIFAR.acquisition.candidates)


SUITES = Path(__file__).parents[2] / "suites"


def test_suites_pin_what_their_objectives_declare() -> None:
    """So that a plan's numbers are the suites' own for shipped methods."""
    adding = set()
    for path in suite_files(SUITES):
        suite = load_suite(path, SUITES)
        touching = (
            name
            for name, variant in suite.suite.variants.items()
            if "objective" in str(variant.set)
        )
        for variant in ("as_published", *touching):
            for name, method in suite.resolve("paper", variant).methods.items():
                told = add_step_cost(method.cost, method.objective)
                assert told == method.cost, (suite.id, variant, name)
                if add_step_cost(MethodCost(), method.objective) != MethodCost():
                    adding.add(method.objective.name)
    assert adding == {"cod", "mean_teacher"}


def test_what_a_step_adds_is_read_from_any_file_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from typing import ClassVar\n"
        "from benchmark import Objective\n"
        "from benchmark.al.objectives.cod import Cod\n"
        "raise SystemExit('a plan runs no file')\n"
        "class Mixed(Objective):\n"
        "    known: int = 3\n"
        "    other: int = 5\n"
        "    step_cost: ClassVar = {'mixed': ('known', 'other'), 'second_pass': True}\n"
        "class Heir(Cod):\n"
        "    pass\n"
        "class Wrong(Objective):\n"
        "    step_cost = {'teachers': True}\n"
        "class Computed(Objective):\n"
        "    step_cost = dict(teacher=True)\n"
    )
    own = MethodCost(scoring=1)
    plain = Component(name=f"{file}:Mixed", params={"known": 3, "other": 5})
    assert add_step_cost(own, plain) == MethodCost(scoring=1, mixed=(3, 5), second_pass=True)
    heir = add_step_cost(own, Component(name=f"{file}:Heir"))
    assert heir == MethodCost(scoring=1, unlabelled=True, teacher=True)
    with pytest.raises(UsageError, match=r"Wrong: step_cost is .*teachers"):
        add_step_cost(own, Component(name=f"{file}:Wrong"))
    with pytest.raises(UsageError, match="cannot be read without running it"):
        add_step_cost(own, Component(name=f"{file}:Computed"))
