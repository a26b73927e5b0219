"""Mirroring without a real tracker: folding events, repeating, crashing, being slow or dead."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.errors import StoreError
from benchmark.runs import events
from benchmark.runs.events import (
    CycleFinished,
    CycleResult,
    EpochFinished,
    TrialFinished,
    TrialStopped,
)
from benchmark.runs.lock import lock_run
from benchmark.runs.store import Store
from benchmark.spec.suite import Trial
from benchmark.tracking.background import BackgroundSync
from benchmark.tracking.run_history import (
    RunHistory,
    SyncedRun,
    cycle_points,
    run_tags,
    trial_params,
    verdict_note,
    verdict_table,
    verdict_tags,
)
from benchmark.tracking.sync import RunSyncer, SyncResult, TrackerError, sync_run_folders
from benchmark.tracking.synced_folders import SyncedFolders
from tests.helpers.runs import ENVIRONMENT, fail, finish, interrupt, result, say_started, toy_trial
from tests.helpers.waiting import patience, wait_for


class Crash(Exception):
    """The host died here."""


class FakeTracker:
    """Keeps what a tracker keeps, with MLflow's rules: parameters are final, equal metrics are
    one."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.notes: dict[str, dict[str, str]] = {}
        self.calls, self.crash_at = 0, -1

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.crash_at:
            raise Crash

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def experiment(self, name: str) -> str:
        return f"experiment of {name}"

    def annotate(
        self, experiment: str, tags: Mapping[str, str], first: Mapping[str, str] | None = None
    ) -> None:
        self._call()
        held = self.notes.setdefault(experiment, {})
        self.notes[experiment] = {**(first or {}), **held, **tags}

    def search(self, experiment: str, tags: Mapping[str, str]) -> list[Any]:
        self._call()
        return [
            run
            for run in self.runs.values()
            if run.info.experiment == experiment and tags.items() <= run.data.tags.items()
        ]

    def get(self, run_id: str) -> Any:
        return self.runs[run_id]

    def create(
        self, experiment: str, name: str, started: int | None, tags: Mapping[str, str]
    ) -> Any:
        self._call()
        info = SimpleNamespace(
            run_id=f"run{self.calls}",
            experiment=experiment,
            name=name,
            status="RUNNING",
            start_time=started,
            end_time=None,
        )
        data = SimpleNamespace(tags=dict(tags), params={}, metrics=set(), files={}, dataset=None)
        run = self.runs[info.run_id] = SimpleNamespace(info=info, data=data)
        self._call()
        return run

    def delete(self, run_id: str) -> None:
        self._call()
        del self.runs[run_id]

    def describe(
        self, run_id: str, params: Mapping[str, str], dataset: tuple[str, str] | None
    ) -> None:
        data = self.runs[run_id].data
        for name, value in params.items():
            assert data.params.setdefault(name, value) == value
        self._call()
        data.dataset = dataset

    def log(self, run_id: str, metrics: Sequence[Any], tags: Mapping[str, str]) -> None:
        data = self.runs[run_id].data
        data.metrics |= set(metrics)
        self._call()
        data.tags |= tags
        self._call()

    def put(self, run: Any, source: Path, name: str) -> None:
        self.runs[run.info.run_id].data.files[name] = source.read_bytes()
        self._call()

    def set_status(self, run_id: str, status: str, ended: int | None) -> None:
        info = self.runs[run_id].info
        info.status, info.end_time = status, ended
        self._call()

    def content(self) -> dict[str, Any]:
        """Everything but the ids of runs, which a tracker makes up, by run name."""
        found: dict[str, Any] = {}
        for run in self.runs.values():
            assert run.info.name not in found, "a run is there twice"
            kept = {
                name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"
            }
            info = (run.info.status, run.info.start_time, run.info.end_time)
            found[run.info.name] = (
                info,
                kept,
                run.data.params,
                run.data.metrics,
                run.data.files,
                run.data.dataset,
            )
        return found


