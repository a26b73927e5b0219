"""run: execute a plan, show progress, mirror it, and say how to go on."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.api.workspace import Workspace
from benchmark.cli.options import Seconds, machine, selecting
from benchmark.cli.plan import advised_device, build_plan, environment_of
from benchmark.cli.progress import Mode, Progress
from benchmark.cli.tables import console, print_plan, summary
from benchmark.errors import Exit, UsageError, without_secrets
from benchmark.executors.jobs import FailureKind, Job, JobOutcome
from benchmark.planning.plan import Plan, name_of
from benchmark.runs.events import write_json
from benchmark.runs.store import Store
from benchmark.spec.selectors import Selection, parse_selector

if TYPE_CHECKING:
    from benchmark.executors.base import Executor

SHOWN = 5
"""Failures whose logs are named."""
MOST_SEEDS = 20
"""Seeds of each method that --until-decided runs at most where no other number is given."""
PLANS = ".plans"
"""Folder of the store that keeps executed plans."""


@click.command()
@selecting()
@machine
@click.option("--only", multiple=True, metavar="SELECTOR", help="Of these trials only those that match.")
@click.option(
    "--jobs", type=click.IntRange(1, 4096), help="Trials at once.  [default: cores / threads; one on each GPU]"
)
@click.option(
    "--time-limit", type=Seconds(), metavar="TIME", help="Stop cleanly after 9m, 1.5h, ...; run again to go on."
)
@click.option("--until-decided", is_flag=True, help="Add seeds until the verdicts of the selection are decided.")
@click.option(
    "--max-seeds", type=click.IntRange(2, 1000), metavar="N", help="Seeds at most, with --until-decided.  [default: 20]"
)
@click.option("--progress", type=click.Choice(["auto", "live", "plain", "none"]), default="auto", show_default=True)
@click.option("--no-tracking", is_flag=True, help="Do not mirror to MLflow.")
@click.option("--tracking-uri", metavar="URI", envvar=["ALBENCH_RUN_TRACKING_URI", "MLFLOW_TRACKING_URI"],
              help="MLflow's tracking URI.  [default: sqlite in the runs folder]")  # fmt: skip
@click.pass_obj
def run(
    settings: Workspace, selection: Selection, executor: str, device: str, precision: str, step: str,
    threads: int | None, allow_noncanonical_data: bool, fresh: bool, only: tuple[str, ...], jobs: int | None,
    time_limit: float | None, until_decided: bool, max_seeds: int | None, progress: str, no_tracking: bool,
    tracking_uri: str | None,
) -> int:  # fmt: skip
    """Run the trials of the selection. What is finished is not done again; what was interrupted is resumed.

    With --until-decided the verdicts are looked at after planned numbers of seeds, and a method gets more seeds only while a
    verdict on it is open: tests at levels that together err no oftener than one test at the end (docs/statistics.md).

    Exit code 0 when every trial is finished, 3 when some are not, 4 when verdicts are still open with --max-seeds, 130 after
    Ctrl-C (which saves everything first).
    """
    if max_seeds is not None and not until_decided:
        raise UsageError("--max-seeds belongs to --until-decided", remedy="give both, or name seeds with --seeds")
    deadline = None if time_limit is None else time.monotonic() + time_limit
    store = Store(settings.runs)
    store.prepare()
    device = advised_device(settings, selection, device, step)
    chosen, environment, place = environment_of(executor, device, precision, step, threads)

    def once(meant: Selection) -> int:
        plan = build_plan(
            settings, meant, environment, tuple(map(parse_selector, only)),
            allow_noncanonical=allow_noncanonical_data, fresh=fresh,
        )  # fmt: skip
        if not plan.todo:
            return _nothing_to_do(plan)
        _warn(plan)
        todo = jobs_of(plan, store, settings, place)
        (settings.runs / PLANS).mkdir(exist_ok=True)
        write_json(settings.runs / PLANS / f"{plan.digest[:16]}.json", plan)
        at_once = jobs or chosen.slots(place, environment.threads)
        click.echo(f"{summary(plan)}; {chosen.name}, {at_once} at a time")
        with _mirroring(settings, plan, store, None if no_tracking else tracking_uri or "") as problems:
            outcomes = _execute(chosen, todo, plan, at_once, deadline, _mode(progress))
        return _conclude(outcomes, plan, settings, problems)

    if not until_decided:
        return once(selection)
    from benchmark.cli.until_decided import run_until_decided

    return run_until_decided(settings, selection, once, max_seeds or MOST_SEEDS)


def jobs_of(plan: Plan, store: Store, settings: Workspace, device: str) -> list[Job]:
    """Jobs of everything that is to be done, their folders made."""
    environment = plan.environment
    return [
        Job(
            name=name_of(planned),
            trial_id=planned.trial_id,
            env_id=environment.env_id,
            out=store.create(planned.trial, environment).resolve(),
            data=settings.data.resolve(),
            cache=settings.cache.resolve(),
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
def _mirroring(settings: Workspace, plan: Plan, store: Store, uri: str | None) -> Iterator[list[str]]:
    """Mirror the plan's runs to MLflow in a thread; afterwards the list says what went wrong. `uri` None: not at all."""
    problems: list[str] = []
    if uri is None:
        yield problems
        return
    from benchmark.tracking.mlflow import BackgroundMlflowSync

    mirror = BackgroundMlflowSync(uri or None, runs=settings.runs)
    try:
        mirror.watch(store.run_dir(planned.trial, plan.environment) for planned in plan.todo)
        yield problems
    finally:
        mirror.close()
        if mirror.problem:
            command = f"albench --runs {settings.runs} sync" + (f" --tracking-uri {uri}" if uri else "")
            said = f"tracking: {mirror.problem}\n  the runs are unharmed: `{command}` completes the view later"
            problems.append(without_secrets(said))


