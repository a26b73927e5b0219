"""Suites whose reference is their own committed records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import Exit
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict, VerdictKind
from tests.helpers import toy_suite as toy


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFile:
    return toy.suite(tmp_path, [], rule='reference = "records"')


def verdicts(judgement: SuiteVerdict) -> set[str]:
    return {str(number.verdict) for number in judgement.numbers}


def moved(rows: list[Measurement], by: float, **changes: str) -> list[Measurement]:
    """The same trials elsewhere, with another outcome."""
    shifted = [{"accuracy": row.metrics["accuracy"] + by + 0.05 * (-1) ** row.seed} for row in rows]
    return [
        replace(row, metrics=metrics, record_digest="x" + row.record_digest, **changes)
        for row, metrics in zip(rows, shifted, strict=True)
    ]


def test_equal_bits_are_reproduced_even_by_one_trial(suite: SuiteFile) -> None:
    rows = toy.trials()
    found = judge_suite(suite, [row for row in rows if row.seed == 0], references=rows)
    assert verdicts(found) == {"reproduced(bitwise equal)"}
    assert found.exit_code is Exit.OK


@pytest.mark.parametrize(
    ("by", "kind"),
    [(0.0, VerdictKind.REPRODUCED), (2.0, VerdictKind.ABOVE), (-2.0, VerdictKind.BELOW)],
)
def test_elsewhere_pairs_by_seed_decide(suite: SuiteFile, by: float, kind: VerdictKind) -> None:
    # Seeds spread by far more than the margin: only pairs can see a difference of two points.
    rows = toy.trials(noise=15.0)
    found = judge_suite(suite, moved(rows, by, env_id="env-b"), references=rows)
    assert {number.verdict.kind for number in found.numbers} == {kind}
    assert found.numbers[0].estimate is not None
    assert found.numbers[0].estimate.correlation == pytest.approx(1.0, abs=1e-3)


def test_lost_bits_in_the_same_environment_are_said(suite: SuiteFile) -> None:
    rows = toy.trials()
    found = judge_suite(suite, moved(rows, 0.0), references=rows)
    assert {number.verdict.kind for number in found.numbers} == {VerdictKind.REPRODUCED}
    assert all(
        "5 trials differ although the environment is the same" in number.notes
        for number in found.numbers
    )


def test_other_devices_need_leave_unless_the_bits_are_equal(suite: SuiteFile) -> None:
    rows = toy.trials()
    same = [replace(row, device_model="cpu-b", env_id="env-b") for row in rows]
    assert verdicts(judge_suite(suite, same, references=rows)) == {"reproduced(bitwise equal)"}
    other = judge_suite(
        suite, moved(rows, 0.0, device_model="cpu-b", env_id="env-b"), references=rows
    )
    assert verdicts(other) == {"not_comparable(trials ran on different devices: cpu-a, cpu-b)"}
    assert other.exit_code is Exit.NOT_MEASURED


def test_profiles_are_compared_with_their_own_records(suite: SuiteFile) -> None:
    smoke = toy.trials(seeds=range(3), profile="smoke")
    found = judge_suite(
        suite, moved(smoke, -3.0), profile="smoke", references=[*toy.trials(), *smoke]
    )
    assert {number.verdict.kind for number in found.numbers} == {VerdictKind.BELOW}
    assert found.exit_code is Exit.DISCREPANCY


def test_nothing_committed(suite: SuiteFile) -> None:
    found = judge_suite(suite, toy.trials())
    assert verdicts(found) == {"not_comparable(no committed records)"}
    assert found.exit_code is Exit.OK, (
        "a suite of which nothing was ever committed was measured, and that is all"
    )
    others = judge_suite(suite, toy.trials(), references=toy.trials(profile="smoke"))
    assert verdicts(others) == {"not_comparable(no committed records)"}
    assert others.exit_code is Exit.NOT_MEASURED
    smoke = judge_suite(
        suite, toy.trials(profile="smoke"), profile="smoke", references=toy.trials()
    )
    assert verdicts(smoke) == {"not_comparable(no committed records)"}
    assert smoke.exit_code is Exit.OK, (
        "a smoke run that was never committed was not asked to match anything"
    )


def test_gaps_on_our_side(suite: SuiteFile) -> None:
    rows = toy.trials()
    assert verdicts(judge_suite(suite, toy.trials(seeds=[7, 8, 9]), references=rows)) == {
        "not_comparable(no seed in common with the committed records)"
    }
    found = judge_suite(
        suite, [row for row in rows if row.method == "random" and row.cycle == 0], references=rows
    )
    assert {str(number.verdict) for number in found.numbers if number.method == "random"} == {
        "reproduced(bitwise equal)",
        "missing(no trial got this far)",
    }
    assert found.exit_code is Exit.NOT_MEASURED


def test_published_numbers_stand_beside(tmp_path: Path) -> None:
    suite = toy.suite(
        tmp_path, toy.reported({"random": (10.0, 20.0, 30.0)}), rule='reference = "records"'
    )
    rows = toy.trials()
    found = judge_suite(suite, rows, references=rows)
    assert {number.role for number in found.numbers if not number.decides} == {"target"}
    assert found.exit_code is Exit.OK


def test_of_several_processors_the_one_with_our_bits_is_the_reference(suite: SuiteFile) -> None:
    """Three trials on another processor, committed beside five on the first: ours are theirs."""
    rows = toy.trials()
    others = moved(rows, -3.0, device_model="cpu-b", env_id="env-b")
    few = [row for row in others if row.seed < 3]
    found = judge_suite(suite, few, references=[*rows, *few])
    assert verdicts(found) == {"reproduced(bitwise equal)"}
    again = judge_suite(suite, rows, references=[*rows, *few])
    assert verdicts(again) == {"reproduced(bitwise equal)"}


def test_without_our_bits_our_own_environment_is_the_reference(suite: SuiteFile) -> None:
    rows = toy.trials()
    others = moved(rows, -3.0, device_model="cpu-b", env_id="env-b")
    changed = moved(others, 2.0)
    found = judge_suite(suite, changed, references=[*rows, *others])
    assert {number.verdict.kind for number in found.numbers} == {VerdictKind.ABOVE}
    assert all(
        "5 trials differ although the environment is the same" in number.notes
        for number in found.numbers
    )


def test_on_an_unknown_processor_one_reference_serves_all_trials(suite: SuiteFile) -> None:
    """The device that answered most, so that a comparison does not mix two of them."""
    rows = toy.trials()
    others = moved(rows, -3.0, device_model="cpu-b", env_id="env-b")
    few = [row for row in others if row.seed < 3]
    unknown = moved(moved(rows, 0.0), 0.0, env_id="env-c")
    found = judge_suite(suite, unknown, references=[*few, *rows])
    assert {number.verdict.kind for number in found.numbers} == {VerdictKind.REPRODUCED}
