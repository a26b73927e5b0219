"""verify-objective: does a training objective keep to the contract of objectives?"""

from __future__ import annotations

import rich_click as click

from benchmark.cli.contract import parse_params, print_findings


@click.command("verify-objective")
@click.argument("names", nargs=-1, required=True, metavar="OBJECTIVE...")
@click.option(
    "--params", default="{}", metavar="JSON", help="Parameters of the objective, as a JSON object."
)
def verify_objective(names: tuple[str, ...], params: str) -> int:
    """Check training objectives against the contract: OBJECTIVE is FILE.py:Class,
    package.module:Class or a built-in name.

    Loss and gradients, batches and steps, seeds, hidden labels, resuming, further outputs, bf16, on
    a narrow ResNet and synthetic images. Exit code 0 when all promises are kept, 1 when one is not,
    2 when OBJECTIVE cannot be built.
    """
    from benchmark.api.check import check_objective

    given = parse_params(params, '{"gamma": 2.0}')
    return print_findings(names, lambda name: check_objective(name, given))
