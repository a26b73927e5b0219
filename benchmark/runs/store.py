"""Where results live: `runs/<trial id>/<environment id>/`. What a folder's state is gets derived
from it, never stored.

trial.json     what is asked                  record.json   the outcome, only when finished
events.jsonl   what happened, line by line    indices.npz   index sets, only when finished
state/         resumable, gone when finished  lease         locked by the process that works here
worker.log     its output

A container gets none of these but a folder of its own, `work/`: there lie the events, the state,
the indices and the record that it writes, while trial.json, lease and worker.log beside it are the
host's alone (`outputs`). Runs of processes, and of containers of earlier versions, have everything
in one folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from benchmark import files, text
from benchmark.errors import StoreError
from benchmark.runs import events
from benchmark.runs.events import (
    CycleFinished,
    Environment,
    EpochFinished,
    Record,
    Reused,
    TrialFailed,
    TrialFinished,
    TrialStarted,
)
from benchmark.runs.lock import lock_owner
from benchmark.spec.identity import SHORT, trial_id
from benchmark.spec.suite import Trial

ENV_SHORT = 12
"""Hex digits of an environment's id in folder names."""
TAIL = 65536
"""Bytes from the end of events.jsonl in which the last events are looked for."""

WORK = "work"
"""The part of a run folder that a container can write to."""

RunState = Literal["finished", "running", "resumable", "failed", "new"]


@dataclass(frozen=True)
class RunStatus:
    """What a run folder says about its trial."""

    state: RunState
    cycles: int = 0
    """Cycles that need not be done again."""
    note: str = ""
    """Who holds it, why it failed, or why its record is refused."""
    record: Record | None = None


@dataclass(frozen=True)
class RejectedRecord:
    """A record file that is not accepted, and why."""

    path: Path
    reason: str


