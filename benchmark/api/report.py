"""From records to files for people and for programs. Needs no data, no GPU, no tracker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmark.api.compare import (
    MISSING,
    ComparisonResult,
    committed_rows,
    compare_suite,
    costs_of,
    regress_suite,
)
from benchmark.api.purchases import summarize_purchases
from benchmark.api.report_stamp import Stamp
from benchmark.api.report_tracking import track_report
from benchmark.api.selection import Selectors, as_selection
from benchmark.api.tracking import suite_page
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit, UsageError
from benchmark.runs import conditions
from benchmark.spec.identity import digest
from benchmark.spec.load import SuiteFile
from benchmark.spec.selectors import Selection, Selector
from benchmark.tracking import links

if TYPE_CHECKING:
    from benchmark.reports.page_context import PageContext
    from benchmark.spec.suite import Rule
    from benchmark.verdicts.measurements import Measurement
    from benchmark.verdicts.results import SuiteVerdict

WHOLE = ("paper", "as_published")
"""Profile and variant of a suite's whole protocol, whose report lies in the suite's own folder."""
PAGE = "report.html"
INDEX = "index.html"


@dataclass(frozen=True)
class ReportOptions:
    """Where reports go and what goes into them."""

    out: Path | None = None
    """Folder of the reports, each in its suite's own; None: ./report."""
    committed: bool = False
    """Take trials that are not in the runs folder from results/."""
    publish: bool = False
    """Write into results/SUITE, with the measurements, to be committed."""
    tracking: bool = True
    """Add the verdicts to MLflow, where it has been used."""
    tracking_uri: str | None = None
    republish: bool = False
    """Write the pages of everything that is committed in results/ again, with the page over all of
    it."""


@dataclass(frozen=True)
class SuiteReport:
    """The files of one suite's report; none where nothing was measured yet."""

    comparison: ComparisonResult
    files: Sequence[Path] = ()
    changes: Sequence[str] = ()
    """Committed trials that publishing replaces by others."""
    tracking_problem: str = ""
    is_unchanged: bool = False
    """The files are those of an earlier call: nothing that they are made from has changed, so
    nothing was written."""

    @property
    def command(self) -> str:
        """The command that runs what is missing; empty where nothing is."""
        return self.comparison.commands.get(MISSING, "")


@dataclass(frozen=True)
class ReportResult:
    """Everything that was written."""

    suites: Sequence[SuiteReport]
    index: Sequence[Path] = ()
    """The page over all suites, where there are several."""

    @property
    def files(self) -> list[Path]:
        """All files in the order in which they were written."""
        return [path for suite in self.suites for path in suite.files] + list(self.index)

    @property
    def exit_code(self) -> Exit:
        """Whether there was anything to report of every suite; the verdict is `compare`'s."""
        return Exit.OK if all(suite.files for suite in self.suites) else Exit.NOT_MEASURED


def report(
    selectors: Selectors, workspace: Workspace | None = None, options: ReportOptions | None = None
) -> ReportResult:
    """Write the reports of the selection: tables, plots, verdicts for people and for programs; of
    several suites also an index with the leaderboard. Raises UsageError for options that exclude
    each other or a selection that names nothing.
    """
    workspace = workspace or Workspace()
    options = options or ReportOptions()
    selection = as_selection(selectors)
    if options.publish and (options.out is not None or options.committed):
        other = "--committed" if options.out is None else "--out"
        raise UsageError(
            f"--publish and {other} exclude each other",
            remedy="publish what was run here, into results/",
        )
    if (options.publish or options.republish) and selection.changes:
        raise UsageError(
            "results/ holds what suites give as they are",
            where=", ".join(selection.changes),
            remedy="leave out --set and --network, or write a suite that has these values",
        )
    if options.republish:
        if options.publish or options.out is not None:
            other = "--publish" if options.publish else "--out"
            raise UsageError(
                f"--republish and {other} exclude each other", remedy="give one of them"
            )
        return _republish(selection, workspace)
    base = workspace.results if options.publish else options.out or Path("report")
    suites = selection.suites(workspace.suites)
    index = len(suites) > 1 and not options.publish
    reports: list[SuiteReport] = []
    pages: dict[Path, ComparisonResult] = {}
    others: list[SuiteVerdict] = []
    for suite in suites:
        comparison = compare_suite(
            workspace, selection, suite, borrow=options.committed, publish=options.publish
        )
        folder = _report_folder(base, selection, suite)
        reports.append(
            _write_suite(workspace, comparison, selection, options, base, folder, index=index)
        )
        if reports[-1].files:
            pages[folder / PAGE] = comparison
        else:
            others.append(comparison.judgement)
    if not index or not pages:
        return ReportResult(reports, ())
    costs: dict[tuple[str, str], float] = {}
    for item in pages.values():
        costs |= _method_costs(item.suite, selection)
    return ReportResult(reports, _write_index(base, suites, pages, others, costs))


