"""verify-method: does an acquisition function keep to the contract of strategies?"""

from __future__ import annotations

import json
from typing import Any

import rich_click as click
from rich.markup import escape

from benchmark.cli.tables import console, grid
from benchmark.errors import Exit, UsageError

COLOURS = {"ok": "green", "FAILED": "bold red", "note": "dim"}


@click.command("verify-method")
@click.argument("names", nargs=-1, required=True, metavar="METHOD...")
@click.option("--params", default="{}", metavar="JSON", help="Parameters of the strategy, as a JSON object.")
@click.option("--models", type=click.IntRange(1, 16), default=1, show_default=True, help="Target models it is shown.")
def verify_method(names: tuple[str, ...], params: str, models: int) -> int:
    """Check acquisition functions against the contract: METHOD is FILE.py:Class, package.module:Class or a built-in name.

    Same seed same picks, distinct candidates, labels unread, ties, NaN, one class, few candidates, order, memory. Nothing is
    trained and no data are needed. Exit code 0 when all promises are kept, 1 when one is not, 2 when METHOD cannot be built.
    """
    from benchmark.api.check import check_strategy
    from benchmark.conformance import Result

    given, broken = _parse_object(params), 0
    for name in names:
        found = check_strategy(name, given, models)
        table = grid("check", "result", "", title=escape(name))
        for finding in found:
            result = f"[{COLOURS[finding.result]}]{finding.result}[/]"
            table.add_row(escape(finding.check), result, escape(finding.said))
        failed = sum(finding.result is Result.FAILED for finding in found)
        console().print(table)
        click.echo(f"{name} {'breaks' if failed else 'keeps'} the contract ({len(found)} checks, {failed} failed)")
        broken += failed
    return Exit.DISCREPANCY if broken else Exit.OK


def _parse_object(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--params is not JSON: {error}", remedy="""write --params '{"temperature": 0.5}'"""
        ) from error
    if not isinstance(given, dict):
        raise UsageError("--params is not a JSON object", remedy="""write --params '{"temperature": 0.5}'""")
    return given
