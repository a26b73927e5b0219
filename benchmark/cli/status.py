"""status: what the runs folder holds."""

from __future__ import annotations

import time

import rich_click as click
from rich.markup import escape

from benchmark.api.status import Run
from benchmark.api.status import status as find_runs
from benchmark.api.workspace import Workspace
from benchmark.cli.options import selection_options
from benchmark.cli.tables import STATES, make_console, make_grid
from benchmark.errors import Exit
from benchmark.runs.store import ENV_SHORT
from benchmark.spec.selectors import Selection
from benchmark.text import format_duration


@click.command()
@selection_options(required=False)
@click.pass_obj
def status(workspace: Workspace, selection: Selection | None, selectors: tuple[str, ...]) -> int:
    """Show every run in the runs folder (or those that match): its state, how far it is, and who
    works on it.

    With options that narrow or change a selection, only the runs of the trials that `run` would
    make with them.
    """
    found = find_runs(selectors if selection is None else selection, workspace)
    table = make_grid("trial", "profile", "environment", "state", "cycles", "last", "seen", "note")
    for run in found:
        table.add_row(*_status_cells(run))
    if found:
        make_console().print(table)
    else:
        click.echo(f"no runs under {workspace.runs}" + (" match" if selectors else ""))
    return Exit.OK


def _status_cells(run: Run) -> tuple[str, ...]:
    trial, known, last = run.trial, run.status, run.last
    return (
        escape(f"{trial.suite}/{trial.method_name}@{trial.seed}"),
        escape(trial.profile),
        run.folder.name[:ENV_SHORT],
        f"[{STATES[known.state]}]{known.state}[/]",
        f"{known.cycles}/{trial.protocol.acquisition.cycles}",
        f"{last.result.metrics.get('accuracy', float('nan')):.2f} % at {last.result.labelled}"
        if last
        else "",
        ""
        if run.last_seen is None
        else f"{format_duration(max(0.0, time.time() - run.last_seen))} ago",
        escape(known.note),
    )
