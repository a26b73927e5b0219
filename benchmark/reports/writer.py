"""The files of a suite's report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from benchmark.reports import curves, figure, html, junit, leaderboard, markdown, plots
from benchmark.reports.page_context import METHODS, PageContext, method_file
from benchmark.runs.events import write_bytes
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict
from benchmark.verdicts.trials import select_trials


def write_all(
    folder: Path,
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    measurements: Sequence[Measurement],
    cost_note: str,
    commands: Mapping[str, str],
    facts: Mapping[str, str],
    context: PageContext | None = None,
) -> list[Path]:
    """`verdicts.json`, `report.md`, `report.html`, `junit.xml` and the pictures: see
    `benchmark.reports.write`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw_pictures(suite_file, judgement, measurements)
    shown = {picture.title: f"{picture.name}.png" for picture in pictures}
    values = figure.suite_figure(suite_file, judgement, measurements)
    page = html.suite_page(
        suite_file, judgement, pictures, cost_note, commands, facts, context, values
    )
    files: dict[str, bytes] = {
        "verdicts.json": (
            json.dumps(judgement.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        ).encode(),
        "report.md": markdown.render(
            suite_file, judgement, cost_note, commands, facts, shown
        ).encode(),
        "report.html": page.encode(),
        "junit.xml": junit.render([judgement]).encode(),
    }
    for picture in pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in sorted(files)]


def write_index(
    folder: Path,
    reports: Mapping[Path, SuiteVerdict],
    datasets: Mapping[str, str],
    costs: Mapping[tuple[str, str], float],
    measurements: Mapping[Path, Sequence[Measurement]],
    others: Sequence[SuiteVerdict],
) -> list[Path]:
    """`index.html` with the leaderboard and its pictures, and the pages of methods: see
    `benchmark.reports.write_index`."""
    folder.mkdir(parents=True, exist_ok=True)
    judgements = list(reports.values())
    methods = dict.fromkeys(cell.method for judgement in judgements for cell in judgement.cells)
    links = {method: quote(method_file(method)) for method in sorted(methods)}
    pages = _page_links(reports, datasets, others, folder)
    found = leaderboard.make_leaderboard(judgements, datasets, costs)
    drawn = [
        leaderboard.draw_diagram(found) if found else None,
        leaderboard.cost_picture(judgements, costs),
    ]
    pictures = [picture for picture in drawn if picture is not None]
    files = {"index.html": html.index_page(pages, found, pictures, links).encode()}
    for picture in pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    for method in methods:
        own = _page_links(reports, datasets, (), folder / METHODS)
        shown = figure.gains_figure(
            f"{method}: gain over random sampling", _method_gains(method, reports, measurements)
        )
        page = html.method_page(method, own, shown, costs, "../index.html")
        files[method_file(method)] = page.encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_bytes(folder / name, content)
    return [folder / name for name in sorted(files, key=lambda name: (name != "index.html", name))]


def _page_links(
    reports: Mapping[Path, SuiteVerdict],
    datasets: Mapping[str, str],
    others: Sequence[SuiteVerdict],
    folder: Path,
) -> list[html.Page]:
    """The suites with the addresses of their pages, seen from a folder."""
    shown = [
        html.Page(judgement, datasets.get(judgement.suite, ""), _relative_link(folder, report))
        for report, judgement in reports.items()
    ]
    return shown + [html.Page(judgement, datasets.get(judgement.suite, "")) for judgement in others]


def _method_gains(
    method: str,
    reports: Mapping[Path, SuiteVerdict],
    measurements: Mapping[Path, Sequence[Measurement]],
) -> dict[str, list[curves.Point]]:
    """Gains of a method over its control, by suite."""
    found = {}
    for path, judgement in reports.items():
        row = next(
            (row for row in judgement.standings if row.method == method and row.control), None
        )
        if row is not None:
            trials = select_trials(
                measurements.get(path, ()),
                judgement.suite,
                judgement.profile,
                judgement.variant,
                (method, row.control),
            )
            named = (
                judgement.suite
                if judgement.profile == "paper"
                else f"{judgement.suite}, {judgement.profile}"
            )
            found[named] = curves.gain_points(trials, method, row.control, judgement.rule.metric)
    return found


def _relative_link(folder: Path, report: Path) -> str:
    """Relative address of a page, so that the folder can be moved or served as it is."""
    relative = os.path.relpath(report.resolve(), folder.resolve())
    return quote(Path(relative).as_posix())
