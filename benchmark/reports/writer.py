"""The files of a suite's report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from benchmark.reports import figure, html, junit, leaderboard, markdown, plots
from benchmark.runs.events import write_bytes
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict


def write_all(
    folder: Path,
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    measurements: Sequence[Measurement],
    cost_note: str,
    commands: Mapping[str, str],
    facts: Mapping[str, str],
    index: str = "",
) -> list[Path]:
    """`verdicts.json`, `report.md`, `report.html`, `junit.xml` and the pictures: see `benchmark.reports.write`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = plots.pictures(suite_file, judgement, measurements)
    shown = {picture.title: f"{picture.name}.png" for picture in pictures}
    curves = figure.suite_figure(suite_file, judgement, measurements)
    page = html.suite_page(suite_file, judgement, pictures, cost_note, commands, facts, index, curves)
    files: dict[str, bytes] = {
        "verdicts.json": (json.dumps(judgement.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "report.md": markdown.render(suite_file, judgement, cost_note, commands, facts, shown).encode(),
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
) -> list[Path]:
    """`index.html` with the leaderboard and its pictures: see `benchmark.reports.write_index`."""
    folder.mkdir(parents=True, exist_ok=True)
    judgements = list(reports.values())
    pages = [
        html.Page(judgement, datasets.get(judgement.suite, ""), _link(folder, report))
        for report, judgement in reports.items()
    ]
    found = leaderboard.make_leaderboard(judgements, datasets, costs)
    drawn = [leaderboard.diagram(found) if found else None, leaderboard.cost_picture(judgements, costs)]
    pictures = [picture for picture in drawn if picture is not None]
    files = {"index.html": html.index_page(pages, found, pictures).encode()}
    for picture in pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in sorted(files)]


def _link(folder: Path, report: Path) -> str:
    """Relative address of a page, so that the folder can be moved or served as it is."""
    relative = os.path.relpath(report.resolve(), folder.resolve())
    return quote(Path(relative).as_posix())
