"""ls: which suites there are."""

from __future__ import annotations

import rich_click as click

from benchmark.api.suites import list_suites
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit


@click.command()
@click.argument("pattern", default="*")
@click.pass_obj
def ls(workspace: Workspace, pattern: str) -> int:
    """List the suites whose id matches PATTERN (all): id, methods, seeds, the headline number."""
    found = list_suites(pattern, workspace)
    width = max(map(len, found))
    for name, line in found.items():
        click.echo(f"{name:{width}}  {line}")
    return Exit.OK
