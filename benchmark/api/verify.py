"""Does the same question give the same answer? Twice, in two processes, and once across a kill and
a resume.

Three runs, each with its own folder and its own cache of trainings, so that nothing is taken over.
The kill comes right after the event of the first cycle, or inside the second one; the resumed run
must equal the others.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.api.plan import PlanOptions, build_plan, prepare_environment
from benchmark.api.run import jobs_of
from benchmark.api.selection import Selectors, as_selection
from benchmark.api.workspace import Workspace
from benchmark.errors import ExecutorError, Exit
from benchmark.executors.base import JobLoop, Running
from benchmark.executors.jobs import Job, JobOutcome, guard_cache, outcome_of
from benchmark.executors.local.executor import Spawned
from benchmark.planning.plan import PlannedTrial
from benchmark.runs.events import CycleFinished, Environment, EpochFinished, Precision, Record, Step
from benchmark.runs.store import Store, check_record
from benchmark.spec.identity import trial_id
from benchmark.spec.load import find_suite
from benchmark.spec.selectors import Selection
from benchmark.spec.suite import Trial
from benchmark.verdicts.determinism import Divergence, Level, find_divergence, shared_level

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


@dataclass(frozen=True)
class VerifyOptions:
    """How much is verified, what must be reached, and the environment."""

    cycles: int = 2
    """Only the first cycles of each trial."""
    level: Level = Level.BITWISE
    device: str = "auto"
    precision: Precision = "fp32"
    step: Step = "eager"
    threads: int | None = None
    allow_noncanonical_data: bool = False


@dataclass(frozen=True)
class Verification:
    """What all trials of a selection gave."""

    level: Level
    """What was to be reached."""
    results: Sequence[VerificationResult]
    blocked: Sequence[PlannedTrial]
    """Trials that cannot be started, with the reason in their notes."""

    @property
    def is_reached(self) -> bool:
        """Whether every trial that was run has reached the level."""
        return all(ORDER.index(result.level) <= ORDER.index(self.level) for result in self.results)

    @property
    def exit_code(self) -> Exit:
        """DISCREPANCY where the level is not reached, NOT_MEASURED where trials could not be
        run."""
        if not self.is_reached:
            return Exit.DISCREPANCY
        return Exit.NOT_MEASURED if self.blocked or not self.results else Exit.OK


def verify(
    selectors: Selectors,
    workspace: Workspace | None = None,
    options: VerifyOptions | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Run trials twice in two processes, and once more killed and resumed; name the first cycle and
    field that differ.

    Takes the first seed of each method unless seeds are given. The runs folder is not touched.
    `report` gets a line for every trial that cannot be started and for every run that begins.
    Raises ExecutorError for a run that does not finish, UsageError or SuiteError for a selection
    that names nothing.
    """
    workspace = workspace or Workspace()
    options = options or VerifyOptions()
    selection = as_selection(selectors)
    how = PlanOptions(
        "local",
        options.device,
        options.precision,
        options.step,
        options.threads,
        options.allow_noncanonical_data,
    )
    _, environment, device = prepare_environment(workspace, selection, how)
    results: list[VerificationResult] = []
    with tempfile.TemporaryDirectory(prefix="albench-verify-") as temporary:
        scratch = replace(workspace, runs=Path(temporary) / "runs")
        plan = build_plan(scratch, selection, environment, how)
        chosen = _one_seed(plan.todo) if _names_no_seeds(selection) else plan.todo
        blocked = [planned for planned in plan.trials if planned.state == "blocked"]
        for planned in blocked:
            report(f"blocked {planned.trial.method_name}@{planned.trial.seed}: {planned.note}")
        jobs = (
            {job.trial_id: job for job in jobs_of(plan, Store(scratch.runs), scratch, device)}
            if chosen
            else {}
        )
        for number, planned in enumerate(chosen):
            rule = find_suite(planned.trial.suite, workspace.suites).suite.rule
            results.append(
                verify_trials(
                    shorten(planned.trial, options.cycles),
                    environment,
                    jobs[planned.trial_id],
                    Path(temporary) / str(number),
                    tolerance=rule.margin,
                    metric=rule.metric,
                    say=report,
                )
            )
    return Verification(options.level, results, blocked)


