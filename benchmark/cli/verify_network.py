"""verify-network: does a network keep to the contract of networks?"""

from __future__ import annotations

import json

import rich_click as click
from rich.markup import escape

from benchmark.cli.tables import console, grid
from benchmark.errors import Exit, UsageError

COLOURS = {"ok": "green", "FAILED": "bold red", "note": "dim"}


@click.command("verify-network")
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.option("--params", default="{}", metavar="JSON", help="Parameters of the network, as a JSON object.")
@click.option("--size", type=click.IntRange(1), default=32, show_default=True, help="Side of the images in pixels.")
@click.option("--channels", type=click.IntRange(1), default=3, show_default=True, help="Channels of the images.")
def verify_network(names: tuple[str, ...], params: str, size: int, channels: int) -> int:
    """Check networks against the contract: NETWORK is FILE.py:Class, package.module:Class or a built-in name.

    Shapes, seeds, eval and training mode, state, gradients, bf16; parameters and multiply-accumulates are measured. Exit code 0
    when all promises are kept, 1 when one is not, 2 when NETWORK cannot be built.
    """
    from benchmark.api.check import check_network
    from benchmark.conformance import Result

    remedy = """write --params '{"width": 16}'"""
    try:
        given = json.loads(params)
    except ValueError as error:
        raise UsageError(f"--params is not JSON: {error}", remedy=remedy) from error
    if not isinstance(given, dict):
        raise UsageError("--params is not a JSON object", remedy=remedy)
    broken = 0
    for name in names:
        found = check_network(name, given, size, channels)
        table = grid("check", "result", "", title=escape(name))
        for finding in found:
            table.add_row(
                escape(finding.check), f"[{COLOURS[finding.result]}]{finding.result}[/]", escape(finding.said)
            )
        failed = sum(finding.result is Result.FAILED for finding in found)
        console().print(table)
        click.echo(f"{name} {'breaks' if failed else 'keeps'} the contract ({len(found)} checks, {failed} failed)")
        broken += failed
    return Exit.DISCREPANCY if broken else Exit.OK
