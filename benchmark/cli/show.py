"""show: what a suite pins, and from where."""

from __future__ import annotations

import json

import rich_click as click

from benchmark.api.suites import describe, load_suite
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit


@click.command()
@click.argument("suite")
@click.option("--profile", default="paper", show_default=True, help="Show the values of a profile.")
@click.option(
    "--variant", default="as_published", show_default=True, help="Show the values of a variant."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_obj
def show(workspace: Workspace, suite: str, profile: str, variant: str, as_json: bool) -> int:
    """Show SUITE: every pinned value with its source, methods, deviations with their switches,
    unknowns, claims."""
    facts = describe(load_suite(suite, workspace), profile, variant)
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        from benchmark.cli.tables import print_suite

        print_suite(facts)
    return Exit.OK
