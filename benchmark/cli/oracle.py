"""oracle: what a greedy oracle buys, to be replayed."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from benchmark.api import oracle as buying
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_ticker
from benchmark.errors import Exit


@click.command()
@click.argument("selector", metavar="SUITE@SEED")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Candidates tried for each image.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("oracle.csv"),
    show_default=True,
    help="Table to write.",
)
@click.pass_obj
def oracle(workspace: Workspace, selector: str, sample: int, out: Path) -> int:
    """Write what a greedy oracle buys on frozen features: `albench run SUITE@SEED --replay FILE`
    trains on it.

    The oracle reads every label, those of the test images included. It shows how much a better
    order of buying could gain and is no method. For each image some candidates are drawn, the
    classifier is trained with each of them, and the one with the highest test accuracy is bought.
    """
    with make_ticker() as tick:
        found = buying.write_oracle(
            selector,
            out,
            workspace,
            sample=sample,
            on_pick=lambda done, whole: tick(f"  {done:,} of {whole:,} images bought"),
        )
    click.echo(
        f"{found.path}: {found.images:,} images; run `albench run {selector} --replay {found.path}`"
    )
    if found.note:
        click.echo(f"not the published data: {found.note}")
    return Exit.OK
