"""run: execute a plan, show progress, and say how to go on."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import rich_click as click

from benchmark.api.compare import compare_suite
from benchmark.api.run import NOT_STARTED, RunOptions, RunResult, execute, prepare_run
from benchmark.api.workspace import Workspace
from benchmark.cli.options import (
    Seconds,
    machine_options,
    report_empty_plan,
    report_line,
    selection_options,
)
from benchmark.cli.progress import Mode, Progress
from benchmark.cli.tables import make_console, print_plan, summarize_plan
from benchmark.cli.until_decided import run_until_decided
from benchmark.cli.verdicts import Detail, print_verdicts
from benchmark.errors import Exit, UsageError, without_secrets
from benchmark.planning.plan import Plan, name_of
from benchmark.spec.selectors import Selection

SCREENS = 3
"""Suites up to which a run ends in a screen for each; above, in a sentence for each."""
SHOWN = 5
"""Failures whose logs are named."""
MOST_SEEDS = 20
"""Seeds of each method that --until-decided runs at most where no other number is given."""


@click.command()
@selection_options()
@machine_options
@click.option(
    "--only", multiple=True, metavar="SELECTOR", help="Of these trials only those that match."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 4096),
    help="Trials at once.  [default: cores / threads; one on each GPU]",
)
@click.option(
    "--time-limit",
    type=Seconds(),
    metavar="TIME",
    help="Stop cleanly after 9m, 1.5h, ...; run again to go on.",
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="Add seeds until the verdicts of the selection are decided.",
)
@click.option(
    "--max-seeds",
    type=click.IntRange(2, 1000),
    metavar="N",
    help="Seeds at most, with --until-decided.  [default: 20]",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "live", "plain", "none"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--verdicts/--no-verdicts",
    default=True,
    help="Print what came out after the last trial.  [default: verdicts]",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="No progress, and one sentence for each suite at the end."
)
@click.option("--no-tracking", is_flag=True, help="Do not sync to MLflow.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    envvar=["ALBENCH_RUN_TRACKING_URI", "MLFLOW_TRACKING_URI"],
    help="MLflow's tracking URI.  [default: sqlite in the runs folder]",
)
@click.pass_obj
def run(
    workspace: Workspace,
    /,
    selection: Selection,
    progress: str,
    no_tracking: bool,
    until_decided: bool,
    max_seeds: int | None,
    verdicts: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Run the trials of the selection. What is finished is not done again; what was interrupted is
    resumed.

    Ends in one screen: a row for each method with what came out, what is missing, and where report
    and MLflow are.

    With --until-decided the verdicts are looked at after planned numbers of seeds, and a method
    gets more seeds only while a verdict on it is open: tests at levels that together err no oftener
    than one test at the end (docs/statistics.md).

    Exit code 0 when every trial is finished, 3 when some are not, 4 when verdicts are still open
    with --max-seeds, 130 after Ctrl-C (which saves everything first).
    """
    if max_seeds is not None and not until_decided:
        raise UsageError(
            "--max-seeds belongs to --until-decided", remedy="give both, or name seeds with --seeds"
        )
    given = RunOptions(tracking=not no_tracking, **options)
    mode = "none" if quiet else _progress_mode(progress)
    if not until_decided:
        code = _run_once(workspace, selection, given, mode, quiet=quiet)
        if verdicts and code != Exit.INTERRUPTED:
            _print_verdicts(workspace, selection, given.tracking_uri, quiet=quiet)
        return code
    deadline = None if given.time_limit is None else time.monotonic() + given.time_limit

    def once(meant: Selection) -> int:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        return _run_once(workspace, meant, replace(given, time_limit=left), mode, quiet=quiet)

    return run_until_decided(workspace, selection, once, max_seeds or MOST_SEEDS)


def _run_once(
    workspace: Workspace,
    selection: Selection,
    options: RunOptions,
    mode: Mode,
    *,
    quiet: bool = False,
) -> int:
    prepared = prepare_run(selection, workspace, options, report=report_line)
    plan, at_once = prepared.plan, prepared.jobs_at_once
    report_empty_plan(plan, [str(one) for one in options.only])
    if not plan.todo:
        return _report_nothing_to_do(execute(prepared), quiet=quiet)
    _warn_of_plan(plan)
    if not quiet:
        click.echo(f"{summarize_plan(plan)}; {prepared.executor.name}, {at_once} at a time")
    with Progress(plan, mode, make_console(), at_once) as lines:
        result = execute(prepared, lines)
    _print_result(result, workspace, quiet=quiet)
    return result.exit_code


def _print_verdicts(
    workspace: Workspace, selection: Selection, tracking_uri: str | None, *, quiet: bool
) -> None:
    """What came out of the selection, suite by suite; nothing where nothing was measured."""
    suites = selection.suites(workspace.suites)
    brief = quiet or len(suites) > SCREENS
    for suite in suites:
        item = compare_suite(workspace, selection, suite)
        if item.measurements:
            detail: Detail = "quiet" if brief else "answer"
            print_verdicts(
                workspace,
                selection,
                item,
                detail,
                command="albench compare",
                tracking_uri=tracking_uri,
            )


def _progress_mode(asked: str) -> Mode:
    if asked == "auto":
        return "live" if sys.stdout.isatty() else "plain"
    return "live" if asked == "live" else "plain" if asked == "plain" else "none"


def _report_nothing_to_do(result: RunResult, *, quiet: bool) -> int:
    plan = result.plan
    if result.is_complete:
        if not quiet:
            click.echo(f"{summarize_plan(plan)}: nothing to do")
        return result.exit_code
    print_plan(plan)
    if plan.trials:
        click.echo(
            "Error: "
            f"{'every trial is blocked' if plan.has_nothing_to_run else 'no trial can be started'}",
            err=True,
        )
    return result.exit_code


def _warn_of_plan(plan: Plan) -> None:
    for data in plan.data:
        if data.present and not data.canonical:
            click.echo(f"NOT CANONICAL {data.name}: {data.note}", err=True)
    for planned in plan.trials:
        if planned.state in ("blocked", "running"):
            click.echo(f"{planned.state} {name_of(planned)}: {planned.note}", err=True)


def _print_result(result: RunResult, workspace: Workspace, *, quiet: bool) -> None:
    """Counts, where things lie, and how to go on."""
    ends = result.ends
    words = [
        f"{ends[end]} {end}" for end in ("finished", "stopped", "failed", NOT_STARTED) if ends[end]
    ]
    words += [f"{result.waiting} blocked or running elsewhere"] if result.waiting else []
    if not quiet:
        click.echo(", ".join(words) + f"; records under {workspace.runs}")
    for outcome in result.failed[:SHOWN]:
        click.echo(
            f"  log of {outcome.job.name}: {_shorten_path(outcome.job.out / 'worker.log')}",
            err=True,
        )
    if len(result.failed) > SHOWN:
        click.echo(f"  and {len(result.failed) - SHOWN} more, see `albench status`", err=True)
    if result.tracking_problem:
        click.echo(result.tracking_problem, err=True)
    if not result.is_complete:
        click.echo(
            f"resume with: {without_secrets(_resume_command(workspace.arguments))}", err=True
        )


def _resume_command(arguments: Sequence[str]) -> str:
    """The command line that goes on where this one stopped."""
    return shlex.join(["albench", *(argument for argument in arguments if argument != "--fresh")])


def _shorten_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