class Store:
    """The runs folder. Reading an absent one finds nothing; `prepare` creates it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists() and not root.is_dir():
            raise StoreError("is not a folder", where=str(root), remedy="give a folder with --runs")

    def prepare(self) -> None:
        """Create the folder and make sure that it can be written. Raises StoreError."""
        probe = self.root / f".probe.{os.getpid()}.partial"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            files.open_writer(probe).close()
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the runs folder cannot be written: {error.strerror}",
                where=str(self.root),
                remedy="give a writable folder with --runs or ALBENCH_RUNS, or fix its permissions",
            ) from error

    def run_dir(self, trial: Trial, env: Environment | str) -> Path:
        """Folder of a trial in an environment (or environment id)."""
        env_id = env if isinstance(env, str) else env.env_id
        return self.root / trial_id(trial)[:SHORT] / env_id[:ENV_SHORT]

    def create(self, trial: Trial, env: Environment | str) -> Path:
        """The run folder with its trial.json. Raises StoreError if it cannot be made or holds
        another trial."""
        folder = self.run_dir(trial, env)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "trial.json"
            if not _has_content(path, _trial_json(trial).encode()):
                events.write_json(path, trial)
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror}",
                where=str(folder),
                remedy="free space, or fix its permissions",
            ) from error
        return folder

    def status(self, trial: Trial, env: Environment | str) -> RunStatus:
        """State of a trial in an environment."""
        return self.status_of(self.run_dir(trial, env), trial)

    def status_of(self, folder: Path, trial: Trial) -> RunStatus:
        """State of the trial in a run folder."""
        if not folder.is_dir():
            return RunStatus("new")
        note = ""
        try:
            record = check_record(folder)
            if record.trial_id == trial_id(trial):
                return RunStatus("finished", len(record.cycles), record=record)
            note = "the record belongs to another trial"
        except FileNotFoundError:
            pass
        except ValueError as error:
            note = f"record refused: {error}"
        if owner := lock_owner(folder):
            return RunStatus("running", finished_cycles(folder), owner)
        last = last_event(folder)
        failure = (
            text.clean_line(f"{last.kind}: {last.message}".splitlines()[0])
            if isinstance(last, TrialFailed)
            else ""
        )
        if isinstance(last, TrialStarted | EpochFinished | CycleFinished):
            failure = "stopped without reporting an error (killed, or the machine went down)"
        if has_state(folder):
            return RunStatus("resumable", finished_cycles(folder), note or failure)
        return RunStatus("failed" if note or failure else "new", 0, note or failure)

    def records(
        self,
        trials: Iterable[Trial] | None = None,
        on_refused: Callable[[RejectedRecord], None] = lambda _: None,
    ) -> list[Record]:
        """Finished records, of these trials or of all; refused ones are given to `on_refused` and
        left out.

        Trials are matched by what they ask, regardless of the data they were made from (the record
        says which), so that records can be read where the data are not. A record is returned with
        the asking trial's names: they are not its identity.
        """
        asked = None if trials is None else {data_free_id(trial): trial for trial in trials}
        found: list[Record] = []
        for folder in self.folders():
            try:
                record = check_record(folder)
            except FileNotFoundError:
                continue
            except ValueError as error:
                on_refused(RejectedRecord(folder / "record.json", str(error)))
                continue
            if asked is None:
                found.append(record)
            elif (trial := asked.get(data_free_id(record.trial))) is not None:
                named = trial.model_copy(update={"data_digest": record.trial.data_digest})
                found.append(record.model_copy(update={"trial": named}))
        return found

    def folders(self) -> Iterator[Path]:
        """All run folders, in the order of their names."""
        if not self.root.is_dir():
            return
        try:
            for outer in sorted(
                path for path in self.root.iterdir() if _is_hex_folder(path, SHORT)
            ):
                yield from sorted(
                    path for path in outer.iterdir() if _is_hex_folder(path, ENV_SHORT)
                )
        except OSError as error:
            raise StoreError(
                f"cannot be read: {error}", where=str(self.root), remedy="fix its permissions"
            ) from error

    def clean(self, *, dry: bool = False) -> list[Path]:
        """Remove what interrupted writes left and the state of finished runs; folders that are
        worked in are left alone."""
        removed: list[Path] = []
        for folder in self.folders():
            if lock_owner(folder):
                continue
            leftovers = files.list_files(folder, ".partial")
            if has_state(folder) and _is_finished(folder):
                leftovers.append(output_folder(folder) / "state")
            removed += leftovers
            for path in [] if dry else leftovers:
                files.remove(path, base=folder)
        leftovers = [self.root / name for name in files.list_names(self.root, ".partial")]
        for path in [] if dry else leftovers:
            files.remove(path, base=self.root)
        return removed + leftovers


def data_free_id(trial: Trial) -> str:
    """Identity of a trial apart from the content of its data."""
    return trial_id(trial.model_copy(update={"data_digest": None}))


# ----------------------------------------------------------------------------------- one run folder


def output_folder(folder: Path) -> Path:
    """Where a run's worker writes: the run folder, or the part of it that a container sees."""
    work = folder / WORK
    return work if files.is_folder(work) else folder


def check_record(folder: Path) -> Record:
    """The record of a run folder. Raises FileNotFoundError without one, ValueError if it is not to
    be believed."""
    record = _sound_record(folder)
    if record.reused is not None:
        made, when = _first_weights(folder.parents[1], record.reused)
        # What its maker did again later need not be the same everywhere (some GPUs); what it did
        # before must be.
        if made not in ("", record.reused.weights) and when <= record.finished:
            raise ValueError(
                f"its first training is not the one that trial {record.reused.trial_id[:SHORT]} "
                "made and that it took over"
            )
    return record


def _sound_record(folder: Path) -> Record:
    """`check_record` by what lies in the folder itself."""
    out = output_folder(folder)
    record = _read_sound(
        folder, out, _file_signature(out / "record.json"), _file_signature(out / "events.jsonl")
    )
    if out != folder and (found := files.describe_irregular(out)):
        raise ValueError(
            f"what lies beside it was not left by a worker of ours: {text.clean_line(found)}"
        )
    return record