def syncer_of(tracker: FakeTracker) -> RunSyncer:
    return RunSyncer(lambda runs: tracker)


def synced(*folders: Path) -> dict[str, Any]:
    """What one undisturbed sync writes."""
    tracker = FakeTracker()
    syncer = syncer_of(tracker)
    for folder in folders:
        syncer.sync_run(folder)
    syncer.close()
    return tracker.content()


def tell(folder: Path, trial: Trial, cycle: int, accuracy: float = 50.0, at: float = 2.0) -> None:
    done = CycleFinished(
        time=at, result=result(trial, cycle, accuracy), seconds={"train": 1.5}, reused=False
    )
    events.append_event(folder / "events.jsonl", done)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_crashes_anywhere_change_nothing_in_the_end(store: Store) -> None:
    folders = [
        finish(store, toy_trial(0)),
        interrupt(store, toy_trial(1)),
        fail(store, toy_trial(2)),
    ]
    whole = synced(*folders)
    counting = FakeTracker()
    for folder in folders:
        syncer_of(counting).sync_run(folder)
    assert counting.calls > 20
    for crash_at in range(1, counting.calls + 1):
        tracker = FakeTracker()
        tracker.crash_at = crash_at
        with pytest.raises(TrackerError):
            for folder in folders:
                syncer_of(tracker).sync_run(folder)
        again = syncer_of(tracker)
        for folder in folders:
            again.sync_run(folder)
        again.close()
        assert tracker.content() == whole, f"crash at call {crash_at}"


def test_piece_by_piece_equals_at_once(store: Store) -> None:
    source = finish(store, toy_trial(0))
    text = (source / "events.jsonl").read_bytes()
    whole = synced(source)
    tracker = FakeTracker()
    syncer = syncer_of(tracker)
    for size in range(0, len(text) + 1, 97):  # every line is torn somewhere
        (source / "events.jsonl").write_bytes(text[:size])
        syncer.sync_run(source, live=True)
    (source / "events.jsonl").write_bytes(text)
    syncer.sync_run(source)
    syncer.close()
    assert tracker.content() == whole
    points = whole["random@0"][3]
    assert len(points) == 3 * 5 + 2, (
        "three cycles of accuracy, labels, reuse, training time and speed; what came out"
    )
    out = {point.key: point.value for point in points if point.key in ("final_accuracy", "area")}
    assert out == {"final_accuracy": 52.0, "area": 51.0}, (
        "50, 51 and 52 % at 5,000, 7,500 and 10,000 labels"
    )


def test_repeats_write_nothing(store: Store) -> None:
    folder = finish(store, toy_trial(0))
    tracker = FakeTracker()
    syncer = syncer_of(tracker)
    assert syncer.sync_run(folder) == SyncedRun("finished", True)
    calls = tracker.calls
    assert syncer.sync_run(folder) == SyncedRun("finished", False)
    assert tracker.calls == calls, "the same syncer does not even ask"
    assert syncer_of(tracker).sync_run(folder) == SyncedRun("finished", False)
    assert sorted(run.info.name for run in tracker.runs.values()) == ["random", "random@0"]


def test_torn_and_foreign_lines_are_passed_over(store: Store) -> None:
    trial = toy_trial(0)
    folder = store.create(trial, ENVIRONMENT)
    say_started(folder, trial)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "cycle", "ti\n\xff\xfe\n')
    tell(folder, trial, 0)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "fini')
    history = RunHistory(folder)
    history.update()
    assert len(history.cycles) == 1
    tell(folder, trial, 1)  # the torn line is closed first
    history.update()
    assert [done.result.cycle for done in history.cycles] == [0, 1]