def _names_no_seeds(selection: Selection) -> bool:
    return selection.seeds is None and all(
        selector.seeds is None for selector in selection.selectors
    )


def _one_seed(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The first seed of each method of each suite."""
    first: dict[tuple[str, str], PlannedTrial] = {}
    for planned in trials:
        first.setdefault((planned.trial.suite, planned.trial.method_name), planned)
    return list(first.values())


def shorten(trial: Trial, cycles: int) -> Trial:
    """The first cycles of a trial: what a whole one does up to there."""
    acquisition = trial.protocol.acquisition
    count = min(cycles, acquisition.cycles)
    budget = (
        acquisition.budget
        if isinstance(acquisition.budget, int)
        else acquisition.budget[: count - 1]
    )
    if budget == ():
        budget = 1  # one cycle buys nothing
    shorter = acquisition.model_copy(update={"cycles": count, "budget": budget})
    return trial.model_copy(
        update={"protocol": trial.protocol.model_copy(update={"acquisition": shorter})}
    )


def verify_trials(
    trial: Trial,
    environment: Environment,
    template: Job,
    folder: Path,
    *,
    tolerance: float,
    metric: str = "accuracy",
    worker: str = "benchmark.worker",
    say: Callable[[str], None] = lambda _: None,
) -> VerificationResult:
    """Run a trial three times below `folder` and compare. `template` says how; its names and
    folders are replaced.

    Raises ExecutorError if a run does not finish.
    """
    records: dict[str, Record] = {}
    killed = False
    for name in ("first", "second", "resumed"):
        say(f"{template.name}: {name} run")
        job = _make_job(trial, environment, template, folder / name)
        if name == "resumed":
            killed = _run_and_kill(job, worker)
        records[name] = _run_job(job, worker)
    first = records["first"]
    return VerificationResult(
        name=template.name,
        repeated=shared_level(records["second"], first, tolerance, metric),
        resumed=shared_level(records["resumed"], first, tolerance, metric),
        repeated_at=find_divergence(records["second"], first),
        resumed_at=find_divergence(records["resumed"], first),
        killed=killed,
    )


def _make_job(trial: Trial, environment: Environment, template: Job, folder: Path) -> Job:
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


def _drive_job(
    job: Job, worker: str, on_event: Callable[[Job, object], None], running: list[Running]
) -> JobOutcome:
    def start(this: Job, time_limit: float | None) -> Running:
        running.append(Spawned(worker, this, guard_cache(this).argv(time_limit)))
        return running[-1]

    (outcome,) = JobLoop(start, outcome_of, on_event)([job], 1, None)
    return outcome


def _run_job(job: Job, worker: str) -> Record:
    outcome = _drive_job(job, worker, lambda *_: None, [])
    if outcome.state != "finished":
        log = "\n".join(outcome.log)
        raise ExecutorError(
            f"{job.name} did not finish: {outcome.message}\n{log}",
            remedy="fix this failure before verifying determinism",
        )
    return check_record(job.out)


def _run_and_kill(job: Job, worker: str) -> bool:
    """Run a trial and kill it when it is under way beyond its first cycle's start; whether that was
    before its end."""
    running: list[Running] = []
    due = threading.Event()

    def watch(_: Job, event: object) -> None:
        late = isinstance(event, CycleFinished) or (
            isinstance(event, EpochFinished) and event.cycle > 0
        )
        if late and not due.is_set():
            due.set()
            running[0].kill()

    outcome = _drive_job(job, worker, watch, running)
    return outcome.message == f"killed by signal {signal.SIGKILL.value}"
