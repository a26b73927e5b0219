"""Execute a plan, sync it to MLflow, and return how every trial ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.api.plan import PlanOptions, build_plan, prepare_environment
from benchmark.api.selection import Selectors, as_selection
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit, without_secrets
from benchmark.executors.jobs import FailureKind, Job, JobOutcome
from benchmark.planning.plan import Plan, name_of
from benchmark.runs.events import write_json
from benchmark.runs.store import Store

if TYPE_CHECKING:
    from benchmark.executors.base import Executor, OnEvent

PLANS = ".plans"
"""Folder of the store that keeps executed plans."""
NOT_STARTED = "not started"


@dataclass(frozen=True)
class RunOptions(PlanOptions):
    """Where and how trials run, how many at once, for how long, and whether MLflow gets to see
    them."""

    jobs: int | None = None
    """Trials at once; None: cores / threads, or one on each GPU."""
    time_limit: float | None = None
    """Seconds after which what runs is stopped with its state saved."""
    tracking: bool = True
    tracking_uri: str | None = None
    """MLflow's tracking URI; None: sqlite in the runs folder."""


@dataclass(frozen=True)
class PreparedRun:
    """A plan with everything its execution needs."""

    workspace: Workspace
    options: RunOptions
    plan: Plan
    executor: Executor
    device: str
    jobs_at_once: int
    deadline: float | None
    """On `time.monotonic()`'s clock."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    plan: Plan
    outcomes: tuple[JobOutcome, ...] = ()
    """One for each trial that was to be done, in the order of the plan."""
    tracking_problem: str = ""
    """Why MLflow was not brought up to the runs, and how to do so; empty where it was."""

    @property
    def ends(self) -> Counter[str]:
        """Number of trials by how they ended: finished, stopped, failed, not started."""
        return Counter(
            NOT_STARTED if outcome.never_started else outcome.state for outcome in self.outcomes
        )

    @property
    def failed(self) -> list[JobOutcome]:
        """Trials that failed, with kind, message and the last lines of their logs."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    @property
    def waiting(self) -> int:
        """Trials that could not be started: blocked, or running elsewhere."""
        return self.plan.count("blocked") + self.plan.count("running")

    @property
    def is_complete(self) -> bool:
        """Whether every trial of the plan is finished, now or before."""
        if not self.outcomes:
            return bool(self.plan.trials) and self.plan.count("finished") == len(self.plan.trials)
        return self.ends["finished"] == len(self.outcomes) and not self.waiting

    @property
    def exit_code(self) -> Exit:
        """OK where everything is finished, INTERRUPTED after Ctrl-C, USAGE where all failures are
        the caller's to fix."""
        if self.is_complete:
            return Exit.OK
        if any(outcome.kind is FailureKind.cancelled for outcome in self.outcomes):
            return Exit.INTERRUPTED
        if self.failed and all(outcome.kind is FailureKind.usage for outcome in self.failed):
            return Exit.USAGE
        return Exit.NOT_MEASURED


def run(
    selectors: Selectors,
    workspace: Workspace | None = None,
    options: RunOptions | None = None,
    *,
    on_event: OnEvent = lambda *_: None,
    report: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Run the trials of a selection. What is finished is not done again; what was interrupted is
    resumed.

    `on_event` is called with (job, event) for everything that workers report. A trial that fails
    raises nothing: its outcome says why. Raises UsageError or SuiteError for a selection that names
    nothing, ExecutorError where the executor cannot work, StoreError where the runs folder cannot
    be written.
    """
    return execute(prepare_run(selectors, workspace, options, report=report), on_event)


def prepare_run(
    selectors: Selectors,
    workspace: Workspace | None = None,
    options: RunOptions | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> PreparedRun:
    """The plan of a run and where it will be executed. The time limit begins here. Errors: see
    `run`."""
    workspace = workspace or Workspace()
    options = options or RunOptions()
    selection = as_selection(selectors)
    deadline = None if options.time_limit is None else time.monotonic() + options.time_limit
    Store(workspace.runs).prepare()
    executor, environment, device = prepare_environment(workspace, selection, options, report)
    plan = build_plan(workspace, selection, environment, options)
    at_once = (options.jobs or executor.slots(device, environment.threads)) if plan.todo else 0
    return PreparedRun(workspace, options, plan, executor, device, at_once, deadline)


def execute(prepared: PreparedRun, on_event: OnEvent = lambda *_: None) -> RunResult:
    """Do what a prepared run has to do. Errors of single trials are in the result."""
    plan, workspace, options = prepared.plan, prepared.workspace, prepared.options
    if not plan.todo:
        return RunResult(plan)
    store = Store(workspace.runs)
    jobs = jobs_of(plan, store, workspace, prepared.device)
    (workspace.runs / PLANS).mkdir(exist_ok=True)
    write_json(workspace.runs / PLANS / f"{plan.digest[:16]}.json", plan)
    with _sync_in_background(workspace, plan, store, options) as problems:
        outcomes = prepared.executor.run(
            jobs, jobs_at_once=prepared.jobs_at_once, deadline=prepared.deadline, on_event=on_event
        )
    return RunResult(plan, tuple(outcomes), "\n".join(problems))


def jobs_of(plan: Plan, store: Store, workspace: Workspace, device: str) -> list[Job]:
    """Jobs of everything that is to be done, their folders made. Raises StoreError."""
    environment = plan.environment
    return [
        Job(
            name=name_of(planned),
            trial_id=planned.trial_id,
            env_id=environment.env_id,
            out=store.create(planned.trial, environment).resolve(),
            data=workspace.data.resolve(),
            cache=workspace.cache.resolve(),
            device=device,
            precision=environment.precision,
            threads=environment.threads,
            step=environment.step,
            allow_noncanonical=plan.allow_noncanonical,
            fresh=plan.fresh,
        )
        for planned in plan.todo
    ]


@contextmanager
def _sync_in_background(
    workspace: Workspace, plan: Plan, store: Store, options: RunOptions
) -> Iterator[list[str]]:
    """Sync the plan's runs to MLflow in a thread; afterwards the list says what went wrong."""
    problems: list[str] = []
    if not options.tracking:
        yield problems
        return
    from benchmark.tracking.mlflow import BackgroundMlflowSync

    uri = options.tracking_uri or None
    sync = BackgroundMlflowSync(uri, runs=workspace.runs)
    try:
        sync.watch(store.run_dir(planned.trial, plan.environment) for planned in plan.todo)
        yield problems
    finally:
        sync.close()
        if sync.problem:
            command = f"albench --runs {workspace.runs} sync" + (
                f" --tracking-uri {uri}" if uri else ""
            )
            message = (
                f"tracking: {sync.problem}\n  the runs are unharmed: `{command}` completes the "
                "view later"
            )
            problems.append(without_secrets(message))
