"""report: files for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich_click as click

from benchmark.api import report as reporting
from benchmark.api.workspace import Workspace
from benchmark.cli.options import report_refused, selection_options
from benchmark.spec.selectors import Selection


@click.command()
@selection_options()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the reports, each in its suite's own.  [default: ./report]",
)
@click.option(
    "--committed", is_flag=True, help="Take trials that are not in the runs folder from results/."
)
@click.option(
    "--publish",
    is_flag=True,
    help="Write into results/SUITE, with the measurements, to be committed.",
)
@click.option(
    "--republish",
    is_flag=True,
    help="Write the pages in results/ of all that is committed again, with their index.",
)
@click.option("--no-tracking", is_flag=True, help="Do not add the verdicts to MLflow.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    envvar=["ALBENCH_RUN_TRACKING_URI", "MLFLOW_TRACKING_URI"],
    help="MLflow's tracking URI.  [default: sqlite in the runs folder, where there is one]",
)
@click.pass_obj
def report(
    workspace: Workspace,
    selection: Selection,
    out: Path | None,
    committed: bool,
    publish: bool,
    republish: bool,
    no_tracking: bool,
    tracking_uri: str | None,
) -> int:
    """Write the reports of the selection: tables, plots, verdicts for people and for programs; of
    several suites also an index with the leaderboard.

    The exit code says whether there was anything to report (0) or not (3); the verdict is
    `compare`'s.
    """
    options = reporting.ReportOptions(
        out, committed, publish, not no_tracking, tracking_uri, republish
    )
    result = reporting.report(selection, workspace, options)
    for one in result.suites:
        for refused in one.comparison.refused:
            report_refused(refused)
        if not one.files:
            click.echo(
                f"{one.comparison.suite.id}: nothing was measured yet; `{one.command}`", err=True
            )
        for line in one.changes:
            click.echo(f"changes {line}", err=True)
        if one.tracking_problem:
            click.echo(one.tracking_problem, err=True)
    for one in result.suites:
        _print_files(one.files, "unchanged" if one.is_unchanged else "wrote")
    _print_files(result.index, "wrote")
    return result.exit_code


def _print_files(files: Sequence[Path], word: str) -> None:
    """The page of a folder of reports, with the number of files beside it."""
    pages = [path for path in files if path.suffix == ".html"] or list(files)
    for page in pages[:1]:
        beside = f" and {len(files) - 1} files beside it" if len(files) > 1 else ""
        click.echo(f"{word} {page}{beside}")
