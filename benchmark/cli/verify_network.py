"""verify-network: does a network keep to the contract of networks?"""

from __future__ import annotations

import rich_click as click

from benchmark.cli.contract import parse_params, print_findings


@click.command("verify-network")
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.option(
    "--params", default="{}", metavar="JSON", help="Parameters of the network, as a JSON object."
)
@click.option(
    "--size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Side of the images in pixels.",
)
@click.option(
    "--channels",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Channels of the images.",
)
def verify_network(names: tuple[str, ...], params: str, size: int, channels: int) -> int:
    """Check networks against the contract: NETWORK is FILE.py:Class, package.module:Class or a
    built-in name.

    Shapes, seeds, eval and training mode, state, gradients, bf16; parameters and
    multiply-accumulates are measured. Exit code 0 when all promises are kept, 1 when one is not, 2
    when NETWORK cannot be built.
    """
    from benchmark.api.check import check_network

    given = parse_params(params, '{"width": 16}')
    return print_findings(names, lambda name: check_network(name, given, size, channels))