def test_a_cycle_told_again_counts_once_and_a_different_one_replaces(store: Store) -> None:
    trial = toy_trial(0)
    folder = store.create(trial, ENVIRONMENT)
    say_started(folder, trial)
    tell(folder, trial, 0, at=2.0)
    tell(folder, trial, 1, at=3.0)
    tracker = FakeTracker()
    syncer = syncer_of(tracker)
    syncer.sync_run(folder, live=True)
    run = next(run for run in tracker.runs.values() if run.info.name == "random@0")
    before = set(run.data.metrics)
    tell(folder, trial, 1, at=9.0)
    syncer.sync_run(folder, live=True)
    assert run.data.metrics == before
    assert {point.time for point in before} == {2000, 3000}
    tell(folder, trial, 1, accuracy=60.0, at=10.0)
    syncer.sync_run(folder, live=True)
    (run,) = (run for run in tracker.runs.values() if run.info.name == "random@0")
    values = {
        (point.step, point.value, point.time)
        for point in run.data.metrics
        if point.key == "test/accuracy"
    }
    sizes = trial.protocol.acquisition.labelled()
    assert values == {(sizes[0], 50.0, 2000), (sizes[1], 61.0, 10000)}


@pytest.mark.parametrize("longer", [False, True])
def test_a_fresh_start_replaces_the_run(store: Store, longer: bool) -> None:
    trial = toy_trial(0)
    folder = store.create(trial, ENVIRONMENT)
    say_started(folder, trial)
    tell(folder, trial, 0)
    tracker = FakeTracker()
    syncer = syncer_of(tracker)
    syncer.sync_run(folder, live=True)
    (folder / "events.jsonl").unlink()
    say_started(folder, trial)
    for cycle in range(3 if longer else 0):
        tell(folder, trial, cycle, accuracy=70.0, at=20.0)
    syncer.sync_run(folder, live=True)
    (run,) = (run for run in tracker.runs.values() if run.info.name == "random@0")
    values = {point.value for point in run.data.metrics if point.key == "test/accuracy"}
    assert values == ({70.0, 71.0, 72.0} if longer else set())


def test_states(store: Store) -> None:
    trial = toy_trial(0)
    folder = interrupt(store, trial)
    tracker = FakeTracker()
    syncer = syncer_of(tracker)

    def seen() -> tuple[str, str]:
        syncer.sync_run(folder)
        (run,) = (run for run in tracker.runs.values() if run.info.name == "random@0")
        return run.data.tags["albench.state"], run.info.status

    assert seen() == ("interrupted", "KILLED")
    with lock_run(folder):
        assert seen() == ("running", "RUNNING")
    events.append_event(folder / "events.jsonl", TrialStopped(time=5.0, reason="time_limit"))
    assert seen() == ("stopped", "KILLED")
    say_started(folder, trial)
    assert syncer.sync_run(folder, live=True).state == "running"
    history = RunHistory(folder)
    history.update()
    assert history.resumed == 1


def test_a_refused_record_is_said(store: Store) -> None:
    folder = finish(store, toy_trial(0))
    events.append_event(folder / "events.jsonl", TrialFinished(time=4.0, digest="other"))
    tracker = FakeTracker()
    syncer_of(tracker).sync_run(folder)
    (run,) = (run for run in tracker.runs.values() if run.info.name == "random@0")
    assert run.data.tags["albench.record"].startswith("refused")


def test_a_parent_has_the_state_of_its_children(store: Store) -> None:
    good, bad = finish(store, toy_trial(0)), fail(store, toy_trial(1))
    assert synced(good)["random"][0][0] == "FINISHED"
    assert synced(good, bad)["random"][0][0] == "FAILED"


def test_nothing_is_written_for_a_run_that_has_not_begun(store: Store) -> None:
    folder = store.create(toy_trial(0), ENVIRONMENT)
    tracker = FakeTracker()
    assert syncer_of(tracker).sync_run(folder) == SyncedRun(None, False)
    assert not tracker.runs


