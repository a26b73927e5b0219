"""The store derives states from files, and believes nothing that contradicts itself."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.errors import StoreError
from benchmark.runs import events, lock
from benchmark.runs.events import CycleFinished, Record, Reused, TrialFinished, TrialStopped
from benchmark.runs.store import RejectedRecord, Store, check_record
from benchmark.spec.identity import trial_id
from tests.helpers.runs import (
    ENVIRONMENT,
    fail,
    finish,
    interrupt,
    result,
    say_started,
    toy_record,
    toy_trial,
)

TRIAL = toy_trial()
OTHER = ENVIRONMENT.model_copy(update={"threads": 2})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_folders_are_named_by_ids(store: Store) -> None:
    folder = store.run_dir(TRIAL, ENVIRONMENT)
    record = toy_record(TRIAL)
    assert folder.name == record.env_id[:12]
    assert folder.parent.name == record.trial_id[:16]
    assert store.run_dir(TRIAL, record.env_id) == folder
    assert store.run_dir(TRIAL, OTHER).parent == folder.parent
    assert store.run_dir(toy_trial(seed=1), ENVIRONMENT).parent != folder.parent


def test_states(store: Store) -> None:
    assert store.status(TRIAL, ENVIRONMENT).state == "new"
    store.create(TRIAL, ENVIRONMENT)
    assert store.status(TRIAL, ENVIRONMENT).state == "new"
    finish(store, TRIAL)
    finished = store.status(TRIAL, ENVIRONMENT)
    assert (finished.state, finished.cycles) == ("finished", 3)
    assert finished.record == toy_record(TRIAL)
    assert store.status(TRIAL, OTHER).state == "new"

    interrupt(store, toy_trial(1), cycles=2)
    stopped = store.status(toy_trial(1), ENVIRONMENT)
    assert (stopped.state, stopped.cycles) == ("resumable", 2)

    fail(store, toy_trial(2), message="out of luck\nsecond line")
    failed = store.status(toy_trial(2), ENVIRONMENT)
    assert (failed.state, failed.note) == ("failed", "RuntimeError: out of luck")

    folder = fail(store, toy_trial(3))
    (folder / "state").mkdir()
    (folder / "state" / "epoch.state").write_bytes(b"")
    assert store.status(toy_trial(3), ENVIRONMENT).state == "resumable"
    say_started(store.create(toy_trial(2), ENVIRONMENT), toy_trial(2))
    died = store.status(toy_trial(2), ENVIRONMENT)
    assert (died.state, died.note.split(":")[0]) == (
        "failed",
        "stopped without reporting an error (killed, or the machine went down)",
    ), "an older failure no longer counts"
    events.append_event(
        store.run_dir(toy_trial(2), ENVIRONMENT) / "events.jsonl",
        TrialStopped(time=1.0, reason="signal"),
    )
    assert store.status(toy_trial(2), ENVIRONMENT).state == "new"


def test_create_leaves_the_trial_and_mends_a_torn_one(store: Store) -> None:
    folder = store.create(TRIAL, ENVIRONMENT)
    path = folder / "trial.json"
    assert type(TRIAL).model_validate_json(path.read_bytes()) == TRIAL
    path.write_text(path.read_text()[:50])
    store.create(TRIAL, ENVIRONMENT)
    assert type(TRIAL).model_validate_json(path.read_bytes()) == TRIAL


def edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        raw = json.loads((folder / "record.json").read_text())
        del raw["seal"]  # as in earlier versions: what is changed is found by other means, too
        change(raw)
        (folder / "record.json").write_text(json.dumps(raw))

    return apply


def move(folder: Path) -> None:
    folder.rename(folder.with_name("0" * 12))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "record.json").write_text("{"), "is not a record"),
        (lambda folder: (folder / "record.json").write_bytes(b"\xff\x00"), "is not a record"),
        (lambda folder: (folder / "record.json").write_text(""), "is not a record"),
        (edit(lambda raw: raw["trial"].update(seed=9)), "not the identity of its own trial"),
        (
            edit(lambda raw: raw["trial"]["protocol"]["training"].update(epochs=9)),
            "not the identity of its own trial",
        ),
        (
            edit(lambda raw: raw["environment"].update(threads=9)),
            "not the identity of its own environment",
        ),
        (edit(lambda raw: raw["cycles"].pop()), "its cycles are not"),
        (
            edit(lambda raw: raw["cycles"][1]["metrics"].update(accuracy=99.0)),
            "differs from the digest",
        ),
        (edit(lambda raw: raw["data"].update(digest="e" * 64)), "other data"),
        (move, "folder of another"),
    ],
)
def test_damaged_records_are_refused_and_named(
    store: Store, damage: Callable[[Path], None], reason: str
) -> None:
    folder = finish(store, TRIAL)
    finish(store, toy_trial(1))
    damage(folder)
    refused: list[RejectedRecord] = []
    assert [record.trial.seed for record in store.records(on_refused=refused.append)] == [1]
    assert len(refused) == 1
    assert reason in refused[0].reason
    assert refused[0].path.name == "record.json"
    status = store.status(TRIAL, ENVIRONMENT)
    if damage is not move:
        assert (status.state, status.cycles) == ("failed", 0)
        assert "record refused" in status.note


def test_no_flipped_bit_of_a_record_is_believed(store: Store) -> None:
    folder = finish(store, toy_trial(acquisition__cycles=1))
    path = folder / "record.json"
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(bytes(changed))
        with pytest.raises(ValueError):
            check_record(folder)
    path.write_bytes(content)
    assert check_record(folder) == toy_record(toy_trial(acquisition__cycles=1))


def test_a_record_from_before_files_were_sealed_counts(store: Store) -> None:
    folder = finish(store, TRIAL)
    lines = (folder / "events.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    del last["file"]
    (folder / "events.jsonl").write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    assert store.status(TRIAL, ENVIRONMENT).state == "finished"


def test_record_of_another_trial_in_the_same_place(store: Store) -> None:
    folder, foreign = finish(store, TRIAL), finish(store, toy_trial(1))
    (foreign / "record.json").replace(folder / "record.json")
    with pytest.raises(ValueError, match="folder of another"):
        check_record(folder)
    assert "refused" in store.status(TRIAL, ENVIRONMENT).note


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def go_on(path: Path) -> None:
    say_started(path.parent, TRIAL)


@pytest.mark.parametrize(
    "damage", [shorten, Path.unlink, lambda path: path.write_bytes(b""), go_on]
)
def test_a_record_without_its_last_event_is_not_believed(
    store: Store, damage: Callable[[Path], object]
) -> None:
    """Nothing tells any more that it is as it was written."""
    folder = finish(store, TRIAL)
    damage(folder / "events.jsonl")
    with pytest.raises(ValueError, match="its end is not among the events"):
        check_record(folder)
    assert store.status(TRIAL, ENVIRONMENT).state == "failed"
    assert store.records() == []


def test_a_record_seals_itself(store: Store) -> None:
    """Also where an event that fits is beside it."""
    folder = finish(store, TRIAL)
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"seconds": 10.0', '"seconds": 11.0'))
    with pytest.raises(ValueError, match="its seal is broken"):
        events.read_record(path)
    assert json.loads(path.read_text())["seal"]


def test_a_record_is_read_again_only_where_its_files_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read, parse = finish(store, TRIAL), list[bytes](), events.parse_record

    def count(content: bytes) -> Record:
        read.append(content)
        return parse(content)

    monkeypatch.setattr(events, "parse_record", count)
    for _ in range(3):
        check_record(folder)
    assert len(read) == 1
    path, times = folder / "record.json", (folder / "record.json").stat()
    path.write_bytes(path.read_bytes().replace(b'"seconds": 10.0', b'"seconds": 11.0'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # whoever forges it can do this
    with pytest.raises(ValueError, match="its seal is broken"):
        check_record(folder)


def test_a_record_without_a_seal_counts_where_its_event_stands(store: Store) -> None:
    folder = finish(store, TRIAL)
    events.write_json(folder / "record.json", toy_record(TRIAL))
    assert "seal" not in json.loads((folder / "record.json").read_text())
    with pytest.raises(ValueError, match="bytes differ"):
        check_record(folder)
    file = hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()
    events.append_event(
        folder / "events.jsonl", TrialFinished(time=3.0, digest=toy_record(TRIAL).digest, file=file)
    )
    assert check_record(folder) == toy_record(TRIAL)


def took_over(store: Store, weights: str, made: str, *, finished: float = 9.0) -> Path:
    """A trial that tells whose training it took over, and what the maker tells of it."""
    maker = store.create(toy_trial(7), ENVIRONMENT)
    first = result(toy_trial(7), 0).model_copy(update={"weights": made})
    events.append_event(
        maker / "events.jsonl", CycleFinished(time=2.0, result=first, seconds={}, reused=False)
    )
    whose = Reused(trial_id=trial_id(toy_trial(7)), env_id=ENVIRONMENT.env_id, weights=weights)
    record = toy_record(TRIAL).model_copy(update={"reused": whose, "finished": finished})
    folder = finish(store, TRIAL)
    events.write_record(folder / "record.json", record)
    file = hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()
    events.append_event(
        folder / "events.jsonl", TrialFinished(time=3.0, digest=record.digest, file=file)
    )
    return folder


def test_a_training_that_was_taken_over_is_checked_against_its_maker(store: Store) -> None:
    assert check_record(took_over(store, "w", "w")).reused is not None
    with pytest.raises(
        ValueError, match="first weights are not those of the training that it took over"
    ):
        check_record(took_over(store, "x", "x"))
    with pytest.raises(
        ValueError, match=f"not the one that trial {trial_id(toy_trial(7))[:16]} made"
    ):
        check_record(took_over(store, "w", "other"))


def test_what_a_maker_did_again_later_is_not_held_against_others(store: Store) -> None:
    assert check_record(took_over(store, "w", "other", finished=1.0))


def test_a_maker_elsewhere_is_not_asked(store: Store) -> None:
    folder = took_over(store, "w", "w")
    shutil.rmtree(store.run_dir(toy_trial(7), ENVIRONMENT))
    assert check_record(folder)


def test_records_of_a_selection(store: Store) -> None:
    finish(store, TRIAL)
    finish(store, TRIAL, OTHER)
    finish(store, toy_trial(1))
    interrupt(store, toy_trial(2))
    assert len(store.records()) == 3
    assert {record.env_id for record in store.records([TRIAL])} == {
        ENVIRONMENT.env_id,
        OTHER.env_id,
    }
    assert store.records([toy_trial(2), toy_trial(5)]) == []


def test_records_match_questions_not_data_or_names(store: Store) -> None:
    finish(store, TRIAL)
    asking = TRIAL.model_copy(
        update={"data_digest": None, "suite": "toy/renamed", "method_name": "chance"}
    )
    (found,) = store.records([asking])
    assert (found.trial.suite, found.trial.method_name, found.trial.data_digest) == (
        "toy/renamed",
        "chance",
        "d" * 64,
    )
    assert found.cycles == toy_record(TRIAL).cycles


def test_absent_store_is_empty(store: Store) -> None:
    assert store.records() == []
    assert list(store.folders()) == []
    assert store.clean() == []
    assert store.status(TRIAL, ENVIRONMENT).state == "new"


def test_foreign_folders_are_left_alone(store: Store) -> None:
    for name in (".cache", ".plans", "notes", "0123456789abcdef"):
        (store.root / name / "x").mkdir(parents=True)
    finish(store, TRIAL)
    assert [folder.parent.parent for folder in store.folders()] == [store.root]


def test_unusable_roots(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="not a folder"):
        Store(file)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        Store(Path("/proc/none")).prepare()
    assert "--runs" in str(caught.value)
    with pytest.raises(StoreError, match="cannot be written"):
        Store(Path("/proc/none")).create(TRIAL, ENVIRONMENT)
    Store(tmp_path / "a" / "b").prepare()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_clean(store: Store) -> None:
    finished = finish(store, TRIAL)
    (finished / "state").mkdir()
    (finished / "state" / "cycle.state").write_bytes(b"")
    stopped = interrupt(store, toy_trial(1))
    torn = stopped / "state" / ".cycle.state.17.partial"
    torn.write_bytes(b"x")
    busy = interrupt(store, toy_trial(2))
    (busy / ".x.partial").write_bytes(b"")
    with lock.lock_run(busy):
        assert set(store.clean(dry=True)) == {finished / "state", torn}
        assert torn.exists()
        assert set(store.clean()) == {finished / "state", torn}
    assert not torn.exists()
    assert not (finished / "state").exists()
    assert (busy / ".x.partial").exists()
    assert store.status(toy_trial(1), ENVIRONMENT).state == "resumable"


# ------------------------------------------------------------------------------------------- leases

HOLD = """
import sys, time
from pathlib import Path
from benchmark.runs.lock import lock_run
with lock_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_kill_frees_the_lease(store: Store) -> None:
    folder = interrupt(store, TRIAL)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        status = store.status(TRIAL, ENVIRONMENT)
        assert status.state == "running"
        assert f"process {process.pid}" in status.note
        with pytest.raises(lock.RunLocked, match=f"process {process.pid}"), lock.lock_run(folder):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert store.status(TRIAL, ENVIRONMENT).state == "resumable"
    with lock.lock_run(folder):
        assert store.status(TRIAL, ENVIRONMENT).state == "running"
    assert store.status(TRIAL, ENVIRONMENT).state == "resumable"


