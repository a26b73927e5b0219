"""Where results live: `runs/<trial id>/<environment id>/`. What a folder's state is gets derived from it, never stored.

trial.json     what is asked                  record.json   the outcome, only when finished
events.jsonl   what happened, line by line    indices.npz   index sets, only when finished
state/         resumable, gone when finished  lease         locked by the process that works here
worker.log     its output
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark import events
from benchmark.errors import StoreError
from benchmark.events import CycleDone, Environment, EpochDone, Failed, Finished, Record, Started
from benchmark.lease import holder
from benchmark.spec.identity import SHORT, trial_id
from benchmark.spec.models import Trial

ENV_SHORT = 12
"""Hex digits of an environment's id in folder names."""
TAIL = 65536
"""Bytes from the end of events.jsonl in which the last events are looked for."""

State = Literal["finished", "running", "resumable", "failed", "new"]


@dataclass(frozen=True)
class RunStatus:
    """What a run folder says about its trial."""

    state: State
    cycles: int = 0
    """Cycles that need not be done again."""
    note: str = ""
    """Who holds it, why it failed, or why its record is refused."""
    record: Record | None = None


@dataclass(frozen=True)
class Refused:
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
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the runs folder cannot be written: {error.strerror}",
                where=str(self.root),
                remedy="give a writable folder with --runs or ALBENCH_RUNS, or mend its permissions",
            ) from error

    def run_dir(self, trial: Trial, env: Environment | str) -> Path:
        """Folder of a trial in an environment (or environment id)."""
        env_id = env if isinstance(env, str) else env.env_id
        return self.root / trial_id(trial)[:SHORT] / env_id[:ENV_SHORT]

    def create(self, trial: Trial, env: Environment | str) -> Path:
        """The run folder with its trial.json. Raises StoreError if it cannot be made or holds another trial."""
        folder = self.run_dir(trial, env)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "trial.json"
            if not path.exists() or path.read_text(encoding="utf-8") != _pretty(trial):
                events.write_json(path, trial)
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror}", where=str(folder), remedy="free space, or mend its permissions"
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
        if owner := holder(folder):
            return RunStatus("running", finished_cycles(folder), owner)
        last = last_event(folder)
        failure = f"{last.kind}: {last.message}".splitlines()[0] if isinstance(last, Failed) else ""
        if isinstance(last, Started | EpochDone | CycleDone):
            failure = "ended without a word: killed, or the machine went down"
        if has_state(folder):
            return RunStatus("resumable", finished_cycles(folder), note or failure)
        return RunStatus("failed" if failure else "new", 0, note or failure)

    def records(
        self, trials: Iterable[Trial] | None = None, on_refused: Callable[[Refused], None] = lambda _: None
    ) -> list[Record]:
        """Finished records, of these trials or of all; refused ones are told to `on_refused` and left out.

        Trials are matched by what they ask, whatever data they were made from (the record says which), so that records can
        be read where the data are not. A record is returned with the asking trial's names: they are not its identity.
        """
        asked = None if trials is None else {question(trial): trial for trial in trials}
        found: list[Record] = []
        for folder in self.folders():
            try:
                record = check_record(folder)
            except FileNotFoundError:
                continue
            except ValueError as error:
                on_refused(Refused(folder / "record.json", str(error)))
                continue
            if asked is None:
                found.append(record)
            elif (trial := asked.get(question(record.trial))) is not None:
                named = trial.model_copy(update={"data_digest": record.trial.data_digest})
                found.append(record.model_copy(update={"trial": named}))
        return found

    def folders(self) -> Iterator[Path]:
        """All run folders, in the order of their names."""
        if not self.root.is_dir():
            return
        try:
            for outer in sorted(path for path in self.root.iterdir() if _hex(path, SHORT)):
                yield from sorted(path for path in outer.iterdir() if _hex(path, ENV_SHORT))
        except OSError as error:
            raise StoreError(f"cannot be read: {error}", where=str(self.root), remedy="mend its permissions") from error

    def clean(self, *, dry: bool = False) -> list[Path]:
        """Remove what interrupted writes left and the state of finished runs; folders that are worked in are left alone."""
        removed: list[Path] = []
        for folder in self.folders():
            if holder(folder):
                continue
            leftovers = [path for path in folder.rglob("*.partial") if path.is_file()]
            if has_state(folder) and _is_finished(folder):
                leftovers.append(folder / "state")
            removed += leftovers
        removed += [path for path in self.root.glob("*.partial") if path.is_file()]
        for path in [] if dry else removed:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return removed


def question(trial: Trial) -> str:
    """Identity of a trial apart from the content of its data."""
    return trial_id(trial.model_copy(update={"data_digest": None}))


# ---------------------------------------------------------------------------------------------------- one run folder


def check_record(folder: Path) -> Record:
    """The record of a run folder. Raises FileNotFoundError without one, ValueError if it is not to be believed."""
    path = folder / "record.json"
    try:
        record = events.read_record(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"is not a record: {str(error).splitlines()[0]}") from error
    if record.trial_id != trial_id(record.trial):
        raise ValueError("its trial_id is not the identity of its own trial")
    if record.env_id != record.environment.env_id:
        raise ValueError("its env_id is not the identity of its own environment")
    if (folder.parent.name, folder.name) != (record.trial_id[:SHORT], record.env_id[:ENV_SHORT]):
        raise ValueError("it lies in the folder of another trial or environment")
    if record.trial.data_digest not in (None, record.data.digest):
        raise ValueError("it was made from other data than its trial names")
    if [cycle.cycle for cycle in record.cycles] != list(range(record.trial.protocol.acquisition.cycles)):
        raise ValueError("its cycles are not those of its protocol")
    last = last_event(folder)
    if isinstance(last, Finished) and last.digest not in record.digests:
        raise ValueError("its content differs from the digest in the events")
    if isinstance(last, Finished) and last.file not in ("", hashlib.sha256(path.read_bytes()).hexdigest()):
        raise ValueError("its bytes differ from the file that the events tell of")
    return record


def has_state(folder: Path) -> bool:
    """Whether something can be resumed."""
    return any((folder / "state").glob("*.state"))


def last_event(folder: Path) -> Any:
    """The newest event of a run, or None."""
    path = folder / "events.jsonl"
    try:
        start = max(0, path.stat().st_size - TAIL)
    except OSError:
        return None
    return max(events.read(path, start), key=lambda pair: pair[1], default=(None, 0))[0]


def finished_cycles(folder: Path) -> int:
    """Cycles that the events call done."""
    done = {event.result.cycle for event, _ in events.read(folder / "events.jsonl") if isinstance(event, CycleDone)}
    return len(done)


def _is_finished(folder: Path) -> bool:
    try:
        check_record(folder)
    except (FileNotFoundError, ValueError):
        return False
    return True


def _pretty(trial: Trial) -> str:
    return trial.model_dump_json(indent=1) + "\n"


def _hex(path: Path, length: int) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{length}}}", path.name) is not None and path.is_dir()
