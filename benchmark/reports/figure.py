"""The figure of a page that answers to mouse, touch and keyboard: its values, and the library that
draws it.

The library is uPlot 1.6.32 by Leon Sorokin under the MIT licence, as the npm package `uplot` ships
it. The folder `vendor` keeps it unchanged with its licence, and a page holds all of it, so that a
page needs no network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.reports import curves
from benchmark.reports.curves import Look, Point
from benchmark.spec.load import SuiteFile
from benchmark.spec.published import TARGETS
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict
from benchmark.verdicts.trials import select_trials

LIBRARY = Path(__file__).parent / "vendor" / "uplot-1.6.32"
DIGESTS = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""sha256 of the library's files, as in the package."""
DIGITS = 3
"""Digits after the point that a page keeps of a value: a thousandth of a percent is less than one
test image."""


def suite_figure(
    suite_file: SuiteFile, judgement: SuiteVerdict, measurements: Sequence[Measurement]
) -> dict[str, Any] | None:
    """Every curve of a suite in plain values, ours and the paper's, and the gains over random
    sampling; None where there are no two sizes.

    A point of ours is `[labelled images, mean, half the 95 % interval or null, trials]`, one of the
    paper's `[labelled images, value, half its spread or null]`.
    """
    metric = judgement.rule.metric
    trials = select_trials(measurements, judgement.suite, judgement.profile, judgement.variant)
    rows = curves.published_rows(suite_file, judgement)
    looks = curves.method_looks(suite_file, judgement, trials, rows)
    if not looks:
        return None
    bases = curves.find_controls(suite_file, judgement, trials, looks)
    values, gains = [], []
    for method, look in looks.items():
        printed = sorted(
            (row for row in rows if row.method == method and row.role in TARGETS),
            key=lambda row: row.labelled or 0,
        )
        theirs = [
            [
                row.labelled,
                _round_value(row.mean),
                None if row.dispersion_kind == "undefined" else _round_value(row.dispersion),
            ]
            for row in printed
        ]
        values.append(
            _make_series(method, look, curves.mean_points(trials, method, metric), theirs)
        )
        if method in bases:
            differences = curves.published_gain(rows, method, bases[method])
            points = curves.gain_points(trials, method, bases[method], metric)
            gains.append(
                _make_series(
                    method,
                    look,
                    points,
                    [[size, _round_value(gap), None] for size, gap in differences.items()],
                )
            )
    height = curves.mean_ceiling(trials, metric)
    views: list[dict[str, Any]] = [
        {
            "name": metric,
            "axis": curves.value_axis(suite_file, metric),
            "series": values,
            "line": None if height is None else ["all labels", _round_value(height)],
        },
    ]
    if any(item["ours"] for item in gains):
        views.append(
            {
                "name": "gain over random",
                "axis": curves.gain_axis(metric),
                "series": gains,
                "line": ["random, same seeds", 0],
            }
        )
    return {
        "title": f"{judgement.title}: all curves",
        "what": "method",
        "unit": "trials",
        "views": views,
    }


def gains_figure(title: str, gains: Mapping[str, Sequence[Point]]) -> dict[str, Any] | None:
    """Gains over random sampling by suite; None for fewer than two suites, whose own pages show the
    same."""
    series = [
        _make_series(name, curves.look_at(index), points, [])
        for index, (name, points) in enumerate(gains.items())
        if points
    ]
    if len(series) < 2:
        return None
    view = {
        "name": "gain",
        "axis": "gain over random (points)",
        "series": series,
        "line": ["random, same seeds", 0],
    }
    return {"title": title, "what": "suite", "unit": "pairs", "views": [view]}


def library_script() -> str:
    """The library with its licence before it, as one script."""
    return f"/*\n{_read_library('LICENSE')}\n*/\n{_read_library('uPlot.iife.min.js')}\n"


def library_style() -> str:
    """The library's style sheet."""
    return _read_library("uPlot.min.css")


def values_text(figure: Mapping[str, Any]) -> str:
    """The values as JSON that can stand inside a page: no character of it ends an element."""
    text = json.dumps(figure, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _read_library(name: str) -> str:
    return (LIBRARY / name).read_text(encoding="utf-8").strip()


def _make_series(
    name: str, look: Look, points: Iterable[Point], published: list[list[Any]]
) -> dict[str, Any]:
    return {
        "name": name,
        "colour": look.colour,
        "marker": look.marker,
        "ours": [
            [point.size, _round_value(point.mean), _round_value(point.half), point.n]
            for point in points
        ],
        "published": published,
    }


def _round_value(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, DIGITS)
