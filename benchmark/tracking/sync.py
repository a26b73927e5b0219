"""Writes run folders to a tracker so that the tracker can be lost, late or asked twice: it is only
a view of the files.

Experiment = suite, parent run = method in a profile and variant, child run = trial in an
environment. Metric times come from the events and runs are found by their identity, so syncing
twice, or after a crash in between, doubles nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark import files
from benchmark.errors import AlbenchError, StoreError
from benchmark.runs.store import Store, output_folder
from benchmark.spec.identity import digest
from benchmark.tracking.commits import find_commit
from benchmark.tracking.pages import NOTE, describe_experiment, view_states
from benchmark.tracking.run_history import (
    AREA,
    ARTIFACTS,
    FINAL,
    GAIN,
    HOSTS,
    Point,
    RunHistory,
    RunStateName,
    SyncedRun,
    cell_key,
    cell_name,
    cycle_points,
    record_tags,
    run_tags,
    trial_outcome,
    trial_params,
    verdict_note,
    verdict_table,
    verdict_tags,
)
from benchmark.tracking.synced_folders import SyncedFolder, SyncedFolders, stamp_files

STATUS: dict[RunStateName, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
    "interrupted": "KILLED",
}
"""MLflow's words for where a trial stands; it has none for what can be resumed (the tag
`albench.state` has)."""


CREDENTIALS = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, then run `albench sync`; no result "
    "is lost"
)
"""Remedy where a tracker refuses who asks."""
SHOWN = ("mlflow.parentRunId", "mlflow.runName")
"""Tags of MLflow's own that say where its pages show a run, and under which name."""
SHARED = (
    "model",
    "mlflow.source.type",
    "mlflow.source.git.commit",
    "albench.data",
    "albench.data_digest",
)
"""Tags that a parent has from its trials."""
DIGITS = 4
"""Decimals of means on parents: MLflow's list shows every digit that is there, in columns of nine
characters."""
DESCRIBED = "2"
"""Version of what is written once for each run: parameters, data set, source."""
VERDICTS = "verdicts/verdicts.json"
SHOWN_AS_TABLE = json.dumps([{"path": VERDICTS, "type": "table"}])
"""Value of the tag by which MLflow's pages know that a file is a table."""


class TrackerError(AlbenchError):
    """The tracker cannot be reached, or refuses what is sent."""