def _file_signature(path: Path) -> tuple[int, ...]:
    """What changes with every write to a file; a program cannot set the time of the change of its
    inode."""
    found = files.stat_file(path)
    return (
        () if found is None else (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    )


@lru_cache(maxsize=8192)
def _read_sound(
    folder: Path, out: Path, record_seen: tuple[int, ...], events_seen: tuple[int, ...]
) -> Record:
    """A record that its own events seal. Verbs ask for it several times: it is read once while both
    files stay as they were seen."""
    try:
        content = files.read(out / "record.json")
        record = events.parse_record(content)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(
            f"is not a record: {text.clean_line(str(error).splitlines()[0])}"
        ) from error
    if record.trial_id != trial_id(record.trial):
        raise ValueError("its trial_id is not the identity of its own trial")
    if record.env_id != record.environment.env_id:
        raise ValueError("its env_id is not the identity of its own environment")
    if (folder.parent.name, folder.name) != (record.trial_id[:SHORT], record.env_id[:ENV_SHORT]):
        raise ValueError("it lies in the folder of another trial or environment")
    if record.trial.data_digest not in (None, record.data.digest):
        raise ValueError("it was made from other data than its trial names")
    if [cycle.cycle for cycle in record.cycles] != list(
        range(record.trial.protocol.acquisition.cycles)
    ):
        raise ValueError("its cycles are not those of its protocol")
    if record.reused is not None and record.cycles[0].weights != record.reused.weights:
        raise ValueError("its first weights are not those of the training that it took over")
    last = last_event(folder)
    if not isinstance(last, TrialFinished):
        raise ValueError(
            "its end is not among the events: without it, nothing shows that the record is as it "
            "was written"
        )
    if last.digest not in record.digests:
        raise ValueError("its content differs from the digest in the events")
    if last.file not in ("", hashlib.sha256(content).hexdigest()):
        raise ValueError("its bytes differ from the file that the events name")
    return record


def _first_weights(runs: Path, made: Reused) -> tuple[str, float]:
    """Digest of the first cycle's weights as its maker recorded it, and when; empty where the maker
    is not in this store."""
    folder = runs / made.trial_id[:SHORT] / made.env_id[:ENV_SHORT]
    path = output_folder(folder) / "events.jsonl"
    seen = _file_signature(path)
    return _weights_told(path, seen) if seen else ("", 0.0)


@lru_cache(maxsize=4096)
def _weights_told(path: Path, seen: tuple[int, ...]) -> tuple[str, float]:
    """One training is taken over by many trials: its maker is read once while its file stays as it
    is."""
    read = [
        event
        for event, _ in events.read_events(path)
        if isinstance(event, CycleFinished) and event.result.cycle == 0
    ]
    return (read[-1].result.weights, read[-1].time) if read else ("", 0.0)


def has_state(folder: Path) -> bool:
    """Whether something can be resumed."""
    return bool(files.list_names(output_folder(folder) / "state", ".state"))


def last_event(folder: Path) -> Any:
    """The newest event of a run, or None."""
    path = output_folder(folder) / "events.jsonl"
    found = files.stat_file(path)
    if found is None:
        return None
    start = max(0, found.st_size - TAIL)
    return max(events.read_events(path, start), key=lambda pair: pair[1], default=(None, 0))[0]


def finished_cycles(folder: Path) -> int:
    """Cycles that the events call done."""
    read = events.read_events(output_folder(folder) / "events.jsonl")
    return len({event.result.cycle for event, _ in read if isinstance(event, CycleFinished)})


def _is_finished(folder: Path) -> bool:
    try:
        check_record(folder)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return files.read(path) == content
    except OSError:
        return False


def _trial_json(trial: Trial) -> str:
    return trial.model_dump_json(indent=1) + "\n"


def _is_hex_folder(path: Path, length: int) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{length}}}", path.name) is not None and path.is_dir()
