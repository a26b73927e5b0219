"""Runs that the first working version left behind: fixtures/upgrade/NOTES.md says how they were
made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark import worker
from benchmark.al.session import Session
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import TrialStarted
from benchmark.runs.store import Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.suite import Trial
from benchmark.verdicts.determinism import find_divergence, shared_level
from benchmark.verdicts.measurements import from_records
from tests.helpers.trials import assembled

OLD = Path(__file__).parents[1] / "fixtures" / "upgrade" / "f4f5f00"
FINISHED, STOPPED = "53e6af2ea598e113", "695c7f96d1a9eec8"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A copy: nothing here may change what was committed."""
    shutil.copytree(OLD, tmp_path / "runs")
    return Store(tmp_path / "runs")


def folder(store: Store, name: str) -> Path:
    (found,) = (store.root / name).iterdir()
    return found


def asked(path: Path) -> Trial:
    return Trial.model_validate_json((path / "trial.json").read_bytes())


@pytest.mark.parametrize("name", [FINISHED, STOPPED])
def test_a_question_of_then_has_the_same_identity_now(store: Store, name: str) -> None:
    assert trial_id(asked(folder(store, name)))[:16] == name


def test_records_of_then_are_believed_and_measured(store: Store) -> None:
    path = folder(store, FINISHED)
    (record,) = store.records()
    assert record == check_record(path)
    assert record.trial_id == json.loads((path / "record.json").read_text())["trial_id"]
    assert store.status_of(path, asked(path)).state == "finished"
    rows = from_records([record])
    assert [row.labelled for row in rows] == [40, 80, 120]
    assert [row.metrics["accuracy"] for row in rows] == [9.6, 10.6, 10.2]
    with np.load(path / "indices.npz") as indices:
        assert indices["sizes"].tolist() == [40, 80, 120] and len(indices["labelled"]) == 120


def test_a_changed_record_of_then_is_refused(store: Store) -> None:
    path = folder(store, FINISHED) / "record.json"
    path.write_text(path.read_text().replace('"accuracy": 10.6', '"accuracy": 90.6'))
    with pytest.raises(ValueError, match="differs from the digest in the events"):
        check_record(path.parent)


def test_events_of_then_are_all_read(store: Store) -> None:
    for name in (FINISHED, STOPPED):
        path = folder(store, name) / "events.jsonl"
        assert len(list(events.read_events(path))) == len(path.read_text().splitlines())


def run_now(trial: Trial, store: Store, data: Path) -> Path:
    out = store.create(trial, provenance.describe_environment("cpu", "fp32", 1))
    code = worker.main(
        [
            str(out / "trial.json"),
            str(out),
            "--data",
            str(data),
            "--cache",
            str(data),
            "--device",
            "cpu",
        ]
    )
    assert code == 0
    return out


def test_a_record_of_then_is_compared_with_one_of_now(store: Store, tmp_path: Path) -> None:
    """Another code is another environment: both outcomes stand side by side, and what parts them is
    named."""
    old = check_record(folder(store, FINISHED))
    new = check_record(run_now(old.trial, store, tmp_path / "data"))
    assert new.trial_id == old.trial_id and new.env_id != old.env_id
    assert len(store.records([old.trial])) == 2
    assert new.cycles[0].labelled_digest == old.cycles[0].labelled_digest, (
        "the first labelled set is the seed's own"
    )
    assert shared_level(new, old, tolerance=100.0) in ("bitwise", "selection", "metric")
    equal = new.digest == old.digest
    assert (
        (find_divergence(new, old) is None) == equal == (shared_level(new, old, 0.0) == "bitwise")
    )
    if (
        new.environment.isa == old.environment.isa
        and new.environment.torch == old.environment.torch
    ):
        assert equal, (
            "the same machine gives another outcome than in the first version: "
            f"{find_divergence(new, old)}"
        )


def test_a_run_stopped_then_begins_anew_now(store: Store, tmp_path: Path) -> None:
    """Its state belongs to another environment: it is left where it is, and the trial is new in
    ours."""
    path = folder(store, STOPPED)
    trial = asked(path)
    assert (store.status_of(path, trial).state, store.status_of(path, trial).cycles) == (
        "resumable",
        1,
    )
    assert store.status(trial, provenance.describe_environment("cpu", "fp32", 1)).state == "new"
    out = run_now(trial, store, tmp_path / "data")
    assert [
        e.cycle for e, _ in events.read_events(out / "events.jsonl") if isinstance(e, TrialStarted)
    ] == [0]
    assert (path / "state" / "cycle.state").read_bytes() == next(
        (OLD / STOPPED).glob("*/state/cycle.state")
    ).read_bytes()


def test_a_state_of_then_is_not_taken_for_one_of_now(store: Store, tmp_path: Path) -> None:
    """Even where a worker of now is sent into the folder of then."""
    path = folder(store, STOPPED)
    trial = asked(path)
    _, learner = assembled(trial, tmp_path / "data")
    session = Session(trial, trial_id(trial), "e" * 64, path, None, 1e9, lambda: False)
    assert session.resume(learner) == (0, None)
    assert session.results == []
