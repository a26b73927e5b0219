"""verify-objective: does a training objective keep to the contract of objectives?"""

from __future__ import annotations

import json

import rich_click as click
from rich.markup import escape

from benchmark.cli.tables import console, grid
from benchmark.errors import Exit, UsageError

COLOURS = {"ok": "green", "FAILED": "bold red", "note": "dim"}


@click.command("verify-objective")
@click.argument("names", nargs=-1, required=True, metavar="OBJECTIVE...")
@click.option("--params", default="{}", metavar="JSON", help="Parameters of the objective, as a JSON object.")
def verify_objective(names: tuple[str, ...], params: str) -> int:
    """Check training objectives against the contract: OBJECTIVE is FILE.py:Class, package.module:Class or a built-in name.

    Loss and gradients, batches and steps, seeds, hidden labels, resuming, further outputs, bf16, on a narrow ResNet and synthetic
    images. Exit code 0 when all promises are kept, 1 when one is not, 2 when OBJECTIVE cannot be built.
    """
    from benchmark.api.check import check_objective
    from benchmark.conformance import Result

    remedy = """write --params '{"gamma": 2.0}'"""
    try:
        given = json.loads(params)
    except ValueError as error:
        raise UsageError(f"--params is not JSON: {error}", remedy=remedy) from error
    if not isinstance(given, dict):
        raise UsageError("--params is not a JSON object", remedy=remedy)
    broken = 0
    for name in names:
        found = check_objective(name, given)
        table = grid("check", "result", "", title=escape(name))
        for finding in found:
            result = f"[{COLOURS[finding.result]}]{finding.result}[/]"
            table.add_row(escape(finding.check), result, escape(finding.said))
        failed = sum(finding.result is Result.FAILED for finding in found)
        console().print(table)
        click.echo(f"{name} {'breaks' if failed else 'keeps'} the contract ({len(found)} checks, {failed} failed)")
        broken += failed
    return Exit.DISCREPANCY if broken else Exit.OK
