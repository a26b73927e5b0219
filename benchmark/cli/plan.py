"""plan: what is to be done, and what it costs."""

from __future__ import annotations

from typing import Any

import rich_click as click

from benchmark.api import plan as planning
from benchmark.api.workspace import Workspace
from benchmark.cli.options import machine_options, report_empty_plan, report_line, selection_options
from benchmark.cli.tables import print_plan, print_value
from benchmark.errors import Exit
from benchmark.planning.value import rank_by_value
from benchmark.spec.selectors import Selection


@click.command()
@selection_options()
@machine_options
@click.option(
    "--only", multiple=True, metavar="SELECTOR", help="Of these trials only those that match."
)
@click.option(
    "--by",
    type=click.Choice(["trial", "value"]),
    default="trial",
    show_default=True,
    help=(
        "A row for each trial, or one for each method: what it costs for each published number "
        "that it would judge."
    ),
)
@click.option("--json", "as_json", is_flag=True, help="The plan as it would be saved.")
@click.pass_obj
def plan(
    workspace: Workspace, /, selection: Selection, by: str, as_json: bool, **options: Any
) -> int:
    """Show the trials of the selection: state, cost, predicted time. Nothing is run.

    FLOPs are counted, not measured: a backward pass as two forwards, 2 FLOP per
    multiply-accumulate.
    """
    planned = planning.plan(
        selection, workspace, planning.PlanOptions(**options), report=report_line
    )
    report_empty_plan(planned, options["only"])
    if as_json:
        click.echo(planned.model_dump_json(indent=1))
    elif by == "value":
        print_value(rank_by_value(planned, planning.published_by_suite(workspace, selection)))
    else:
        print_plan(planned)
    return Exit.NOT_MEASURED if planned.has_nothing_to_run else Exit.OK
