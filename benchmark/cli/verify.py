"""verify: is the same answer given twice, and across a kill?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from benchmark.api.workspace import Workspace
from benchmark.cli.options import arithmetic_options, report_line, selection_options
from benchmark.cli.tables import make_console, make_grid
from benchmark.spec.selectors import Selection

if TYPE_CHECKING:
    from benchmark.api.verify import VerificationResult

HEADS = ("trial", "two processes", "killed and resumed", "first difference")
LEVELS = ["bitwise", "selection", "metric", "statistical"]


@click.command()
@selection_options()
@click.option(
    "--cycles", type=click.IntRange(1), default=2, show_default=True, help="Only the first cycles."
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="bitwise",
    show_default=True,
    help="What must be reached.",
)
@arithmetic_options
@click.option(
    "--markdown",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the table to this file.",
)
@click.pass_obj
def verify(
    workspace: Workspace, /, selection: Selection, level: str, markdown: Path | None, **options: Any
) -> int:
    """Run trials twice in two processes, and once more killed and resumed; name the first cycle and
    field that differ.

    Takes the first seed of each method unless seeds are given. The runs folder is not touched. Exit
    code 0 when the level is reached, 1 when it is not, 3 when it could not be found out.
    """
    from benchmark.api import verify as verification
    from benchmark.verdicts.determinism import Level

    wanted = verification.VerifyOptions(level=Level(level), **options)
    found = verification.verify(selection, workspace, wanted, report=report_line)
    if not found.results:
        click.echo("Error: no trial can be started", err=True)
        return found.exit_code
    rows = [_verify_cells(result) for result in found.results]
    table = make_grid(*HEADS)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
    if markdown is not None:
        dashes = tuple("---" for _ in HEADS)
        whole: list[tuple[str, ...]] = [HEADS, dashes, *rows]
        lines = ["| " + " | ".join(row) + " |" for row in whole]
        markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(f"{'reached' if found.is_reached else 'NOT REACHED'}: {level}")
    return found.exit_code


def _verify_cells(found: VerificationResult) -> tuple[str, str, str, str]:
    places = [
        f"{name}: {at}"
        for name, at in (("repeated", found.repeated_at), ("resumed", found.resumed_at))
        if at
    ]
    resumed = str(found.resumed) if found.killed else f"{found.resumed} (too quick to be killed)"
    return found.name, str(found.repeated), resumed, "; ".join(places)