class Tracker(Protocol):
    """What is needed of a tracker. Runs have MLflow's shape: `info.run_id`, `info.status`,
    `data.tags`, ..."""

    def lock(self) -> AbstractContextManager[None]:
        """Held while looking for something and creating it."""
        ...

    def experiment(self, name: str) -> str:
        """Id of an experiment; created if it is not there, brought back if it was deleted or
        renamed."""
        ...

    def annotate(
        self, experiment: str, tags: Mapping[str, str], first: Mapping[str, str] | None = None
    ) -> None:
        """Tags of an experiment, and those that it gets only where it has none of the name."""
        ...

    def search(self, experiment: str, tags: Mapping[str, str]) -> list[Any]:
        """Active runs with these tags (none: all), always in the same order."""
        ...

    def get(self, run_id: str) -> Any:
        """A run as it is now."""
        ...

    def create(
        self, experiment: str, name: str, started: int | None, tags: Mapping[str, str]
    ) -> Any:
        """A new run; `started` in milliseconds since the epoch."""
        ...

    def delete(self, run_id: str) -> None:
        """Take a run out of every view."""
        ...

    def describe(
        self, run_id: str, params: Mapping[str, str], dataset: tuple[str, str] | None
    ) -> None:
        """Parameters, and the data set by name and sha256. Repeating the same changes nothing."""
        ...

    def log(self, run_id: str, metrics: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Metrics, then tags. A metric that is there already (same time and step) is not
        doubled."""
        ...

    def put(self, run: Any, source: Path, name: str) -> None:
        """A file under its name, over what was there."""
        ...

    def set_status(self, run_id: str, status: str, ended: int | None) -> None:
        """Status, and for all but RUNNING when it ended (milliseconds since the epoch)."""
        ...


@dataclass(frozen=True)
class SyncResult:
    """What `sync` did: run folders written, already up to date, not begun, and what went wrong with
    others."""

    written: int
    unchanged: int
    empty: int
    problems: tuple[str, ...]


class Listing:
    """All active runs of one experiment, asked for at once."""

    def __init__(self, runs: Sequence[Any]) -> None:
        self.by_id = {run.info.run_id: run for run in runs}
        self.trials: dict[tuple[str, str], list[Any]] = {}
        self.cells: dict[str, list[Any]] = {}
        for run in runs:
            held = run.data.tags
            if "albench.trial_id" in held:
                self.trials.setdefault(
                    (held["albench.trial_id"], held.get("albench.env_id", "")), []
                ).append(run)
            elif "albench.cell" in held:
                self.cells.setdefault(held["albench.cell"], []).append(run)


class RunSyncer:
    """Brings a tracker up to run folders. Not thread-safe; several may write to one tracker.

    `connect` makes the tracker for a runs folder when it is first needed; `where` names it in
    errors.
    """

    def __init__(self, connect: Callable[[Path], Tracker], where: str = "") -> None:
        self._connect, self._where = connect, where
        self._tracker: Tracker | None = None
        self.listing = False
        """Whether many runs will be asked for: then each experiment is asked once for all of
        them."""
        self._histories: dict[Path, RunHistory] = {}
        self._forget()

    def sync_run(self, run_dir: Path, *, live: bool = False) -> SyncedRun:
        """Write what the tracker does not have yet. `live`: somebody is known to work on the trial.

        Raises TrackerError for the tracker, StoreError for the folder. Can be repeated after
        either.
        """
        folder = run_dir.resolve()
        history = self._histories.get(folder) or RunHistory(folder)
        self._histories[folder] = history
        history.update()
        if not history.started:
            return SyncedRun(None, False)
        state, record = (
            history.state(live=live),
            files.stat_file(output_folder(folder) / "record.json"),
        )
        mark = (history.version, state, 0 if record is None else record.st_mtime_ns)
        if self._marks.get(folder) == mark:
            return SyncedRun(state, False)
        with self._use(folder.parents[1]) as tracker:
            wrote = self._write(tracker, folder, history, state)
        self._marks[folder] = mark
        return SyncedRun(state, wrote)

    def seal(self, run_dir: Path) -> str:
        """Digest of what the tracker holds of a run folder that this object has just brought up to
        date; empty if it has not."""
        child = self._children.get(run_dir.resolve())
        return "" if child is None else _content_digest(child)

    def holds(self, run_dir: Path, mark: SyncedFolder) -> bool:
        """Whether the tracker still holds what it did when the mark was made. Raises TrackerError.

        Asks each experiment once: what people changed by hand is found without reading the run
        again.
        """
        with self._use(run_dir.parents[1]) as tracker:
            experiment = self._experiment(tracker, mark.suite)
            listed = self._listed(tracker, experiment)
            trial, env = run_dir.parent.name, run_dir.name
            if experiment not in self._sealed:
                self._sealed[experiment] = {
                    (names[0][: len(trial)], names[1][: len(env)]): [
                        _content_digest(run) for run in runs
                    ]
                    for names, runs in listed.trials.items()
                    if all(run.data.tags.get("mlflow.parentRunId") in listed.by_id for run in runs)
                }
            return self._sealed[experiment].get((trial, env)) == [mark.seal]

    def close(self) -> None:
        """Give the parent runs the state of their children. Raises TrackerError."""
        if not self._parents and not self._listings:
            return
        with self._use(Path()) as tracker:
            for experiment, listed in self._listings.items():
                self._mend_parents(tracker, experiment, listed)
            for (experiment, _), parent in self._parents.items():
                _update_parent(tracker, experiment, parent)
            for suite, experiment in self._experiments.items():
                tracker.annotate(
                    experiment, view_states(), {NOTE: describe_experiment(suite, experiment)}
                )
            self._listings.clear()
            self._sealed.clear()

    def publish(
        self,
        runs: Path,
        suite: str,
        profile: str,
        variant: str,
        rows: Sequence[Mapping[str, Any]],
        figures: Mapping[str, Path],
        methods: Collection[str] | None = None,
        lead: str = "",
        about: str = "",
    ) -> None:
        """Put verdicts on the parent runs: those of a `method` on its own, others on every one; and
        on the experiment what it is (`about`). Raises TrackerError."""
        shared = [row for row in rows if not row.get("method")]
        named = (
            [str(row["method"]) for row in rows if row.get("method")]
            if methods is None
            else methods
        )
        with self._use(runs) as tracker, tempfile.TemporaryDirectory() as temporary:
            table, reports = Path(temporary) / Path(VERDICTS).name, dict[str, str]()
            experiment = tracker.experiment(suite)
            for method in dict.fromkeys(named):
                own = [row for row in rows if row.get("method") == method]
                run_id = self._parent(tracker, experiment, suite, (method, profile, variant), None)
                reports = reports or {method: run_id}
                extra = {
                    "mlflow.note.content": verdict_note(own + shared, lead),
                    "mlflow.loggedArtifacts": SHOWN_AS_TABLE,
                }
                before = tracker.get(run_id)
                stale = {
                    name: "" for name in before.data.tags if name.startswith("albench.verdict")
                }
                gains = [
                    row["difference"]
                    for row in own
                    if str(row.get("what", "")).startswith("gain over")
                ]
                time = max(before.info.end_time or 0, before.info.start_time or 0)
                gain = [
                    Point(GAIN, round(float(value), DIGITS), time, 0)
                    for value in gains
                    if value is not None
                ]
                tracker.log(run_id, gain, stale | verdict_tags(own) | extra)
                table.write_text(
                    json.dumps(verdict_table(own + shared), default=str), encoding="utf-8"
                )
                parent = tracker.get(run_id)
                tracker.put(parent, table, VERDICTS)
                for name, path in figures.items():
                    tracker.put(parent, path, f"verdicts/{name}{path.suffix}")
            note = describe_experiment(suite, experiment, about or lead, reports)
            tracker.annotate(experiment, view_states() | {NOTE: note})

    def check(self, runs: Path) -> None:
        """Make sure that the tracker answers. Raises TrackerError."""
        with self._use(runs):
            pass

    # -------------------------------------------------------------------------------------- one run

    def _write(
        self, tracker: Tracker, folder: Path, history: RunHistory, state: RunStateName
    ) -> bool:
        child = self._children.get(folder) or self._child(tracker, history)
        parent = self._parent_of(tracker, history)
        count, _, held = child.data.tags.get("albench.cycles", "0 ").partition(" ")
        if (
            not count.isdecimal()
            or int(count) > len(history.cycles)
            or (int(count) and history.prefix(int(count)) != held)
        ):
            tracker.delete(
                child.info.run_id
            )  # begun again, or reported differently: metrics cannot be taken back
            self._listings.clear()
            child, count = self._child(tracker, history), "0"
        record, problem = history.record() if state == "finished" else (None, "")
        shown = {
            "mlflow.parentRunId": parent,
            "mlflow.runName": _run_name(history),
            "albench.kind": "trial",
        }
        final = run_tags(history, state) | record_tags(record, problem) | shown
        if final.items() <= child.data.tags.items() and STATUS[state] == child.info.status:
            self._children[folder] = child
            return False
        run_id = child.info.run_id
        content = record.data.digest if record is not None else history.trial.data_digest
        described = f"{DESCRIBED} {content or ''}".rstrip()
        if child.data.tags.get("albench.described") != described:
            dataset = (history.trial.protocol.data.name, content) if content is not None else None
            with tracker.lock():  # a data set is created where it is first used
                tracker.describe(run_id, trial_params(history.trial), dataset)
            commit = find_commit(record.environment.code) if record is not None else ""
            known = {"mlflow.source.git.commit": commit} if commit else {}
            tracker.log(run_id, (), {"albench.described": described} | known)
        for place, done in enumerate(history.cycles[int(count) :], start=int(count) + 1):
            tracker.log(
                run_id,
                cycle_points(done, history.trial)[0],
                {"albench.cycles": f"{place} {history.prefix(place)}"},
            )
        for name in ARTIFACTS if state != "running" else ():
            source = folder / name if name in HOSTS else output_folder(folder) / name
            if files.stat_file(source) is not None:
                tracker.put(child, source, name)
        found = trial_outcome(history) if state == "finished" and history.cycles else []
        final |= {f"albench.{point.key}": repr(point.value) for point in found}
        tracker.log(run_id, found, final)  # late: a crash before it has everything done again
        tracker.set_status(run_id, STATUS[state], history.ended)
        self._children[folder] = tracker.get(run_id)
        return True

    def _child(self, tracker: Tracker, history: RunHistory) -> Any:
        experiment = self._experiment(tracker, history.trial.suite)
        parent = self._parent_of(tracker, history)
        if self.listing:
            known = self._listed(tracker, experiment).trials.get(
                (history.trial_id, history.env_id), []
            )
            if len(known) == 1:
                return known[0]
        identity = {"albench.trial_id": history.trial_id, "albench.env_id": history.env_id}
        labels = identity | {"albench.kind": "trial", "mlflow.parentRunId": parent}
        with tracker.lock():
            found = tracker.search(experiment, identity)
            for double in found[
                1:
            ]:  # other machines may have begun at once; the folder holds everything
                tracker.delete(double.info.run_id)
            if found:
                return found[0]
            return tracker.create(experiment, _run_name(history), history.started, labels)

    def _mend_parents(self, tracker: Tracker, experiment: str, listed: Listing) -> None:
        """Give parents of runs that were not touched what somebody changed on them by hand."""
        for key, runs in listed.cells.items():
            parent = runs[0]
            if (experiment, key) in self._parents:
                continue
            mine = [
                run
                for found in listed.trials.values()
                for run in found
                if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
            ]
            if not mine:
                continue
            held = mine[0].data.tags
            place = (held["albench.method"], held["albench.profile"], held["albench.variant"])
            wanted = _parent_tags(held["albench.suite"], place)
            if not wanted.items() <= parent.data.tags.items():
                tracker.log(parent.info.run_id, (), wanted)
            if parent.info.status != _parent_status(mine):
                _update_parent(tracker, experiment, parent.info.run_id)

    def _parent_of(self, tracker: Tracker, history: RunHistory) -> str:
        trial = history.trial
        place = (trial.method_name, trial.profile, trial.variant)
        return self._parent(
            tracker, self._experiment(tracker, trial.suite), trial.suite, place, history.started
        )

    def _experiment(self, tracker: Tracker, suite: str) -> str:
        if suite not in self._experiments:
            self._experiments[suite] = tracker.experiment(suite)
        return self._experiments[suite]

    def _listed(self, tracker: Tracker, experiment: str) -> Listing:
        if experiment not in self._listings:
            self._listings[experiment] = Listing(tracker.search(experiment, {}))
        return self._listings[experiment]

    def _parent(
        self,
        tracker: Tracker,
        experiment: str,
        suite: str,
        place: tuple[str, str, str],
        started: int | None,
    ) -> str:
        key = cell_key(*place)
        if (experiment, key) not in self._parents:
            wanted = _parent_tags(suite, place)
            found = self._listed(tracker, experiment).cells.get(key, []) if self.listing else []
            with tracker.lock():
                found = found or tracker.search(experiment, {"albench.cell": key})
                run = (
                    found[0]
                    if found
                    else tracker.create(experiment, cell_name(*place), started, wanted)
                )
            if not wanted.items() <= run.data.tags.items():  # edited by hand
                tracker.log(run.info.run_id, (), wanted)
            self._parents[experiment, key] = run.info.run_id
        return self._parents[experiment, key]

    # ---------------------------------------------------------------------------------- the tracker

    @contextmanager
    def _use(self, runs: Path) -> Iterator[Tracker]:
        """Every failure of the tracker is a TrackerError, after which nothing is taken for
        granted."""
        try:
            if self._tracker is None:
                self._tracker = self._connect(runs)
            yield self._tracker
        except Exception as error:
            self._forget()
            if isinstance(error, AlbenchError):
                raise
            said = next(
                (line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__,
            )
            refused = any(code in said for code in ("error code 401", "error code 403"))
            remedy = (
                CREDENTIALS if refused else "fix it, then run `albench sync`; no result is lost"
            )
            raise TrackerError(
                f"the tracker failed: {said[:300]}", where=self._where, remedy=remedy
            ) from error

    def _forget(self) -> None:
        """What was learnt from the tracker."""
        self._children: dict[Path, Any] = {}
        self._parents: dict[tuple[str, str], str] = {}
        self._experiments: dict[str, str] = {}
        self._listings: dict[str, Listing] = {}
        self._sealed: dict[str, dict[tuple[str, str], list[str]]] = {}
        self._marks: dict[Path, tuple[object, ...]] = {}


def _content_digest(run: Any) -> str:
    """Digest of what syncing writes into a run's tags, and its status."""
    ours = {
        name: value
        for name, value in run.data.tags.items()
        if name.startswith("albench.") or name in SHOWN
    }
    return digest([ours, run.info.status])[:32]


def _run_name(history: RunHistory) -> str:
    return f"{history.trial.method_name}@{history.trial.seed}"


def _parent_tags(suite: str, place: tuple[str, str, str]) -> dict[str, str]:
    """Tags of a parent run."""
    labels = {"kind": "cell", "cell": cell_key(*place), "suite": suite}
    labels |= dict(zip(("method", "profile", "variant"), place, strict=True))
    tags = {f"albench.{name}": value for name, value in labels.items()}
    return tags | {"mlflow.runName": cell_name(*place), "method": place[0]}


def _parent_status(children: Sequence[Any]) -> str:
    """Status of a parent: the first of these that a child has."""
    states = {run.info.status for run in children}
    return next((name for name in ("RUNNING", "FAILED", "KILLED") if name in states), "FINISHED")


def _update_parent(tracker: Tracker, experiment: str, parent: str) -> None:
    """Give a parent the state of its trials, and what came out of those that are finished: means,
    and on how many."""
    found = tracker.search(experiment, {"mlflow.parentRunId": parent})
    finished = [run for run in found if run.info.status == "FINISHED"]
    ended = max((run.info.end_time or 0 for run in found), default=0)
    means: dict[str, float] = {}
    for name in (FINAL, AREA):
        held = [run.data.tags.get(f"albench.{name}") for run in finished]
        values = [float(text) for text in held if text]
        means |= {name: round(sum(values) / len(values), DIGITS)} if values else {}
    if means:
        tags = finished[0].data.tags
        shared = {name: tags[name] for name in SHARED if name in tags}
        if "albench.data" in tags:
            dataset = (tags["albench.data"], tags["albench.data_digest"])
            place = {name: tags[f"albench.{name}"] for name in ("profile", "variant")}
            with tracker.lock():
                tracker.describe(
                    parent, place | {name: tags[name] for name in ("method", "model")}, dataset
                )
        points = [
            Point(name, value, ended, 0)
            for name, value in {**means, "trials": float(len(finished))}.items()
        ]
        tracker.log(
            parent,
            points,
            shared | {"mlflow.source.name": tags["mlflow.source.name"].partition("@")[0]},
        )
    tracker.set_status(parent, _parent_status(found), ended or None)


def sync_run_folders(
    syncer: RunSyncer,
    runs: Path,
    suites: Collection[str],
    progress: Callable[[int, int], None],
    marks: SyncedFolders | None = None,
) -> SyncResult:
    """Sync every run folder (of these suites, or of all); see `tracking.sync`."""
    folders = list(Store(runs).folders())
    syncer.listing = True
    written = unchanged = empty = 0
    problems: list[str] = []
    for place, folder in enumerate(folders):
        progress(place, len(folders))
        mark = None if marks is None else marks.get(folder)
        if mark is not None and suites and mark.suite not in suites:
            continue
        if (
            marks is not None
            and mark is not None
            and (marks.untouched or syncer.holds(folder, mark))
        ):
            unchanged += 1
            continue
        try:
            suite = RunHistory(folder).trial.suite
            if suites and suite not in suites:
                continue
            seen = stamp_files(folder)
            done = syncer.sync_run(folder)
        except StoreError as error:
            problems.append(str(error).splitlines()[0])
            continue
        written = written + done.wrote
        unchanged = unchanged + (not done.wrote and done.state is not None)
        empty = empty + (done.state is None)
        if marks is not None:
            ended = done.state in ("finished", "failed", "stopped")
            marks.put(folder, SyncedFolder(suite, seen, syncer.seal(folder)) if ended else None)
    syncer.close()
    if marks is not None and (not marks.untouched or written):
        marks.save()
    progress(len(folders), len(folders))
    return SyncResult(written, unchanged, empty, tuple(problems))
