"""schema: the JSON Schema of suite files."""

from __future__ import annotations

import rich_click as click

from benchmark.api.suites import schema_is_current, write_schema
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit


@click.command()
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; fail if the file is not current."
)
@click.pass_obj
def schema(workspace: Workspace, only_check: bool) -> int:
    """Write schema.json into the suites folder: editors then complete and check suite files."""
    if only_check:
        current = schema_is_current(workspace)
        path = workspace.suites / "schema.json"
        click.echo(f"{path} is {'current' if current else 'not current: run `albench schema`'}")
        return Exit.OK if current else Exit.USAGE
    click.echo(f"wrote {write_schema(workspace)}")
    return Exit.OK
