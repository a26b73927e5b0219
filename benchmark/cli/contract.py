"""What the verbs share that hold a component of one's own against its contract: verify-method,
-objective and -network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.markup import escape

from benchmark.cli.tables import make_console, make_grid
from benchmark.errors import Exit, UsageError

if TYPE_CHECKING:
    from benchmark.conformance import Finding

COLOURS = {"ok": "green", "FAILED": "bold red", "note": "dim"}


def parse_params(text: str, example: str) -> dict[str, Any]:
    """The JSON object given with --params. Raises UsageError, with an example, for anything
    else."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--params is not JSON: {error}", remedy=f"write --params '{example}'"
        ) from error
    if not isinstance(given, dict):
        raise UsageError("--params is not a JSON object", remedy=f"write --params '{example}'")
    return given


def print_findings(names: Iterable[str], check: Callable[[str], Iterable[Finding]]) -> Exit:
    """Check each component, print its findings as a table, and return the exit code: DISCREPANCY
    where a promise is broken."""
    from benchmark.conformance import Result

    broken = 0
    for name in names:
        found = list(check(name))
        table = make_grid("check", "result", "", title=escape(name))
        for finding in found:
            result = f"[{COLOURS[finding.result]}]{finding.result}[/]"
            table.add_row(escape(finding.check), result, escape(finding.said))
        failed = sum(finding.result is Result.FAILED for finding in found)
        make_console().print(table)
        click.echo(
            f"{name} {'breaks' if failed else 'keeps'} the contract ({len(found)} checks, {failed} "
            "failed)"
        )
        broken += failed
    return Exit.DISCREPANCY if broken else Exit.OK
