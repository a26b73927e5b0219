"""One answer on one CPU: with one job or two, alone or among others, with one thread or two."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cli import invoke
from benchmark.runs.events import Record
from benchmark.runs.store import Store
from benchmark.verdicts.determinism import Level, shared_level

METHODS = ("random", "tod", "tod+cod")


def run(root: Path, name: str, methods: tuple[str, ...], *options: str) -> dict[str, Record]:
    """Records by method of a run with a store and a cache of its own."""
    place = root / name
    selection = ["quickstart/digits", "--profile", "smoke", "--methods", ",".join(methods)]
    places = ["--runs", str(place), "--data", str(root / "data")]
    assert invoke(
        [
            "run",
            *selection,
            *places,
            "--no-tracking",
            "--device",
            "cpu",
            "--progress",
            "none",
            *options,
        ]
    ) in (
        0,
        4,
    )
    return {record.trial.method_name: record for record in Store(place).records()}


@pytest.mark.slow
def test_jobs_companions_and_threads(tmp_path: Path) -> None:
    together = run(tmp_path, "together", METHODS, "--jobs", "2")
    assert set(together) == set(METHODS)
    one_by_one = run(tmp_path, "one by one", METHODS, "--jobs", "1")
    assert {name: record.digest for name, record in one_by_one.items()} == {
        name: record.digest for name, record in together.items()
    }
    alone = run(tmp_path, "alone", ("tod",), "--jobs", "1")["tod"]
    assert alone.digest == together["tod"].digest
    threads = run(tmp_path, "threads", ("tod",), "--jobs", "1", "--threads", "2")["tod"]
    # Sums are split differently, so bits may differ; that is why threads are in the environment's
    # identity.
    assert threads.env_id != alone.env_id and threads.trial_id == alone.trial_id
    assert shared_level(threads, alone, tolerance=3.0) in (
        Level.BITWISE,
        Level.SELECTION,
        Level.METRIC,
    )