def _republish(selection: Selection, workspace: Workspace) -> ReportResult:
    """Every profile and variant with committed trials of the selected suites, judged and written
    again: measurements, labelled sets and conditions stay as they are. Run folders and the tracker
    are neither read nor changed. Parts that were put together into a whole have its page instead of
    their own."""
    from benchmark.reports import write
    from benchmark.verdicts.parts import shown_profiles

    base = workspace.results
    alone = Workspace(
        suites=workspace.suites,
        runs=base / "no-runs",
        data=workspace.data,
        cache=workspace.cache,
        results=base,
    )
    reports: list[SuiteReport] = []
    judged: dict[Path, ComparisonResult] = {}
    others: list[SuiteVerdict] = []
    costs: dict[tuple[str, str], float] = {}
    suites = selection.suites(workspace.suites)
    for suite in suites:
        rows = committed_rows(alone, suite)
        kept = shown_profiles(suite, rows)
        for profile, variant in {(row.profile, row.variant) for row in rows} - set(kept):
            here = Selection([Selector(suite.id)], profile, variant)
            shutil.rmtree(_report_folder(base, here, suite), ignore_errors=True)
        for profile, variant in kept:
            here = Selection([Selector(suite.id)], profile, variant)
            item = compare_suite(alone, here, suite, borrow=True, publish=True)
            if (profile, variant) != WHOLE and item.judgement.missing:
                # Only of the whole protocol are methods without a trial missing: another profile
                # was published with some of them.
                methods = dict.fromkeys(row.method for row in item.measurements)
                here = replace(here, methods=tuple(methods))
                item = compare_suite(alone, here, suite, borrow=True, publish=True)
            folder = _report_folder(base, here, suite)
            files = write(
                folder,
                suite,
                item.judgement,
                item.measurements,
                item.cost_note,
                item.commands,
                item.facts,
                around_page(alone, item, base, folder, index=True),
            )
            reports.append(SuiteReport(item, files))
            judged[folder / PAGE] = item
            costs |= _method_costs(suite, here)
        if WHOLE not in kept:
            others.append(
                compare_suite(alone, Selection([Selector(suite.id)]), suite, borrow=True).judgement
            )
    return ReportResult(reports, _write_index(base, suites, judged, others, costs))


def find_page(selection: Selection, suite: SuiteFile, out: Path | None = None) -> Path | None:
    """The page of a suite's report where one was written, below `out` (None: ./report); None where
    there is none."""
    page = _report_folder(out or Path("report"), selection, suite) / PAGE
    return page if page.is_file() else None


def _write_suite(
    workspace: Workspace,
    item: ComparisonResult,
    selection: Selection,
    options: ReportOptions,
    base: Path,
    folder: Path,
    *,
    index: bool,
) -> SuiteReport:
    """One suite's report, published and tracked as the options say."""
    from benchmark.reports import write

    if not item.measurements:
        return SuiteReport(item)
    address = _runs_page(workspace, item, options)
    stamp = Stamp(workspace.cache, folder, item, index, address)
    tracker = _tracker_stamp(workspace, options)
    if not options.publish and (kept := stamp.files(tracker)) is not None:
        return SuiteReport(item, kept, is_unchanged=True)
    files = write(
        folder,
        item.suite,
        item.judgement,
        item.measurements,
        item.cost_note,
        item.commands,
        item.facts,
        around_page(workspace, item, base, folder, index=index, runs=address),
    )
    changes: list[str] = []
    if options.publish:
        tables, changes = _publish_measurements(workspace, item, selection)
        files = [*files, *tables]
    problem = track_report(workspace, item, files, options.tracking_uri) if options.tracking else ""
    if workspace.runs.is_dir() and not problem:
        stamp.save(files, tracker)
    return SuiteReport(item, files, changes, problem)


def around_page(
    workspace: Workspace,
    item: ComparisonResult,
    base: Path,
    folder: Path,
    *,
    index: bool,
    runs: str = "",
) -> PageContext:
    """What is shown around the page of a suite in a folder below `base`. `index`: there is a page
    over all suites in `base`; `runs` is the address of MLflow's page."""
    from benchmark.reports.page_context import PageContext, method_file

    up = "/".join([".."] * len(folder.relative_to(base).parts))
    methods = dict.fromkeys(cell.method for cell in item.judgement.cells) if index else {}
    links = {method: quote(f"{up}/{method_file(method)}") for method in methods}
    return PageContext(
        f"{up}/{INDEX}" if index else "", links, runs, summarize_purchases(workspace, item)
    )


def _runs_page(workspace: Workspace, item: ComparisonResult, options: ReportOptions) -> str:
    """Address of MLflow's page with the runs of a suite; empty where there is none, and for what is
    committed."""
    if options.publish or not options.tracking or not item.records:
        return ""
    return suite_page(item.suite.id, workspace, tracking_uri=options.tracking_uri)


