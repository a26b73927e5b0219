"""What figures show of a suite: our means with bands, the published points, and gains over random
sampling, by method.

Static pictures (`plots`) and the figure of the page (`figure`) are made from the same values,
colours and markers. Colours are Okabe and Ito's, which colour-blind readers distinguish; every
method also has its own marker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.spec.groups import CEILING
from benchmark.spec.load import SuiteFile
from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.verdicts import stats
from benchmark.verdicts.method_table import find_control
from benchmark.verdicts.results import SuiteVerdict
from benchmark.verdicts.trials import Trials

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = "osD^vPX*<>p"
"""Markers by matplotlib's letters."""
NEUTRAL = "#7f7f7f"


@dataclass(frozen=True)
class Look:
    """Colour and marker of a curve; without a marker it stands in the background."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Point:
    """A mean at one number of labelled images."""

    size: int
    mean: float
    half: float
    """Half the width of its 95 % confidence interval; NaN for one trial."""
    n: int
    """Trials, or pairs of trials."""


def look_at(index: int) -> Look:
    """Colour and marker of the curve with this index."""
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])


def published_rows(suite_file: SuiteFile, judgement: SuiteVerdict) -> list[ReportedResult]:
    """Published numbers that can be drawn beside ours: of the suite's metric, with a size, for the
    whole protocol only."""
    rows = suite_file.reported if judgement.profile == "paper" else ()
    return [
        row
        for row in rows
        if row.metric == judgement.rule.metric and None not in (row.labelled, row.mean)
    ]


def method_looks(
    suite_file: SuiteFile, judgement: SuiteVerdict, trials: Trials, rows: Sequence[ReportedResult]
) -> dict[str, Look]:
    """Methods with anything to draw, in the suite's order and then those of one's own; none where
    there are no two sizes."""
    sizes = {row.labelled for row in trials.rows} | {row.labelled for row in rows}
    methods = _curve_methods(suite_file, trials, rows) if len(sizes) > 1 else []
    return {method: look_at(index) for index, method in enumerate(methods)}


def _curve_methods(
    suite_file: SuiteFile, trials: Trials, rows: Iterable[ReportedResult]
) -> list[str]:
    drawn = set(trials.methods) | {row.method for row in rows if row.role in TARGETS}
    known = [method for method in suite_file.suite.methods if method in drawn]
    others = [method for method in trials.methods if method not in known]
    # The training on all labels is a line in every panel: a panel of its own would be one point,
    # far to the right.
    return [*known, *(method for method in others if method != CEILING or drawn == {CEILING})]


def find_controls(
    suite_file: SuiteFile, judgement: SuiteVerdict, trials: Trials, methods: Iterable[str]
) -> dict[str, str]:
    """Random sampling with the same training, by method that was measured; methods without any are
    left out."""
    held = {
        row.method: row.control for row in judgement.standings
    }  # knows the training of methods of one's own
    found = {
        method: held[method]
        if method in held
        else find_control(suite_file.suite, method, trials.methods)
        for method in methods
        if method in trials.methods
    }
    return {method: base for method, base in found.items() if base}


def mean_points(trials: Trials, method: str, metric: str) -> list[Point]:
    """Our mean at every size with a value."""
    found = [
        (size, list(trials.values(method, size, metric).values())) for size in trials.sizes(method)
    ]
    return [
        Point(size, float(np.mean(values)), _half_width(values), len(values))
        for size, values in found
        if values
    ]


def gain_points(trials: Trials, method: str, base: str, metric: str) -> list[Point]:
    """Mean paired difference to another method at every size with shared seeds."""
    points = []
    for size in trials.sizes(method):
        _, ours, theirs = stats.pair(
            trials.values(method, size, metric), trials.values(base, size, metric)
        )
        if len(ours):
            points.append(
                Point(
                    size, float((ours - theirs).mean()), _half_width(list(ours - theirs)), len(ours)
                )
            )
    return points


def published_gain(rows: Sequence[ReportedResult], method: str, base: str) -> dict[int, float]:
    """Difference of the published values of two methods, by size that both have."""
    means: dict[str, dict[int, float]] = {method: {}, base: {}}
    for row in rows:
        if row.method in means and row.role in TARGETS and row.labelled is not None:
            means[row.method].setdefault(row.labelled, row.value)
    shared = sorted(means[method].keys() & means[base].keys())
    return {size: means[method][size] - means[base][size] for size in shared}


def mean_ceiling(trials: Trials, metric: str) -> float | None:
    """Mean of trainings on all labels; None where there is none."""
    found = [
        value
        for size in trials.sizes(CEILING)
        for value in trials.values(CEILING, size, metric).values()
    ]
    return float(np.mean(found)) if found else None


def value_axis(suite_file: SuiteFile, metric: str) -> str:
    """Name of the vertical axis with curves."""
    models = len(suite_file.suite.protocol.models)
    if models > 1 and metric == "accuracy":
        return f"mean accuracy over {models} models (%)"
    return f"{metric} (%)" if metric.startswith("accuracy") else metric


def gain_axis(metric: str) -> str:
    """Name of the vertical axis with gains."""
    return f"gain over random ({'points' if metric.startswith('accuracy') else metric})"


def _half_width(values: Sequence[float]) -> float:
    n = len(values)
    return (
        stats.t_critical(0.025, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
        if n > 1
        else math.nan
    )
