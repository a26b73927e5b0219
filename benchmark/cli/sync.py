"""sync: the MLflow view of the runs folder, rebuilt."""

from __future__ import annotations

import rich_click as click

from benchmark.api import tracking
from benchmark.api.workspace import Workspace
from benchmark.cli.options import TRACKING_URI
from benchmark.cli.tables import make_ticker
from benchmark.errors import Exit


@click.command()
@click.argument("suites", nargs=-1, metavar="[SUITE...]")
@TRACKING_URI
@click.pass_obj
def sync(workspace: Workspace, suites: tuple[str, ...], tracking_uri: str | None) -> int:
    """Bring MLflow up to the runs folder, of these suites (or 'tod/*') or of all. Repeating it
    changes nothing."""
    with make_ticker() as tick:
        done = tracking.sync(
            suites,
            workspace,
            tracking_uri=tracking_uri,
            on_progress=lambda number, whole: tick(f"{number} of {whole} runs looked at"),
        )
    click.echo(
        f"{done.written} runs written, {done.unchanged} were up to date, {done.empty} have not "
        "begun"
    )
    for problem in done.problems:
        click.echo(f"skipped: {problem}", err=True)
    return Exit.NOT_MEASURED if done.problems else Exit.OK