def _method_costs(suite: SuiteFile, selection: Selection) -> dict[tuple[str, str], float]:
    """Floating point operations of a trial by suite and method."""
    return {(suite.id, method): cost for method, cost in costs_of(suite, selection).items()}


def _write_index(
    base: Path,
    suites: Sequence[SuiteFile],
    pages: Mapping[Path, ComparisonResult],
    others: Sequence[SuiteVerdict],
    costs: Mapping[tuple[str, str], float],
) -> list[Path]:
    """The page over all suites, and the pages of methods."""
    from benchmark.reports import write_index

    datasets = {suite.id: suite.suite.protocol.data.name for suite in suites}
    return write_index(
        base,
        {page: item.judgement for page, item in pages.items()},
        datasets,
        costs,
        {page: item.measurements for page, item in pages.items()},
        others,
    )


def _report_folder(base: Path, selection: Selection, suite: SuiteFile) -> Path:
    plain = (selection.profile, selection.variant) == WHOLE
    named = [] if plain else [selection.profile, selection.variant]
    named += [f"changed-{digest(dict(suite.changes))[:8]}"] if suite.changes else []
    return base / suite.id / ".".join(named)


def _publish_measurements(
    workspace: Workspace, item: ComparisonResult, selection: Selection
) -> tuple[list[Path], list[str]]:
    """Put the measurements into the committed table, and the labelled sets beside it; rows of other
    profiles and variants stay, and of a suite that is compared with its own records those of the
    same trials on other processors. The files, and what changes."""
    from benchmark.verdicts.measurements import write_committed

    here, before = (selection.profile, selection.variant), committed_rows(workspace, item.suite)
    rule = item.suite.resolve(*here).rule
    changed: list[str] = []
    if any((row.profile, row.variant) == here for row in before):
        changed = [
            str(trial)
            for trial in regress_suite(workspace, selection, item.suite).trials
            if trial.divergence
        ]
    others = [
        row
        for row in before
        if (row.profile, row.variant) != here or _is_other_reference(row, item.measurements, rule)
    ]
    table = write_committed(workspace.results / item.suite.id, [*others, *item.measurements])
    beside = {row.env_id for row in others if (row.profile, row.variant) == here}
    tables = [table, _publish_conditions(workspace, item, here, beside)]
    return [*tables, *_publish_picks(workspace, item, [*others, *item.measurements])], changed


def _is_other_reference(row: Measurement, published: Sequence[Measurement], rule: Rule) -> bool:
    """Whether a committed measurement answers a published trial on another processor, where each
    kind of processor has a reference of its own."""
    return (
        rule.reference == "records"
        and any(other.trial_id == row.trial_id for other in published)
        and all(other.device_model != row.device_model for other in published)
    )


def _publish_conditions(
    workspace: Workspace, item: ComparisonResult, here: tuple[str, str], beside: Collection[str]
) -> Path:
    """Put the conditions of these trials beside their committed measurements; those of other
    profiles and variants and of the environments `beside` stay, and those of parts that a trial was
    put together from are replaced too."""
    path = workspace.results / item.suite.id / conditions.FILE
    found = conditions.summarize_conditions(item.records)
    replaced = {here, *((line.profile, line.variant) for line in found)}
    kept = [
        line
        for line in conditions.read_conditions(path)
        if (line.profile, line.variant) not in replaced or line.env_id in beside
    ]
    conditions.write_conditions(path, [*kept, *found])
    return path


def _publish_picks(
    workspace: Workspace, item: ComparisonResult, rows: Sequence[Measurement]
) -> list[Path]:
    """Put the labelled sets of these trials beside their committed measurements; a trial whose run
    folder does not have a sound one is left out. The file, where there is any set."""
    from benchmark.runs import picks

    path = workspace.results / item.suite.id / picks.FILE
    sets = {(one.trial_id, one.env_id): one for one in picks.read_picks(path)}
    for record in item.records:
        with suppress(OSError, ValueError):
            sets[record.trial_id, record.env_id] = picks.read_labelled(workspace.runs, record)
    committed = {(part.trial_id, part.env_id) for row in rows for part in row.parts or (row,)}
    kept = [one for key, one in sets.items() if key in committed]
    if kept:
        picks.write_picks(path, kept)
    return [path] if kept else []


def _tracker_stamp(workspace: Workspace, options: ReportOptions) -> str:
    """Which tracker gets the verdicts: a database by its file, so that a new one gets them too;
    empty for none. A server may lose them unnoticed, so it gets them every time."""
    if not options.tracking:
        return ""
    file = links.database_file(options.tracking_uri or links.embedded_uri(workspace.runs))
    if file is None:
        return f"{options.tracking_uri} at {time.time_ns()}"
    return str(file.stat().st_ino) if file.exists() else ""
