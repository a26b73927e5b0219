"""clean: remove what may go from the runs folder."""

from __future__ import annotations

import rich_click as click

from benchmark.api import status
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit
from benchmark.text import clean_line


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def clean(workspace: Workspace, dry_run: bool) -> int:
    """Remove what interrupted writes left and the saved state of finished runs. Results and
    unfinished work stay."""
    done = status.clean(workspace, dry_run=dry_run)
    for path in done.removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {clean_line(str(path))}")
    count = len(done.removed)
    used = f", {done.in_use} run{'s' * (done.in_use != 1)} in use left alone" if done.in_use else ""
    click.echo(f"{count} leftover{'s' * (count != 1)}{used}")
    return Exit.OK
