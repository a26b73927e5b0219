"""export: results in forms that other programs read. Needs no data, no GPU, no tracker."""

from __future__ import annotations

from datetime import date as calendar
from pathlib import Path

import rich_click as click

from benchmark.api.compare import MISSING, ComparisonResult, compare_suite
from benchmark.api.workspace import Workspace
from benchmark.cli.options import report_refused, selection_options
from benchmark.errors import Exit, UsageError
from benchmark.runs.events import write_bytes
from benchmark.spec.selectors import Selection

FORMATS = ("csv", "parquet", "json", "tex", "ro-crate")
TEXT = ("csv", "json", "tex")


@click.command()
@selection_options()
@click.option(
    "--to",
    "form",
    type=click.Choice(FORMATS),
    default="csv",
    show_default=True,
    help="Form of the results.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File, or the folder of ro-crate.  [default: print]",
)
@click.option(
    "--committed", is_flag=True, help="Take trials that are not in the runs folder from results/."
)
@click.option("--date", help="Date of publication in ro-crate metadata.  [default: today]")
@click.pass_obj
def export(
    settings: Workspace,
    selection: Selection,
    form: str,
    out: Path | None,
    committed: bool,
    date: str | None,
) -> int:
    """Write the results of the selection for other programs.

    csv and parquet: one row per trial, number of labels and metric. json: these and the verdicts.
    tex: a table of verdicts for LaTeX. ro-crate: a folder per suite with csv, json and tex, and the
    metadata that say what they are.
    """
    if out is None and form not in TEXT:
        raise UsageError(f"{form} cannot be printed", remedy="name a place with --out")
    found = []
    for suite in selection.suites(settings.suites):
        item = compare_suite(settings, selection, suite, borrow=committed)
        for refused in item.refused:
            report_refused(refused)
        if item.measurements:
            found.append(item)
        else:
            click.echo(
                f"{suite.id}: nothing was measured yet; `{item.commands[MISSING]}`", err=True
            )
    if not found:
        return Exit.NOT_MEASURED
    if form == "ro-crate" and out is not None:
        for item in found:
            _write_crate(item, out / item.suite.id, date or calendar.today().isoformat())
        return Exit.OK
    content = _encode_table(found, form)
    if out is None:
        click.echo(content.decode(), nl=False)
        return Exit.OK
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, content)
    click.echo(f"wrote {out}")
    return Exit.OK


def _encode_table(found: list[ComparisonResult], form: str) -> bytes:
    from benchmark.reports import export as forms

    rows = [row for item in found for row in item.measurements]
    if form == "csv":
        return forms.to_csv(rows)
    if form == "parquet":
        return forms.to_parquet(rows)
    if form == "json":
        return forms.to_json([item.judgement for item in found], rows)
    return b"\n".join(forms.to_latex(item.judgement) for item in found)


def _write_crate(item: ComparisonResult, folder: Path, date: str) -> None:
    from benchmark.reports.export import to_rocrate

    folder.mkdir(parents=True, exist_ok=True)
    names = {"measurements.csv": "csv", "results.json": "json", "verdicts.tex": "tex"}
    files = {name: _encode_table([item], form) for name, form in names.items()}
    files["ro-crate-metadata.json"] = to_rocrate(
        item.suite, item.judgement, item.measurements, files, date
    )
    for name, content in files.items():
        write_bytes(folder / name, content)
        click.echo(f"wrote {folder / name}")
