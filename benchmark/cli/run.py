"""run: execute a plan, show progress, and say how to go on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmark.api.run import NOT_STARTED, RunOptions, RunResult, execute, prepare_run
from benchmark.api.workspace import Workspace
from benchmark.cli.options import Seconds, machine, report_empty_plan, report_line, selecting
from benchmark.cli.progress import Mode, Progress
from benchmark.cli.tables import console, print_plan, summary
from benchmark.errors import without_secrets
from benchmark.planning.plan import Plan, name_of
from benchmark.spec.selectors import Selection

SHOWN = 5
"""Failures whose logs are named."""


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
@click.option("--progress", type=click.Choice(["auto", "live", "plain", "none"]), default="auto", show_default=True)
@click.option("--no-tracking", is_flag=True, help="Do not mirror to MLflow.")
@click.option("--tracking-uri", metavar="URI", envvar=["ALBENCH_RUN_TRACKING_URI", "MLFLOW_TRACKING_URI"],
              help="MLflow's tracking URI.  [default: sqlite in the runs folder]")  # fmt: skip
@click.pass_obj
def run(workspace: Workspace, /, selection: Selection, progress: str, no_tracking: bool, **options: Any) -> int:
    """Run the trials of the selection. What is finished is not done again; what was interrupted is resumed.

    Exit code 0 when every trial is finished, 3 when some are not, 130 after Ctrl-C (which saves everything first).
    """
    prepared = prepare_run(selection, workspace, RunOptions(tracking=not no_tracking, **options), report=report_line)
    plan, at_once = prepared.plan, prepared.jobs_at_once
    report_empty_plan(plan, options["only"])
    if not plan.todo:
        return _report_nothing_to_do(execute(prepared))
    _warn(plan)
    click.echo(f"{summary(plan)}; {prepared.executor.name}, {at_once} at a time")
    with Progress(plan, _mode(progress), console(), at_once) as lines:
        result = execute(prepared, lines)
    _print_result(result, workspace)
    return result.exit_code


def _mode(asked: str) -> Mode:
    if asked == "auto":
        return "live" if sys.stdout.isatty() else "plain"
    return "live" if asked == "live" else "plain" if asked == "plain" else "none"


def _report_nothing_to_do(result: RunResult) -> int:
    plan = result.plan
    if result.is_complete:
        click.echo(f"{summary(plan)}: nothing to do")
        return result.exit_code
    print_plan(plan)
    if plan.trials:
        click.echo(
            f"Error: {'every trial is blocked' if plan.has_nothing_to_run else 'no trial can be started'}", err=True
        )
    return result.exit_code


def _warn(plan: Plan) -> None:
    for data in plan.data:
        if data.present and not data.canonical:
            click.echo(f"NOT CANONICAL {data.name}: {data.note}", err=True)
    for planned in plan.trials:
        if planned.state in ("blocked", "running"):
            click.echo(f"{planned.state} {name_of(planned)}: {planned.note}", err=True)


def _print_result(result: RunResult, workspace: Workspace) -> None:
    """Counts, where things lie, and how to go on."""
    ends = result.ends
    words = [f"{ends[end]} {end}" for end in ("finished", "stopped", "failed", NOT_STARTED) if ends[end]]
    words += [f"{result.waiting} blocked or running elsewhere"] if result.waiting else []
    click.echo(", ".join(words) + f"; records under {workspace.runs}")
    for outcome in result.failed[:SHOWN]:
        click.echo(f"  log of {outcome.job.name}: {_near(outcome.job.out / 'worker.log')}", err=True)
    if len(result.failed) > SHOWN:
        click.echo(f"  and {len(result.failed) - SHOWN} more, see `albench status`", err=True)
    if result.tracking_problem:
        click.echo(result.tracking_problem, err=True)
    if not result.is_complete:
        click.echo(f"resume with: {without_secrets(_resume_command(workspace.arguments))}", err=True)


def _resume_command(arguments: Sequence[str]) -> str:
    """The command line that goes on where this one stopped."""
    return shlex.join(["albench", *(argument for argument in arguments if argument != "--fresh")])


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
