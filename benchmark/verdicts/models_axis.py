"""Target models as an axis of their own (DIAM): what scatters over models is kept apart from what
scatters over seeds.

The rules are those of the official table script: per method the mean over rounds of the mean over
models, beside it the mean over rounds of the standard deviation over models (divisor: their
number), and the best mean marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.verdicts.method_table import shared_sizes
from benchmark.verdicts.published_numbers import ComparisonContext
from benchmark.verdicts.ranking import curve_area
from benchmark.verdicts.results import CurveVerdict, ModelRow

Curve = Mapping[str, Mapping[int, float]]
"""Value by metric and labelled size."""


def model_rows(
    case: ComparisonContext, reported: Iterable[ReportedResult], curves: Sequence[CurveVerdict]
) -> list[ModelRow]:
    """One row per method with a trial or a published curve; none for a suite with one target model.

    Ours are taken over the sizes that every measured method has, published ones over the sizes of
    ours, or over all that the protocol has where nothing was run: two numbers of one row are means
    over the same sizes.
    """
    places = case.suite.protocol.trained()
    if len(case.suite.protocol.models) < 2 or len(places) < 2:
        return []
    published = _published_curves(reported)
    sizes = shared_sizes(case) or case.suite.protocol.acquisition.labelled()
    names = [f"accuracy/model{place}" for place in places]
    rule, metric = case.suite.rule.curve, case.suite.rule.metric
    verdicts = {curve.method: curve.verdict for curve in curves if curve.metric == metric}
    rows = []
    single: dict[str, list[float]] = {}
    printed: dict[str, list[float]] = {}
    for method in dict.fromkeys([*case.suite.methods, *case.trials.methods]):
        if method not in case.methods and method not in case.trials.methods:
            continue
        found = case.trials.curves(method, sizes, metric)
        by_model = [case.trials.curves(method, sizes, name) for name in names]
        seeds = [seed for seed in found if all(seed in one for one in by_model)]
        row = ModelRow(method, case.title(method), len(places), len(seeds), None, None, None)
        if seeds:
            values = np.array(
                [[one[seed] for one in by_model] for seed in seeds]
            )  # (seeds, models, sizes)
            means = [_curve_number(sizes, found[seed], rule) for seed in seeds]
            row = replace(
                row,
                mean=float(np.mean(means)),
                verdict=verdicts.get(method),
                over_models=float(
                    np.mean([_curve_number(sizes, spread, rule) for spread in values.std(axis=1)])
                ),
                over_seeds=float(np.std(means, ddof=1)) if len(means) > 1 else None,
            )
            single[method] = [
                float(np.mean([_curve_number(sizes, curve, rule) for curve in one]))
                for one in values.swapaxes(0, 1)
            ]
        theirs = published.get(method, {})
        whole = len(places) == len(case.suite.protocol.models)
        if whole and all(size in theirs.get(metric, {}) for size in sizes):
            row = replace(
                row, published=_curve_number(sizes, [theirs[metric][size] for size in sizes], rule)
            )
        if all(size in theirs.get(name, {}) for name in names for size in sizes):
            grid = np.array([[theirs[name][size] for size in sizes] for name in names])
            row = replace(row, published_over_models=_curve_number(sizes, grid.std(axis=0), rule))
            if not whole:  # the printed mean is one over models that were not trained here
                row = replace(row, published=_curve_number(sizes, grid.mean(axis=0), rule))
            printed[method] = [_curve_number(sizes, curve, rule) for curve in grid]
        if row.mean is not None or row.published is not None:
            rows.append(row)
    return _mark_best(rows, _count_wins(single), _count_wins(printed))


def _curve_number(sizes: Sequence[int], curve: Sequence[float] | np.ndarray, rule: str) -> float:
    """The one number of a curve; of a single size, its value."""
    return float(curve_area(sizes, curve, rule)) if len(sizes) > 1 else float(curve[0])


def _published_curves(reported: Iterable[ReportedResult]) -> dict[str, dict[str, dict[int, float]]]:
    """Method, metric and size to the published value: deciding ones, and single models, which stand
    beside."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in reported:
        if (
            row.labelled is not None
            and row.mean is not None
            and (row.role in TARGETS or "/model" in row.metric)
        ):
            found.setdefault(row.method, {}).setdefault(row.metric, {}).setdefault(
                row.labelled, row.mean
            )
    return found


def _count_wins(curves: Mapping[str, Sequence[float]]) -> dict[str, int]:
    """On how many models each method has the highest number; shared ones count for all that share
    them."""
    if len(curves) < 2:
        return {}
    values = np.array(list(curves.values()))
    return {
        method: int(count)
        for method, count in zip(curves, (values == values.max(axis=0)).sum(axis=1), strict=True)
    }


def _mark_best(
    rows: Sequence[ModelRow], wins: Mapping[str, int], printed: Mapping[str, int]
) -> list[ModelRow]:
    means = [row.mean for row in rows if row.mean is not None]
    top = max(means) if len(means) > 1 else None
    return [
        replace(
            row,
            wins=wins.get(row.method),
            published_wins=printed.get(row.method),
            best=row.mean is not None and row.mean == top,
        )
        for row in rows
    ]
