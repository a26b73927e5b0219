"""Runs against committed records: which trial changed, where first, and what a CI should do about
it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import Exit
from benchmark.runs.events import CycleResult, DataUsed, Environment, Record
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.determinism import Divergence, Level, close, find_divergence, shared_level
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.regression import Regression, RegressionState, regress
from tests.helpers import toy_suite as toy


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return toy.suite(tmp_path)


def states(found: Regression) -> set[RegressionState]:
    return {trial.state for trial in found.trials}


def changed(row: Measurement, by: float = 0.0, digest: str = "x", **fields: str) -> Measurement:
    return replace(
        row, metrics={"accuracy": row.metrics["accuracy"] + by}, record_digest=digest, **fields
    )


def test_unchanged(suite: SuiteFile) -> None:
    rows = toy.trials()
    found = regress(suite, rows, rows)
    assert states(found) == {RegressionState.EQUAL}
    assert len(found.trials) == 15
    assert found.exit_code is Exit.OK
    assert (
        regress(suite, [row for row in rows if row.seed == 1], rows, seeds=[1]).exit_code is Exit.OK
    )


def test_a_changed_bit_in_the_same_environment_names_where(suite: SuiteFile) -> None:
    rows = toy.trials()
    mine = [
        changed(row, 1e-9 if row.cycle > 0 else 0.0)
        if (row.method, row.seed) == ("margin", 2)
        else row
        for row in rows
    ]
    found = regress(suite, mine, rows)
    (lost,) = (trial for trial in found.trials if trial.state is RegressionState.LOST)
    assert (lost.method, lost.seed) == ("margin", 2)
    assert lost.divergence is not None
    assert (lost.divergence.cycle, lost.divergence.field) == (1, "metrics.accuracy")
    assert found.exit_code is Exit.DISCREPANCY
    hidden = [changed(row) if (row.method, row.seed) == ("margin", 2) else row for row in rows]
    (lost,) = (
        trial
        for trial in regress(suite, hidden, rows).trials
        if trial.state is RegressionState.LOST
    )
    assert lost.divergence is not None
    assert lost.divergence.field == "a value outside the table"


def test_another_environment_is_judged_by_the_rule(suite: SuiteFile) -> None:
    rows = toy.trials(noise=5.0)
    near = [changed(row, 0.05 * (-1) ** row.seed, env_id="env-b") for row in rows]
    found = regress(suite, near, rows)
    assert states(found) == {RegressionState.ELSEWHERE}
    assert {str(number.verdict) for number in found.numbers} == {"reproduced"}
    assert found.exit_code is Exit.OK
    far = [changed(row, 3 + 0.05 * (-1) ** row.seed, env_id="env-b") for row in rows]
    assert regress(suite, far, rows).exit_code is Exit.DISCREPANCY
    one = [row for row in near if row.seed == 0]
    assert regress(suite, one, rows, seeds=[0]).exit_code is Exit.INCONCLUSIVE


def test_close_metrics_elsewhere_need_no_statistics(suite: SuiteFile) -> None:
    rows = toy.trials(seeds=[0])
    found = regress(suite, [changed(row, 1e-8, env_id="env-b") for row in rows], rows)
    assert (states(found), found.numbers, found.exit_code) == (
        {RegressionState.SELECTION},
        (),
        Exit.OK,
    )


def test_equal_metrics_after_other_picks_are_not_the_same_selection(suite: SuiteFile) -> None:
    rows = [
        replace(row, labelled_digest=f"{row.seed}/{row.cycle}") for row in toy.trials(seeds=[0])
    ]
    mine = [
        replace(
            changed(row, env_id="env-b"),
            labelled_digest="other" if row.cycle == 2 else row.labelled_digest,
        )
        for row in rows
    ]
    found = regress(suite, mine, rows)
    assert states(found) == {RegressionState.ELSEWHERE}
    assert {trial.divergence for trial in found.trials} == {
        Divergence(2, "labelled_digest", "other", "0/2")
    }


def test_ours_is_held_against_its_own_environment(suite: SuiteFile) -> None:
    a, b = toy.trials(), toy.trials(env="env-b", rng=1)
    more = b + toy.trials(env="env-c", device="gpu", rng=2)
    found = regress(suite, a, [*more, *a])
    assert states(found) == {RegressionState.EQUAL}


def test_missing_and_new_trials(suite: SuiteFile) -> None:
    rows = toy.trials()
    found = regress(suite, [row for row in rows if row.seed > 0], rows)
    assert states(found) == {RegressionState.EQUAL, RegressionState.MISSING}
    assert found.exit_code is Exit.NOT_MEASURED
    assert regress(suite, rows, [row for row in rows if row.seed > 0]).exit_code is Exit.OK
    assert regress(suite, rows, []).exit_code is Exit.NOT_MEASURED
    assert regress(suite, [], []).exit_code is Exit.NOT_MEASURED


def result(cycle: int, accuracy: float, **fields: object) -> CycleResult:
    base = CycleResult(
        cycle=cycle,
        labelled=100 + cycle,
        metrics={"accuracy": accuracy},
        per_class=(1.0,),
        training="t",
        weights="w",
        labelled_digest="l",
        picks_digest="p",
    )
    return base.model_copy(update=fields)


def record(tmp_path: Path, *cycles: CycleResult) -> Record:
    environment = Environment(
        code="c",
        python="3",
        torch="2",
        device="cpu",
        device_model="a cpu",
        isa="avx2",
        driver="",
        threads=1,
        precision="fp32",
        memory_format="contiguous",
        compiled=False,
        deterministic=True,
        image="",
    )
    return Record(
        trial_id="t",
        env_id=environment.env_id,
        trial=toy.suite(tmp_path).trials(methods=["margin"], seeds=[0])[0],
        environment=environment,
        data=DataUsed(name="digits", digest="d", canonical=True, note=""),
        cycles=cycles,
        seconds=1.0,
        finished=0.0,
    )


@pytest.mark.parametrize(
    ("second", "reached", "parted"),
    [
        (result(1, 80.0), Level.BITWISE, None),
        (result(1, 80.0, weights="v"), Level.SELECTION, Divergence(1, "weights", "v", "w")),
        (
            result(1, 80.00001),
            Level.SELECTION,
            Divergence(1, "metrics.accuracy", "80.00001", "80.0"),
        ),
        (result(1, 80.0, picks_digest="q"), Level.METRIC, Divergence(1, "picks_digest", "q", "p")),
        (result(1, 80.4), Level.METRIC, Divergence(1, "metrics.accuracy", "80.4", "80.0")),
        (
            result(1, 81.0, labelled_digest="k"),
            Level.STATISTICAL,
            Divergence(1, "labelled_digest", "k", "l"),
        ),
        (
            result(1, 80.0, diagnostics={"a": 1.0}),
            Level.SELECTION,
            Divergence(1, "diagnostics.a", "1.0", "None"),
        ),
    ],
)
def test_levels_and_where_records_part(
    tmp_path: Path, second: CycleResult, reached: Level, parted: Divergence | None
) -> None:
    ours = record(tmp_path, result(0, 70.0), second)
    theirs = record(tmp_path, result(0, 70.0), result(1, 80.0))
    assert shared_level(ours, theirs, tolerance=0.5) is reached
    assert find_divergence(ours, theirs) == parted


def test_records_of_different_length(tmp_path: Path) -> None:
    ours = record(tmp_path, result(0, 70.0))
    theirs = record(tmp_path, result(0, 70.0), result(1, 80.0))
    assert shared_level(ours, theirs, tolerance=0.5) is Level.STATISTICAL
    assert find_divergence(ours, theirs) == Divergence(1, "cycles", "1", "2")


def test_closeness_is_relative_above_one() -> None:
    assert close(80.0, 80.00005)
    assert not close(80.0, 80.001)
    assert close(0.0, 1e-7)
    assert not close(0.0, 1e-5)
