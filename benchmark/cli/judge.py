"""judge: verdicts on somebody's own per-seed numbers. Needs a table and a suite: no run, no data,
no torch."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from benchmark.api import judge as judging
from benchmark.api.workspace import Workspace
from benchmark.cli.tables import make_console
from benchmark.runs.events import write_bytes

TABLE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("numbers", type=TABLE, metavar="NUMBERS.csv")
@click.option(
    "--suite",
    "name",
    required=True,
    metavar="SUITE",
    help="Whose published numbers and claims: tod/cifar10.",
)
@click.option(
    "--against",
    type=TABLE,
    metavar="OTHER.csv",
    help="Compare with these numbers instead of the published.",
)
@click.option(
    "--by-seed",
    is_flag=True,
    help="Equal seeds of both tables are one trial run twice: compare their pairs.",
)
@click.option(
    "--variant",
    default="as_published",
    show_default=True,
    help="Variant of the protocol that was run.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write the reports into this folder.",
)
@click.option("--junit", type=TABLE, help="Also write the verdicts as JUnit XML.")
@click.pass_obj
def judge(
    settings: Workspace,
    numbers: Path,
    name: str,
    against: Path | None,
    by_seed: bool,
    variant: str,
    out: Path | None,
    junit: Path | None,
) -> int:
    """Judge numbers that any program measured under a suite's protocol: a verdict for each
    published number, curve and claim that the table has trials for.

    NUMBERS.csv has the columns method, seed, labelled, value (accuracy in percent) and, for other
    metrics, metric: one row per trial and number of labels. Methods are called as in the suite;
    others are shown beside them. See docs/judge-numbers.md.

    Exit code 0 all matched or nothing to compare, 1 a discrepancy, 2 a fault of the table, 4
    inconclusive only.
    """
    from benchmark.reports import terminal

    result = judging.judge(
        numbers, name, settings, against=against, by_seed=by_seed, variant=variant
    )
    judgement = result.judgement
    terminal.show(judgement, make_console())
    if junit is not None:
        from benchmark.reports.junit import render

        junit.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(junit, render([judgement]).encode())
    if out is not None:
        from benchmark.reports import write

        for path in write(
            out,
            result.suite,
            judgement,
            result.measurements,
            "",
            {},
            {"Numbers": str(numbers.name)},
        ):
            click.echo(f"wrote {path}")
    return judgement.exit_code