def test_sync_counts_and_goes_on_after_a_bad_folder(store: Store) -> None:
    finish(store, toy_trial(0))
    store.create(toy_trial(1), ENVIRONMENT)
    broken = finish(store, toy_trial(2))
    (broken / "trial.json").write_text("{}")
    tracker, seen = FakeTracker(), []
    report = sync_run_folders(
        syncer_of(tracker), store.root, (), lambda done, total: seen.append((done, total))
    )
    assert (report.written, report.unchanged, report.empty) == (1, 0, 1)
    assert len(report.problems) == 1
    assert "trial.json" in report.problems[0]
    assert seen[-1] == (3, 3)
    again = sync_run_folders(syncer_of(tracker), store.root, (), lambda done, total: None)
    assert (again.written, again.unchanged) == (0, 1)
    other = sync_run_folders(
        syncer_of(FakeTracker()), store.root, ("another/suite",), lambda done, total: None
    )
    assert (other.written, other.unchanged, other.empty) == (0, 0, 0)


def marks_of(store: Store, stamp: str = "") -> SyncedFolders:
    return SyncedFolders(store.root / ".tracking" / "marks.json", lambda: stamp)


def quiet_sync(store: Store, tracker: FakeTracker, stamp: str = "") -> SyncResult:
    return sync_run_folders(
        syncer_of(tracker), store.root, (), lambda done, total: None, marks_of(store, stamp)
    )