def test_looking_does_not_disturb_a_claim(store: Store) -> None:
    folder = interrupt(store, TRIAL)
    for _ in range(20):
        with lock.lock_run(folder):
            assert lock.lock_owner(folder)
        assert not lock.lock_owner(folder)


@pytest.mark.parametrize(
    ("shared", "age", "held"), [(True, 10, True), (True, 1000, False), (False, 10, False)]
)
def test_another_hosts_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch, shared: bool, age: int, held: bool
) -> None:
    folder = interrupt(store, TRIAL)
    path = folder / "lease"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 17}))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    monkeypatch.setattr(lock, "on_network", lambda _: shared)
    monkeypatch.setattr(lock, "WATCH", 0.2)
    assert bool(lock.lock_owner(folder)) == held
    assert store.status(TRIAL, ENVIRONMENT).state == ("running" if held else "resumable")
    if held:
        with pytest.raises(lock.RunLocked, match="elsewhere"), lock.lock_run(folder):
            pass
    else:
        with lock.lock_run(folder):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_file_systems() -> None:
    mounts = (
        "/dev/vda / ext4 rw 0 0\nserver:/x /shared nfs4 rw 0 0\n/dev/vdb /shared/local xfs rw 0 0\n"
    )
    assert lock.on_network(Path("/shared/runs/x"), mounts)
    assert not lock.on_network(Path("/shared/local/x"), mounts)
    assert not lock.on_network(Path("/sharedless"), mounts)
    assert not lock.on_network(Path("/"), mounts)
    assert not lock.on_network(Path("/"), "")


def test_torn_lease_is_still_a_lock(store: Store) -> None:
    folder = interrupt(store, TRIAL)
    with lock.lock_run(folder):
        (folder / "lease").write_text("{")
        assert lock.lock_owner(folder) == "another process"


def test_record_survives_the_trip(store: Store) -> None:
    folder = finish(store, TRIAL)
    assert events.read_record(folder / "record.json") == toy_record(TRIAL)
    assert isinstance(store.records()[0], Record)
