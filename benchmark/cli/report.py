"""report: from records to files for people and for programs. Needs no data, no GPU, no tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.api.compare import (
    MISSING,
    RECORDS,
    ComparisonResult,
    committed_rows,
    compare_suite,
    costs_of,
    regress_suite,
)
from benchmark.api.workspace import Workspace
from benchmark.cli.options import selecting
from benchmark.errors import Exit, UsageError
from benchmark.runs.events import write_bytes
from benchmark.spec.load import SuiteFile
from benchmark.spec.selectors import Selection

if TYPE_CHECKING:
    from benchmark.verdicts.results import Estimate, SuiteVerdict

PAGE = "report.html"
INDEX = "index.html"


@click.command()
@selecting(plugins=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the reports, each in its suite's own.  [default: ./report]",
)
@click.option("--committed", is_flag=True, help="Take trials that are not in the runs folder from results/.")
@click.option("--publish", is_flag=True, help="Write into results/SUITE, with the measurements, to be committed.")
@click.option("--no-tracking", is_flag=True, help="Do not add the verdicts to MLflow.")
@click.option(
    "--tracking-uri",
    metavar="URI",
    envvar=["ALBENCH_RUN_TRACKING_URI", "MLFLOW_TRACKING_URI"],
    help="MLflow's tracking URI.  [default: sqlite in the runs folder, where there is one]",
)
@click.pass_obj
def report(
    settings: Workspace, selection: Selection, out: Path | None, committed: bool, publish: bool, no_tracking: bool,
    tracking_uri: str | None,
) -> int:  # fmt: skip
    """Write the reports of the selection: tables, plots, verdicts for people and for programs; of several suites also an
    index with the leaderboard.

    The exit code says whether there was anything to report (0) or not (3); the verdict is `compare`'s.
    """
    from benchmark.reports import write

    if publish and (out is not None or committed):
        other = "--committed" if out is None else "--out"
        raise UsageError(f"--publish and {other} exclude each other", remedy="publish what was run here, into results/")
    base = settings.results if publish else out or Path("report")
    suites = selection.suites(settings.suites)
    index = len(suites) > 1 and not publish
    pages: dict[Path, ComparisonResult] = {}
    for suite in suites:
        item = compare_suite(settings, selection, suite, borrow=committed, publish=publish)
        if not item.measurements:
            click.echo(f"{suite.id}: nothing was measured yet; `{item.commands[MISSING]}`", err=True)
            continue
        folder = _folder(base, selection, suite)
        up = "/".join([".."] * len(folder.relative_to(base).parts))
        files = write(
            folder, suite, item.judgement, item.measurements, item.cost_note, item.commands, item.facts,
            f"{up}/{INDEX}" if index else "",
        )  # fmt: skip
        pages[folder / PAGE] = item
        if publish:
            files = [*files, _publish(settings, item, selection)]
        _say(files)
        if not no_tracking:
            _track(settings, item, files, tracking_uri)
    if index and pages:
        _say(_index(base, pages, selection))
    return Exit.OK if len(pages) == len(suites) else Exit.NOT_MEASURED


def _say(files: Sequence[Path]) -> None:
    for path in files:
        click.echo(f"wrote {path}")


def _index(base: Path, pages: Mapping[Path, ComparisonResult], selection: Selection) -> list[Path]:
    """The page over all suites."""
    from benchmark.reports import write_index

    datasets = {item.suite.id: item.suite.suite.protocol.data.name for item in pages.values()}
    costs = {
        (item.suite.id, method): cost
        for item in pages.values()
        for method, cost in costs_of(item.suite, selection).items()
    }
    return write_index(base, {page: item.judgement for page, item in pages.items()}, datasets, costs)


def _folder(base: Path, selection: Selection, suite: SuiteFile) -> Path:
    plain = (selection.profile, selection.variant) == ("paper", "as_published")
    return base / suite.id if plain else base / suite.id / f"{selection.profile}.{selection.variant}"


def _publish(settings: Workspace, item: ComparisonResult, selection: Selection) -> Path:
    """Put the measurements into the committed table; rows of other profiles and variants stay. What changes is said."""
    from benchmark.verdicts.measurements import write_results

    here, before = (selection.profile, selection.variant), committed_rows(settings, item.suite)
    if any((row.profile, row.variant) == here for row in before):
        changed = [str(trial) for trial in regress_suite(settings, selection, item.suite).trials if trial.divergence]
        for line in changed:
            click.echo(f"changes {line}", err=True)
    others = [row for row in before if (row.profile, row.variant) != here]
    path = settings.results / item.suite.id / RECORDS
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, write_results([*others, *item.measurements]).encode())
    return path


# ------------------------------------------------------------------------------------------------------------ tracking


def _track(settings: Workspace, item: ComparisonResult, files: Sequence[Path], uri: str | None) -> None:
    """Add verdicts, pictures and the page to the tracker; failing to is no failure of the report."""
    if uri is None and not (settings.runs / ".tracking" / "mlflow.db").exists():
        return
    from benchmark.reports.formatting import headline
    from benchmark.tracking import mlflow as tracking

    judgement = item.judgement
    shown = {path.stem: path for path in files if path.suffix in (".png", ".html")}
    try:
        tracking.publish_verdicts(
            uri, item.suite.id, judgement.profile, judgement.variant, tracked_rows(judgement), shown, runs=settings.runs,
            methods=[cell.method for cell in judgement.cells], lead=headline(judgement),
        )  # fmt: skip
    except Exception as error:
        click.echo(f"tracking: {error}\n  the report is complete without it", err=True)


def tracked_rows(judgement: SuiteVerdict) -> list[dict[str, Any]]:
    """Verdicts on numbers, areas and claims, and how methods stand, one row each. Rows without a method concern all."""
    curve = "area under {}" if judgement.rule.curve == "area" else "mean over sizes of {}"
    gain = "area" if judgement.rule.curve == "area" else "mean over sizes"
    rows: list[dict[str, Any]] = [
        {"method": item.method, "what": item.metric, "labelled": item.labelled, "verdict": str(item.verdict.kind),
         **_estimate(item.estimate), "reason": item.verdict.reason, "source": item.source}
        for item in judgement.numbers if item.decides
    ]  # fmt: skip
    rows += [
        {"method": item.method, "what": curve.format(item.metric), "labelled": None, "verdict": str(item.verdict.kind),
         **_estimate(item.estimate), "reason": item.verdict.reason, "source": item.source}
        for item in judgement.curves
    ]  # fmt: skip
    rows += [
        {"method": item.method, "what": f"gain over {item.control} ({gain})", "difference": item.gain, "low": item.gain_low,
         "high": item.gain_high, "n": item.n}
        for item in judgement.standings if item.control
    ]  # fmt: skip
    rows += [
        {"what": f"claim {claim.id}: {claim.text}", "verdict": str(claim.outcome), "reason": claim.reason,
         "source": claim.source}
        for claim in judgement.claims
    ]  # fmt: skip
    return rows


def _estimate(found: Estimate | None) -> dict[str, Any]:
    names = {"ours": "mean", "sd": "sd", "n": "n", "published": "reference", "difference": "difference", "low": "low",
             "high": "high", "needed": "needed"}  # fmt: skip
    return {name: None if found is None else getattr(found, field) for name, field in names.items()}
