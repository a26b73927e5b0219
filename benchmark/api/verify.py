"""Does the same question give the same answer? Twice, in two processes, and once across a kill and a resume.

Three runs, each with its own folder and its own cache of trainings, so that nothing is taken over. The kill comes
right after the first cycle was told, or inside the second one; the resumed run must equal the others.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import ExecutorError
from benchmark.executors.base import JobLoop, Running
from benchmark.executors.jobs import Job, JobOutcome, guarded, outcome_of
from benchmark.executors.local.executor import Spawned
from benchmark.runs.events import CycleFinished, Environment, EpochFinished, Record
from benchmark.runs.store import Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.models import Trial
from benchmark.verdicts.determinism import Divergence, Level, divergence, level

ORDER = tuple(Level)
"""Levels of determinism, strongest first."""
OFTEN = 0.5
"""Seconds between saves inside a cycle, so that the kill finds something to resume."""


@dataclass(frozen=True)
class VerificationResult:
    """What one trial gave."""

    name: str
    repeated: Level
    """Between two runs in two processes."""
    resumed: Level
    """Between an uninterrupted run and one that was killed and resumed."""
    repeated_at: Divergence | None
    resumed_at: Divergence | None
    killed: bool
    """Whether the kill came before the end: a trial may be too quick for it."""

    @property
    def level(self) -> Level:
        """The weaker of the two."""
        return max(self.repeated, self.resumed, key=ORDER.index)


def shorten(trial: Trial, cycles: int) -> Trial:
    """The first cycles of a trial: what a whole one does up to there."""
    acquisition = trial.protocol.acquisition
    count = min(cycles, acquisition.cycles)
    budget = acquisition.budget if isinstance(acquisition.budget, int) else acquisition.budget[: count - 1]
    if budget == ():
        budget = 1  # one cycle buys nothing
    shorter = acquisition.model_copy(update={"cycles": count, "budget": budget})
    return trial.model_copy(update={"protocol": trial.protocol.model_copy(update={"acquisition": shorter})})


def verify_trials(
    trial: Trial, environment: Environment, template: Job, folder: Path, *, tolerance: float, metric: str = "accuracy",
    worker: str = "benchmark.worker", say: Callable[[str], None] = lambda _: None,
) -> VerificationResult:  # fmt: skip
    """Run a trial three times below `folder` and compare. `template` says how; its names and folders are replaced.

    Raises ExecutorError if a run does not finish.
    """
    records: dict[str, Record] = {}
    killed = False
    for name in ("first", "second", "resumed"):
        say(f"{template.name}: {name} run")
        job = _job(trial, environment, template, folder / name)
        if name == "resumed":
            killed = _run_and_kill(job, worker)
        records[name] = _run(job, worker)
    first = records["first"]
    return VerificationResult(
        name=template.name,
        repeated=level(records["second"], first, tolerance, metric),
        resumed=level(records["resumed"], first, tolerance, metric),
        repeated_at=divergence(records["second"], first),
        resumed_at=divergence(records["resumed"], first),
        killed=killed,
    )


def _job(trial: Trial, environment: Environment, template: Job, folder: Path) -> Job:
    """A job with a folder and a cache of its own; decoded images are shared, trainings are not."""
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    if template.cache.is_dir():
        for entry in template.cache.iterdir():
            if entry.name != "trainings":
                with suppress(FileExistsError):
                    (cache / entry.name).symlink_to(entry.resolve())
    out = Store(folder / "runs").create(trial, environment)
    return replace(template, trial_id=trial_id(trial), out=out, cache=cache, save_every=OFTEN)


def _drive(job: Job, worker: str, on_event: Callable[[Job, object], None], running: list[Running]) -> JobOutcome:
    def start(this: Job, time_limit: float | None) -> Running:
        running.append(Spawned(worker, this, guarded(this).argv(time_limit)))
        return running[-1]

    (outcome,) = JobLoop(start, outcome_of, on_event)([job], 1, None)
    return outcome


def _run(job: Job, worker: str) -> Record:
    outcome = _drive(job, worker, lambda *_: None, [])
    if outcome.state != "finished":
        log = "\n".join(outcome.log)
        raise ExecutorError(f"{job.name} did not finish: {outcome.message}\n{log}", remedy="mend that first")
    return check_record(job.out)


def _run_and_kill(job: Job, worker: str) -> bool:
    """Run a trial and kill it when it is under way beyond its first cycle's start; whether that was before its end."""
    running: list[Running] = []
    due = threading.Event()

    def watch(_: Job, event: object) -> None:
        late = isinstance(event, CycleFinished) or (isinstance(event, EpochFinished) and event.cycle > 0)
        if late and not due.is_set():
            due.set()
            running[0].kill()

    outcome = _drive(job, worker, watch, running)
    return outcome.message == f"killed by signal {signal.SIGKILL.value}"
