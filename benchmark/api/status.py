"""What the runs folder holds, who works in it, and what may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import files
from benchmark.api.selection import parse_selectors
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.runs import events
from benchmark.runs.events import CycleFinished
from benchmark.runs.lock import lock_owner
from benchmark.runs.store import RunStatus, Store, data_free_id, output_folder
from benchmark.spec.selectors import Selection, Selector
from benchmark.spec.suite import Trial


@dataclass(frozen=True)
class Run:
    """A run folder: its trial, its state, how far it is."""

    folder: Path
    trial: Trial
    status: RunStatus
    last: CycleFinished | None
    """The last cycle that was finished."""
    last_seen: float | None
    """When its worker last reported something, in seconds since the epoch."""


@dataclass(frozen=True)
class Cleaning:
    """What was removed, or would be."""

    removed: Sequence[Path]
    in_use: int
    """Runs that were left alone because somebody works in them."""


def status(
    selectors: str | Selector | Sequence[str | Selector] | Selection = (),
    workspace: Workspace | None = None,
) -> list[Run]:
    """Every run in the runs folder, or those that match a selector, or those of the trials of a
    selection.

    Raises UsageError for text that is not a selector, UsageError or SuiteError for a selection that
    names nothing.
    """
    workspace = workspace or Workspace()
    is_meant = _make_matcher(selectors, workspace)
    store, found = Store(workspace.runs), []
    for folder in store.folders():
        trial = _read_trial(folder)
        if trial is None or not is_meant(trial):
            continue
        known = store.status_of(folder, trial)
        seen = files.stat_file(output_folder(folder) / "events.jsonl")
        last = _last_cycle(folder) if known.cycles else None
        found.append(Run(folder, trial, known, last, None if seen is None else seen.st_mtime))
    return found


def _make_matcher(
    selectors: str | Selector | Sequence[str | Selector] | Selection, workspace: Workspace
) -> Callable[[Trial], bool]:
    """Whether a trial is meant."""
    if isinstance(selectors, Selection):
        asked = {data_free_id(item.trial) for item in selectors.trials(workspace.suites)}
        return lambda trial: data_free_id(trial) in asked
    wanted = parse_selectors(selectors)
    return lambda trial: not wanted or any(selector.matches(trial) for selector in wanted)


def _read_trial(folder: Path) -> Trial | None:
    try:
        return Trial.model_validate_json(files.read(folder / "trial.json"))
    except (OSError, ValueError):
        return None


def _last_cycle(folder: Path) -> CycleFinished | None:
    found = (event for event, _ in events.read_events(output_folder(folder) / "events.jsonl"))
    cycles = (event for event in found if isinstance(event, CycleFinished))
    return max(cycles, key=lambda event: event.result.cycle, default=None)


def clean(workspace: Workspace | None = None, *, dry_run: bool = False) -> Cleaning:
    """Remove what interrupted writes left and the saved state of finished runs. Results and
    unfinished work stay.

    Raises UsageError where there is no runs folder.
    """
    workspace = workspace or Workspace()
    if not workspace.runs.exists():
        raise UsageError(f"there is no runs folder {workspace.runs}", remedy="give it with --runs")
    store = Store(workspace.runs)
    busy = sum(bool(lock_owner(folder)) for folder in store.folders())
    return Cleaning(store.clean(dry=dry_run), busy)