def test_costs_follow_what_is_new(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to the tracker: a few for each new run; for untouched ones one listing in all, or
    none where a tracker tells by itself that nobody has written to it. An untouched run's events
    are not read."""
    for seed in range(20):
        finish(store, toy_trial(seed))
    tracker = FakeTracker()
    assert quiet_sync(store, tracker, "t1").written == 20
    assert tracker.calls <= 20 * 20
    read: list[Path] = []
    whole = RunHistory.update
    monkeypatch.setattr(
        RunHistory, "update", lambda self: (read.append(self.folder), whole(self))[1]
    )

    tracker.calls = 0
    assert quiet_sync(store, tracker, "t1").unchanged == 20
    assert (tracker.calls, read) == (0, [])

    assert quiet_sync(store, tracker, "t2").unchanged == 20, (
        "somebody has written to the tracker since"
    )
    assert tracker.calls <= 2
    assert read == []

    finish(store, toy_trial(20))
    tracker.calls = 0
    report = quiet_sync(store, tracker, "t2")
    assert (report.written, report.unchanged) == (1, 20)
    assert tracker.calls <= 25
    assert {folder.parent.name for folder in read} == {
        store.run_dir(toy_trial(20), ENVIRONMENT).parent.name
    }


def test_a_run_that_changed_is_looked_at_again(store: Store) -> None:
    folder, other = interrupt(store, toy_trial(0)), finish(store, toy_trial(1))
    events.append_event(folder / "events.jsonl", TrialStopped(time=5.0, reason="time_limit"))
    tracker = FakeTracker()
    quiet_sync(store, tracker, "t")
    tell(folder, toy_trial(0), 1)
    report = quiet_sync(store, tracker, "t")
    assert (report.written, report.unchanged) == (1, 1)
    (store.root / ".tracking" / "marks.json").write_text("{ torn")
    assert quiet_sync(store, tracker, "t").unchanged == 2
    (other / "record.json").write_bytes((other / "record.json").read_bytes() + b" ")
    assert quiet_sync(store, tracker, "t").written == 1, "its record is refused now"


@pytest.mark.parametrize(
    "spoil", ["tag", "state", "parent", "cycles", "gone", "twice", "cell", "name"]
)
def test_what_was_changed_by_hand_is_mended(store: Store, spoil: str) -> None:
    for seed in range(3):
        finish(store, toy_trial(seed))
    tracker = FakeTracker()
    quiet_sync(store, tracker)
    whole = copy.deepcopy(tracker.content())
    child = next(run for run in tracker.runs.values() if run.info.name == "random@1")
    parent = tracker.runs[child.data.tags["mlflow.parentRunId"]]
    if spoil == "tag":
        child.data.tags["albench.digest"] = "better"
    elif spoil == "state":
        child.info.status = "KILLED"
    elif spoil == "parent":
        tracker.delete(parent.info.run_id)
    elif spoil == "cycles":
        child.data.tags["albench.cycles"] = "nonsense"
    elif spoil == "gone":
        tracker.delete(child.info.run_id)
    elif spoil == "twice":
        tracker.create(child.info.experiment, "copy", 1, child.data.tags)
    elif spoil == "cell":
        parent.data.tags["albench.method"] = "mine"
        parent.info.status = "RUNNING"
    elif spoil == "name":
        child.data.tags["mlflow.runName"] = "mine"
    quiet_sync(store, tracker)
    alive = {run.info.run_id for run in tracker.runs.values()}
    assert all(
        run.data.tags.get("mlflow.parentRunId") in alive
        for run in tracker.runs.values()
        if "@" in run.info.name
    )
    assert tracker.content() == whole


# ------------------------------------------------------------------------------------------- values


def test_values_that_are_not_finite_are_left_out_and_named(store: Store) -> None:
    trial = toy_trial(0)
    values = dict(result(trial, 0)) | {
        "metrics": {"accuracy": 50.0, "loss/a": float("nan"), "loss/b": float("inf")},
        "diagnostics": {"rank": 0.5, "spread": float("-inf"), "list": (1.0, 2.0)},
    }
    done = CycleFinished.model_construct(
        time=2.0,
        result=CycleResult.model_construct(**values),
        seconds={"train": 1.0},
        reused=True,
        peak_host_bytes=5,
        peak_device_bytes=0,
    )
    found, missing = cycle_points(done)
    assert {point.key: point.value for point in found} == {
        "test/accuracy": 50.0,
        "diagnostics/rank": 0.5,
        "train/seconds": 1.0,
        "pool/labelled": 5000.0,
        "train/reused": 1.0,
        "memory/host_bytes": 5.0,
    }
    assert {(point.step, point.time) for point in found} == {(5000, 2000)}
    assert missing == ["diagnostics/spread", "test/loss/a", "test/loss/b"]
    folder = interrupt(store, trial)
    history = RunHistory(folder)
    history.update()
    history.cycles = [done]
    assert (
        run_tags(history, "running")["albench.not_finite"]
        == "diagnostics/spread, test/loss/a, test/loss/b"
    )


def test_parameters_are_the_flattened_protocol() -> None:
    found = trial_params(toy_trial(3))
    assert found["seed"] == "3"
    assert found["strategy.name"] == "random"
    assert found["protocol.training.optimizer.lr"] == "0.1"
    assert found["protocol.training.schedule.milestones"] == "[160]"
    assert found["protocol.training.shuffle"] == "true"
    assert "protocol.pretext" not in found


def test_verdict_rows() -> None:
    rows = [
        {"method": "tod", "labelled": 5000, "verdict": "reproduced", "difference": 0.123456},
        {"method": "tod", "labelled": 7500, "verdict": "below", "reason": "a | b"},
    ]
    assert verdict_tags(rows) == {
        "albench.verdict": "1 reproduced, 1 below",
        "verdict": "1 reproduced, 1 below",
        "albench.verdict.5000": "reproduced",
        "albench.verdict.7500": "below",
    }
    assert verdict_tags(rows[:1])["albench.verdict"] == "reproduced"
    table = verdict_table(rows)
    assert table["columns"] == ["method", "labelled", "verdict", "difference", "reason"]
    assert table["data"][1] == ["tod", 7500, "below", None, "a | b"]
    lines = verdict_note(rows).splitlines()
    assert lines[2] == "| tod | 5000 | reproduced | 0.1235 |  |"
    assert all(line.count("|") == 6 for line in lines)
    long = verdict_note(rows * 500)
    assert len(long) <= 5000
    assert long.endswith("|\n\nCut here: the whole table is among the artifacts.")
    assert verdict_note(rows, "all is well").startswith("all is well\n\n| method |")
    twice = [rows[0], rows[0] | {"verdict": "above"}]
    assert verdict_tags(twice)["albench.verdict.5000"] == "1 reproduced, 1 above", (
        "several metrics at one size"
    )


def test_publishing_verdicts_twice_leaves_one_set(tmp_path: Path) -> None:
    tracker = FakeTracker()
    figure = tmp_path / "curves.png"
    figure.write_bytes(b"png")
    rows = [
        {"method": "tod", "labelled": 10, "verdict": "below"},
        {"claim": "tod beats random", "verdict": "holds"},
    ]
    for _ in range(2):
        syncer_of(tracker).publish(
            tmp_path, "toy/one", "smoke", "as_published", rows, {"curves": figure}
        )
    (run,) = tracker.runs.values()
    assert run.info.name == "tod · smoke"
    assert run.data.tags["albench.verdict"] == "below"
    assert "tod beats random" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["albench.verdict.10"] == "below"
    other = [{"method": "tod", "labelled": 20, "verdict": "above"}]
    syncer_of(tracker).publish(
        tmp_path, "toy/one", "smoke", "as_published", other, {}, ["tod", "random"], "in all"
    )
    assert [run.data.tags[f"albench.verdict{size}"] for size in ("", ".10", ".20")] == [
        "above",
        "",
        "above",
    ], "nothing stale"
    assert {one.info.name for one in tracker.runs.values()} == {"tod · smoke", "random · smoke"}
    assert set(run.data.files) == {"verdicts/verdicts.json", "verdicts/curves.png"}


# -------------------------------------------------------------------------------- in the background


def test_background_follows_a_run_and_ends_up_to_date(store: Store) -> None:
    trial = toy_trial(0)
    folder = store.create(trial, ENVIRONMENT)
    tracker = FakeTracker()
    with BackgroundSync(lambda: syncer_of(tracker), every=0.01) as background:
        background.watch([folder])
        say_started(folder, trial)
        tell(folder, trial, 0)
        wait_for(
            lambda: any(
                run.data.tags.get("albench.cycles", "").startswith("1 ")
                for run in list(tracker.runs.values())
            )
        )
        events.append_event(
            folder / "events.jsonl", EpochFinished(time=3.0, cycle=1, epoch=1, epochs=4)
        )
        folder = finish(store, trial)
    assert background.problem is None
    assert {run.info.status for run in tracker.runs.values()} == {"FINISHED"}


def test_a_dead_tracker_is_told_and_tried_again(store: Store) -> None:
    folder, tracker, tries = finish(store, toy_trial(0)), FakeTracker(), []

    def make() -> RunSyncer:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionRefusedError("nobody there")
        return syncer_of(tracker)

    background = BackgroundSync(make, every=0.01)
    background.watch([folder])
    wait_for(lambda: tracker.runs)
    background.close()
    assert background.problem is None
    assert len(tries) == 3

    dead = BackgroundSync(
        lambda: (_ for _ in ()).throw(ConnectionRefusedError("nobody there")), every=0.01
    )
    dead.watch([folder])
    dead.close()
    assert dead.problem == "nobody there"


def test_a_hanging_tracker_does_not_hold_the_run(store: Store) -> None:
    release = threading.Event()

    class Hanging:
        def sync_run(self, run_dir: Path, *, live: bool = False) -> SyncedRun:
            release.wait(patience(30))
            return SyncedRun(None, False)

        def close(self) -> None: ...

    background = BackgroundSync(Hanging)
    start = time.monotonic()
    background.watch([finish(store, toy_trial(0))])
    background.close(seconds=0.2)
    assert time.monotonic() - start < patience(2)
    assert background.problem is not None
    assert "albench sync" in background.problem
    release.set()


def test_one_bad_folder_does_not_hide_the_others(store: Store) -> None:
    good, bad = finish(store, toy_trial(0)), finish(store, toy_trial(1))
    (bad / "trial.json").write_text("{}")
    tracker = FakeTracker()
    background = BackgroundSync(lambda: syncer_of(tracker), every=0.01)
    background.watch([bad, good])
    background.close()
    assert background.problem is not None
    assert "trial.json" in background.problem
    assert "random@0" in tracker.content()
    with pytest.raises(StoreError):
        syncer_of(tracker).sync_run(bad)
