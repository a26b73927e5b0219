"""Verification names what differs, and kills for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.api.verify import VerificationResult, shorten, verify_trials
from benchmark.errors import ExecutorError
from benchmark.executors.jobs import Job
from benchmark.verdicts.determinism import Level
from tests.executors import fake_worker as fake
from tests.helpers.runs import ENVIRONMENT, toy_trial

WORKER = "tests.executors.fake_worker"


def run(tmp_path: Path, seed: int) -> VerificationResult:
    (tmp_path / "cache" / "trainings").mkdir(parents=True)
    (tmp_path / "cache" / "digits").mkdir()
    template = Job(
        f"toy/one/random@{seed}", "", Path(), tmp_path, tmp_path / "cache", "cpu", "fp32", 1
    )
    return verify_trials(
        toy_trial(seed), ENVIRONMENT, template, tmp_path / "work", tolerance=1.0, worker=WORKER
    )


def test_equal_runs_are_bitwise_across_a_kill(tmp_path: Path) -> None:
    found = run(tmp_path, fake.STEADY)
    assert found.killed
    assert found.level is Level.BITWISE
    assert (found.repeated_at, found.resumed_at) == (None, None)
    assert (tmp_path / "work" / "first" / "cache" / "digits").exists()
    assert not (tmp_path / "work" / "first" / "cache" / "trainings").exists(), (
        "no run takes over another's training"
    )


def test_differences_are_named(tmp_path: Path) -> None:
    found = run(tmp_path, fake.WOBBLY)
    assert found.level in (Level.METRIC, Level.STATISTICAL)
    assert found.repeated_at is not None
    assert found.repeated_at.cycle == 0
    assert "accuracy" in found.repeated_at.field


def test_a_run_that_fails_is_not_a_result(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="something broke"):
        run(tmp_path, fake.FAILS)


@pytest.mark.parametrize(
    ("budget", "cycles", "expected"),
    [(2500, 2, (2500,)), ((1, 2), 2, (1,)), ((1, 2), 9, (1, 2)), ((1, 2), 1, ())],
)
def test_shortened_trials_ask_the_same_up_to_there(
    budget: int | tuple[int, ...], cycles: int, expected: tuple[int, ...]
) -> None:
    trial = toy_trial(acquisition__budget=budget)
    short = shorten(trial, cycles)
    type(trial).model_validate_json(short.model_dump_json())
    assert short.protocol.acquisition.budgets() == expected
    assert (
        short.protocol.acquisition.labelled()
        == trial.protocol.acquisition.labelled()[: len(expected) + 1]
    )
    assert short.protocol.training == trial.protocol.training
