"""Code from outside cannot change what other trials are made from, and a training that is taken
over is held to its maker."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from benchmark import worker
from benchmark.al.state.checkpoint import decode, encode
from benchmark.executors.jobs import Job, guard_cache, is_foreign
from benchmark.executors.local.executor import LocalExecutor
from benchmark.runs import environment as provenance
from benchmark.runs import events
from benchmark.runs.events import CycleFinished, TrialFailed
from benchmark.runs.store import Store, check_record, last_event
from benchmark.spec.identity import trial_id
from benchmark.spec.suite import Component, Trial
from tests.helpers.trials import trial

GUEST = '''
from benchmark.al.functional.scores import gini
from benchmark.al.strategies import ScoreStrategy


class Guest(ScoreStrategy):
    """Most impure prediction first."""

    needs = frozenset({"logits"})

    def score(self, view):
        return gini(view.probs)
'''


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def guest(tmp_path: Path, **changes: Any) -> Trial:
    path = tmp_path / "guest.py"
    path.write_text(GUEST)
    code = hashlib.sha256(GUEST.encode()).hexdigest()
    return trial(strategy=Component(name=f"{path}:Guest", code=code), **changes)


def job_of(asked: Trial, store: Store) -> Job:
    environment = provenance.describe_environment("cpu", "fp32", 1)
    return Job(
        name=f"{asked.method_name}@{asked.seed}",
        trial_id=trial_id(asked),
        out=store.create(asked, environment),
        data=store.root.parent / "data",
        cache=store.root.parent / "cache",
        device="cpu",
        precision="fp32",
        threads=1,
    )


def run(asked: Trial, store: Store) -> tuple[int, Path]:
    """A worker as the local executor starts it, in this process."""
    job = job_of(asked, store)
    return worker.main(guard_cache(job).argv()), job.out


def shared_states(store: Store) -> list[Path]:
    return sorted((store.root.parent / "cache" / "trainings").glob("*.state"))


def reused(out: Path) -> bool:
    return next(
        event.reused
        for event, _ in events.read_events(out / "events.jsonl")
        if isinstance(event, CycleFinished)
    )


# --------------------------------------------------------------------------------------- who is one


@pytest.mark.parametrize(
    ("strategy", "objective", "foreign"),
    [
        (Component(name="random"), Component(name="supervised"), False),
        (Component(name="badge"), Component(name="cod", params={"weight": 1.0}), False),
        (Component(name="gini.py:Gini"), Component(name="supervised"), True),
        (Component(name="their.package:Gini"), Component(name="supervised"), True),
        (Component(name="an_entry_point"), Component(name="supervised"), True),
        (Component(name="random"), Component(name="loss.py:Loss"), True),
        (Component(name="random", code="c" * 64), Component(name="supervised"), True),
        (Component(name="random"), Component(name="an_entry_point"), True),
        (Component(name="../strategies/random"), Component(name="supervised"), True),
        (Component(name="supervised"), Component(name="supervised"), True),
        (Component(name="Random"), Component(name="supervised"), True),
    ],
)
def test_who_comes_from_outside(
    strategy: Component, objective: Component, foreign: bool, store: Store
) -> None:
    asked = trial(strategy=strategy, objective=objective)
    assert is_foreign(asked) == foreign
    job = job_of(asked, store)
    arguments = guard_cache(job).argv(out="/out", cache="/cache")
    if not foreign:
        assert guard_cache(job) == job and "--shared" not in arguments
    else:
        place = arguments.index("--cache")
        assert arguments[place : place + 4] == [
            "--cache",
            f"{job.out}/state/cache",
            "--shared",
            "/cache",
        ]


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        ("torchvision:FashionMNIST", False),
        ("huggingface:some-one/images", False),
        ("squares.py:Squares", True),
        ("their.package:Squares", True),
    ],
)
def test_files_of_a_library_are_no_code_from_outside(name: str, foreign: bool) -> None:
    asked = trial()
    data = asked.protocol.data.model_copy(update={"name": name})
    protocol = asked.protocol.model_copy(update={"data": data})
    assert is_foreign(asked.model_copy(update={"protocol": protocol})) == foreign


# ----------------------------------------------------------------------------------- baselines stay


def test_a_guest_makes_nothing_that_others_use(store: Store, tmp_path: Path) -> None:
    """It begins, and leaves neither a training nor data nor an index in the cache that baselines
    read."""
    cache = tmp_path / "cache"
    cache.mkdir()
    code, out = run(guest(tmp_path), store)
    assert code == 0
    assert list(cache.rglob("*")) == []
    assert not (out / "state").exists(), "what was its own goes with its state"
    assert check_record(out).reused is None


def test_a_guest_reads_what_was_made_before_and_changes_none_of_it(
    store: Store, tmp_path: Path
) -> None:
    code, maker = run(trial(), store)
    assert code == 0
    cache = tmp_path / "cache"
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in cache.rglob("*")
        if path.is_file()
    }
    code, out = run(guest(tmp_path), store)
    assert code == 0 and reused(out), "the first training is not done again for a guest"
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in cache.rglob("*")
        if path.is_file()
    } == before
    whose = check_record(out).reused
    assert whose is not None and whose.trial_id == check_record(maker).trial_id
    assert (
        whose.weights
        == check_record(maker).cycles[0].weights
        == check_record(out).cycles[0].weights
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_does(store: Store, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    assert run(guest(tmp_path), store)[0] == 0


def test_the_local_executor_keeps_guests_apart_by_itself(store: Store, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (end,) = LocalExecutor(isolate=True).run(
        [job_of(guest(tmp_path), store)], jobs_at_once=1, deadline=None, on_event=lambda *_: None
    )
    assert end.state == "finished", (end.message, end.log)
    assert list((tmp_path / "cache").rglob("*")) == []


# ---------------------------------------------------------------------------- a training is checked


def other(strategy: str = "entropy") -> Trial:
    """Another method of the same seed: its first training is the same."""
    return trial(strategy=Component(name=strategy))


def change(path: Path, *, told: bool) -> str:
    """Other weights with a right checksum, as code in a container could write them once; `told`:
    also their digest."""
    state = decode(path.read_bytes())
    assert state is not None
    tensor = next(
        value for value in state["student"].values() if value.is_floating_point() and value.ndim > 1
    )
    tensor.mul_(-1.0)
    if told:
        total = hashlib.sha256()
        for name, value in sorted(state["student"].items()):
            total.update(name.encode() + value.contiguous().numpy().tobytes())
        state["made"]["weights"] = total.hexdigest()
    path.write_bytes(encode(state))
    return str(state["made"]["weights"])


def test_the_record_names_whose_training_it_took_over(store: Store) -> None:
    _, maker = run(trial(), store)
    assert check_record(maker).reused is None
    code, out = run(other(), store)
    record = check_record(out)
    assert code == 0 and reused(out) and record.reused is not None
    assert (record.reused.trial_id, record.reused.env_id) == (trial_id(trial()), record.env_id)


def test_weights_that_are_not_what_their_maker_told_are_not_taken_over(store: Store) -> None:
    run(trial(), store)
    (path,) = shared_states(store)
    change(path, told=False)
    code, out = run(other(), store)
    last = last_event(out)
    assert code == 3 and isinstance(last, TrialFailed)
    assert "other weights than its maker recorded" in last.message and path.name in last.message
    path.unlink()
    code, out = run(other(), store)
    assert code == 0 and not reused(out), "as it says: without the file it is done again"


def test_weights_that_are_not_in_their_makers_record_are_found_afterwards(store: Store) -> None:
    """Whoever changes them can change the digest beside them, but not what the maker told in its
    own folder."""
    run(trial(), store)
    (path,) = shared_states(store)
    changed = change(path, told=True)
    code, out = run(other(), store)
    assert code == 0 and reused(out)
    with pytest.raises(ValueError, match="its first training is not the one that trial"):
        check_record(out)
    assert store.status(other(), out.name).state == "failed"
    assert [record.trial.strategy.name for record in store.records()] == ["random"]
    assert changed == events.read_record(out / "record.json").cycles[0].weights


def test_whose_training_it_was_is_still_known_after_a_stop(store: Store) -> None:
    run(trial(), store)
    job = job_of(other(), store)
    assert worker.main([*guard_cache(job).argv(), "--time-limit", "0.001"]) == 75
    assert reused(job.out), "it was stopped after the training that it took over"
    assert worker.main(guard_cache(job).argv()) == 0
    record = check_record(job.out)
    assert record.reused is not None and record.reused.trial_id == trial_id(trial())