def _execute(
    executor: Executor, jobs: list[Job], plan: Plan, at_once: int, deadline: float | None, mode: Mode
) -> Sequence[JobOutcome]:
    with Progress(plan, mode, console(), at_once) as progress:
        return executor.run(jobs, jobs_at_once=at_once, deadline=deadline, on_event=progress)


def _mode(asked: str) -> Mode:
    if asked == "auto":
        return "live" if sys.stdout.isatty() else "plain"
    return "live" if asked == "live" else "plain" if asked == "plain" else "none"


def _nothing_to_do(plan: Plan) -> int:
    if plan.count("finished") == len(plan.trials) and plan.trials:
        click.echo(f"{summary(plan)}: nothing to do")
        return Exit.OK
    print_plan(plan)
    if plan.trials:
        click.echo(
            f"Error: {'every trial is blocked' if plan.has_nothing_to_run else 'no trial can be started'}", err=True
        )
    return Exit.NOT_MEASURED


def _warn(plan: Plan) -> None:
    for data in plan.data:
        if data.present and not data.canonical:
            click.echo(f"NOT CANONICAL {data.name}: {data.note}", err=True)
    for planned in plan.trials:
        if planned.state in ("blocked", "running"):
            click.echo(f"{planned.state} {name_of(planned)}: {planned.note}", err=True)


def _conclude(outcomes: Sequence[JobOutcome], plan: Plan, settings: Workspace, problems: Sequence[str]) -> int:
    """Counts, where things lie, how to go on, and the exit code."""
    ends = ["not started" if outcome.never_started else outcome.state for outcome in outcomes]
    words = [
        f"{ends.count(state)} {state}" for state in ("finished", "stopped", "failed", "not started") if state in ends
    ]
    waiting = plan.count("blocked") + plan.count("running")
    words += [f"{waiting} blocked or running elsewhere"] if waiting else []
    click.echo(", ".join(words) + f"; records under {settings.runs}")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed[:SHOWN]:
        click.echo(f"  log of {outcome.job.name}: {_near(outcome.job.out / 'worker.log')}", err=True)
    if len(failed) > SHOWN:
        click.echo(f"  and {len(failed) - SHOWN} more, see `albench status`", err=True)
    for problem in problems:
        click.echo(problem, err=True)
    kinds = {outcome.kind for outcome in outcomes}
    if ends.count("finished") == len(ends) and not waiting:
        return Exit.OK
    click.echo(f"resume with: {without_secrets(resume_command(settings.arguments))}", err=True)
    if FailureKind.cancelled in kinds:
        return Exit.INTERRUPTED
    if failed and all(outcome.kind is FailureKind.usage for outcome in failed):
        return Exit.USAGE
    return Exit.NOT_MEASURED


def resume_command(arguments: Sequence[str]) -> str:
    """The command line that goes on where this one stopped."""
    return shlex.join(["albench", *(argument for argument in arguments if argument != "--fresh")])


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
