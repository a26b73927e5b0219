"""Reports of one suite: `write` makes them all, each from the same suite verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.reports.page_context import PageContext
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict


def write(
    folder: Path,
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    measurements: Sequence[Measurement],
    cost_note: str,
    commands: Mapping[str, str],
    facts: Mapping[str, str] | None = None,
    context: PageContext | None = None,
) -> list[Path]:
    """Write every report of a suite into a folder and return the files.

    `commands` are shown with their purpose ("run what is missing"); `facts` are further conditions
    to show by name (determinism level, image, precision); `context` holds addresses of other
    pages and what was bought. What is written depends on the arguments alone: no clock, no host.
    """
    from benchmark.reports.writer import write_all

    return write_all(
        folder, suite_file, judgement, measurements, cost_note, commands, facts or {}, context
    )


def write_index(
    folder: Path,
    reports: Mapping[Path, SuiteVerdict],
    datasets: Mapping[str, str] | None = None,
    costs: Mapping[tuple[str, str], float] | None = None,
    measurements: Mapping[Path, Sequence[Measurement]] | None = None,
    others: Sequence[SuiteVerdict] = (),
) -> list[Path]:
    """Write the page over all suites, with claims and leaderboard, and a page for each method;
    return the files.

    `reports` are the suite verdicts by the path of their page, `datasets` the name of the data set
    by suite id, `costs` the cost of one trial in any one unit by suite id and method,
    `measurements` what the verdicts were made from, by the same path, and `others` verdicts on
    suites that have no page.
    """
    from benchmark.reports import writer

    return writer.write_index(
        folder, reports, datasets or {}, costs or {}, measurements or {}, others
    )
