"""compare: from records to verdicts on the terminal, for a CI, in an exit code. Needs no data, no
GPU, no tracker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from benchmark.api.compare import committed_rows, compare_suite, regress_suite, worst_code
from benchmark.api.workspace import Workspace
from benchmark.cli.options import report_refused, selection_options
from benchmark.cli.tables import make_console
from benchmark.cli.verdicts import Detail, detail_options, print_verdicts
from benchmark.runs.events import write_bytes
from benchmark.spec.load import SuiteFile
from benchmark.spec.selectors import Selection, parse_seeds

if TYPE_CHECKING:
    from benchmark.verdicts.regression import Regression
    from benchmark.verdicts.results import SuiteVerdict


@click.command()
@selection_options()
@click.option(
    "--regress",
    is_flag=True,
    help="Hold the records against those committed under results/: equal bits where the "
    "environment is the same, else equal picks, else the suite's rule.",
)
@click.option(
    "--looks",
    metavar="N,...",
    help="Trials at which it was planned to look, where seeds were added until decided.",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the verdicts as JUnit XML.",
)
@click.option(
    "--github",
    is_flag=True,
    help="Also print annotations for GitHub Actions and add to its step summary.",
)
@detail_options
@click.pass_obj
def compare(
    settings: Workspace,
    selection: Selection,
    regress: bool,
    looks: str | None,
    junit: Path | None,
    github: bool,
    detail: Detail,
) -> int:
    """Judge the records of the selection: a verdict for each published number, curve and claim.

    Prints the answer on one screen: a row for each method, what is not as expected, and what is
    missing. --all prints every number instead.

    Exit code 0 all matched or nothing to compare, 1 a discrepancy, 3 not (completely) measured, 4
    inconclusive only.
    """
    suites = selection.suites(settings.suites)
    planned = tuple(sorted(parse_seeds(looks))) if looks else ()
    judgements = (
        []
        if regress
        else [_judge_suite(settings, selection, suite, planned, detail) for suite in suites]
    )
    regressions = (
        [_regress_suite(settings, selection, suite, detail) for suite in suites] if regress else []
    )
    if junit is not None:
        from benchmark.reports.junit import render

        junit.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(junit, render(judgements, regressions).encode())
    if github:
        _tell_github(suites, judgements, regressions)
    return worst_code(
        [item.exit_code for item in judgements] + [item.exit_code for item in regressions]
    )


def _judge_suite(
    settings: Workspace,
    selection: Selection,
    suite: SuiteFile,
    looks: Sequence[int],
    detail: Detail,
) -> SuiteVerdict:
    item = compare_suite(settings, selection, suite, looks=looks)
    for refused in item.refused:
        report_refused(refused)
    print_verdicts(settings, selection, item, detail)
    return item.judgement


def _regress_suite(
    settings: Workspace, selection: Selection, suite: SuiteFile, detail: Detail
) -> Regression:
    from benchmark.reports import terminal

    found = regress_suite(settings, selection, suite, on_refused=report_refused)
    terminal.show_regression(found, make_console(), brief=detail == "quiet")
    if not committed_rows(settings, suite):
        folder = settings.results / suite.id
        click.echo(
            f"{folder}: nothing is committed\n  -> `albench report {suite.id} --publish` and "
            "commit it",
            err=True,
        )
    return found


def _tell_github(
    suites: Sequence[SuiteFile],
    judgements: Sequence[SuiteVerdict],
    regressions: Sequence[Regression],
) -> None:
    """Annotations on standard output, and the summary appended to the file that the service
    names."""
    from benchmark.reports import github

    root = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    for suite in suites:
        lines = [
            line
            for one in judgements
            if one.suite == suite.id
            for line in github.annotate(suite, one, root)
        ]
        for one in regressions:
            lines += github.annotate_regression(suite, one, root) if one.suite == suite.id else []
        for line in lines:
            click.echo(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(github.step_summary(judgements, regressions))
