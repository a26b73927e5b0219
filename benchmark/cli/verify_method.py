"""verify-method: does an acquisition function keep to the contract of strategies?"""

from __future__ import annotations

import rich_click as click

from benchmark.cli.contract import parse_params, print_findings


@click.command("verify-method")
@click.argument("names", nargs=-1, required=True, metavar="METHOD...")
@click.option(
    "--params", default="{}", metavar="JSON", help="Parameters of the strategy, as a JSON object."
)
@click.option(
    "--models",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Target models it is shown.",
)
def verify_method(names: tuple[str, ...], params: str, models: int) -> int:
    """Check acquisition functions against the contract: METHOD is FILE.py:Class,
    package.module:Class or a built-in name.

    Same seed same picks, distinct candidates, labels unread, ties, NaN, one class, few candidates,
    order, memory. Nothing is trained and no data are needed. Exit code 0 when all promises are
    kept, 1 when one is not, 2 when METHOD cannot be built.
    """
    from benchmark.api.check import check_strategy

    given = parse_params(params, '{"temperature": 0.5}')
    return print_findings(names, lambda name: check_strategy(name, given, models))
