"""fetch: data sets from their homes."""

from __future__ import annotations

import rich_click as click

from benchmark.api import data
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_ticker
from benchmark.errors import Exit


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.pass_obj
def fetch(workspace: Workspace, names: tuple[str, ...]) -> int:
    """Download data sets by name, or all that suites (by selector) need, into the data root, and
    check them.

    Interrupted downloads go on where they stopped. Without NAME, lists what there is.
    """
    if not names:
        for name, title in data.list_data().items():
            click.echo(f"{name:16} {title}")
        return Exit.OK
    for name in data.data_names(names, workspace):
        click.echo(f"{name} into {workspace.data}")
        _fetch_one(name, workspace)
        click.echo(f"{name}: complete")
    return Exit.OK


def _fetch_one(name: str, workspace: Workspace) -> None:
    with make_ticker() as tick:
        data.fetch(
            name,
            workspace,
            on_progress=lambda file, done, whole: tick(_describe_share(file, done, whole)),
        )


def _describe_share(file: str, done: int, whole: int) -> str:
    """How much of a file is there; `whole` is 0 where its size is unknown."""
    share = f" of {whole / 1e6:.0f} MB ({100 * done / whole:.0f} %)" if whole else " MB"
    return f"  {file}: {done / 1e6:.0f}{share}"
