"""How the methods of one suite stand to each other: areas, gain over random, labels saved, ranks,
agreement with the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.spec.suite import Component, Suite
from benchmark.verdicts import ranking, stats
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.published_numbers import ComparisonContext
from benchmark.verdicts.results import Cell, Standing
from benchmark.verdicts.trials import comparison_blocker

ExternalMethods = Mapping[str, Component]
EMPTY: ExternalMethods = {}


def make_cells(case: ComparisonContext) -> list[Cell]:
    """Our trials of every method at every size, summed up."""
    found = []
    for method in case.methods:
        for size in case.trials.sizes(method):
            values = list(case.trials.values(method, size, case.suite.rule.metric).values())
            if values:
                sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
                ends: tuple[float | None, float | None] = (None, None)
                if (
                    len(values) > 1
                    and case.suite.rule.metric == "accuracy"
                    and len(case.suite.protocol.models) == 1
                ):
                    ends = stats.interval_with_test_set(values, case.suite.protocol.data.test_size)
                found.append(Cell(method, size, float(np.mean(values)), sd, len(values), *ends))
    return found


def find_control(
    suite: Suite, method: str, measured: Iterable[str], external: ExternalMethods = EMPTY
) -> str:
    """The random sampling that a method is held against: the same training of the same networks if
    run, else plain training.

    `external` are the objectives of methods that are not the suite's own.
    """
    names = {name: (own.objective, own.set.get("models")) for name, own in suite.methods.items()}
    names |= {name: (objective, None) for name, objective in external.items()}
    random = [
        name
        for name in measured
        if name in suite.methods and suite.methods[name].strategy.name == "random"
    ]
    if method in random:
        return ""
    same = [name for name in random if method in names and names[name] == names[method]]
    plain = [name for name in random if names[name][0].name == "supervised"]
    return next(iter([*same, *plain, *random]), "")


def with_controls(
    suite: Suite, methods: Iterable[str], measured: Iterable[str], external: ExternalMethods = EMPTY
) -> list[str]:
    """These methods and the measured ones that they are held against."""
    found, seen = list(dict.fromkeys(methods)), list(measured)
    others = [find_control(suite, method, seen, external) for method in found]
    return list(dict.fromkeys([*found, *filter(None, others)]))


def rank_methods(case: ComparisonContext) -> list[Standing]:
    """Methods by area, best first. Methods whose trials may not stand in one comparison are left
    without gains and ranks."""
    metric, sizes = case.suite.rule.metric, shared_sizes(case)
    if len(sizes) < 2:
        return []
    curves = {method: case.trials.curves(method, sizes, metric) for method in case.trials.methods}
    curves = {method: by_seed for method, by_seed in curves.items() if by_seed}
    rows = []
    own = [row for row in case.trials.rows if row.method in case.suite.methods]
    for method, by_seed in curves.items():
        areas = ranking.curve_area(sizes, list(by_seed.values()), case.suite.rule.curve)
        sd = float(areas.std(ddof=1)) if len(areas) > 1 else None
        rows.append(
            Standing(
                method,
                case.title(method),
                len(areas),
                float(areas.mean()),
                sd,
                guest=method not in case.suite.methods,
                areas=tuple(map(float, areas)),
            )
        )
    free = [
        row
        for row in rows
        if not comparison_blocker(_comparison_rows(case, own, row), case.suite.rule.mix_devices)
    ]
    found = {row.method: row for row in _add_gains(case, free, sizes, curves)}
    ranked = {
        row.method: row
        for group in _comparison_families(list(found.values()))
        for row in _add_ranks(group, sizes, curves, case.suite.rule.curve)
        if row.guest or not any(one.guest for one in group)
    }
    rows = [ranked.get(row.method, row) for row in rows]
    return sorted(rows, key=lambda row: (-row.area, row.method))


def shared_sizes(case: ComparisonContext) -> tuple[int, ...]:
    """Sizes that every measured method of the suite has; those of all methods where none of them is
    the suite's."""
    own = [method for method in case.trials.methods if method in case.suite.methods]
    sizes = [set(case.trials.sizes(method)) for method in own or case.trials.methods]
    return tuple(sorted(set.intersection(*sizes))) if sizes else ()


Curves = dict[str, dict[int, list[float]]]


def _comparison_rows(
    case: ComparisonContext, own: list[Measurement], row: Standing
) -> list[Measurement]:
    """The measurements that a method is compared among: the suite's, and its own where it is an
    external method."""
    return (
        [*own, *(one for one in case.trials.rows if one.method == row.method)] if row.guest else own
    )


def _comparison_families(rows: list[Standing]) -> list[list[Standing]]:
    """The suite's methods, and once more with each external one, which never moves the results of
    the others."""
    own = [row for row in rows if not row.guest]
    return [own, *([*own, row] for row in rows if row.guest)] if own else [rows]


def _add_gains(
    case: ComparisonContext, rows: list[Standing], sizes: tuple[int, ...], curves: Curves
) -> list[Standing]:
    rule, found = case.suite.rule, []
    for row in rows:
        other = find_control(case.suite, row.method, curves, case.external)
        seeds = sorted(curves[row.method].keys() & curves[other].keys()) if other else []
        if not seeds:
            found.append(row)
            continue
        ours = np.array([curves[row.method][seed] for seed in seeds])
        theirs = np.array([curves[other][seed] for seed in seeds])
        left, right = (
            ranking.curve_area(sizes, ours, rule.curve),
            ranking.curve_area(sizes, theirs, rule.curve),
        )
        saved = ranking.labels_saved(sizes, ours, theirs)
        row = replace(
            row,
            control=other,
            gain=float((left - right).mean()),
            paired=tuple(
                (float(mine), float(base)) for mine, base in zip(left, right, strict=True)
            ),
            saved=saved.value,
            saved_low=saved.low,
            saved_high=saved.high,
        )
        if len(seeds) > 1:
            test = stats.compare_pairs(left, right, rule.margin, 0.025)
            row = replace(row, gain_low=test.low, gain_high=test.high, gain_p=test.p_different)
        found.append(row)
    adjusted: dict[str, float] = {}
    for family in _comparison_families(found):
        tested = [(row.method, row.gain_p) for row in family if row.gain_p is not None]
        for (method, _), p in zip(tested, stats.holm([p for _, p in tested]), strict=True):
            adjusted.setdefault(method, p)
    return [replace(row, gain_p=adjusted.get(row.method)) for row in found]


def _add_ranks(
    rows: list[Standing], sizes: tuple[int, ...], curves: Curves, rule: str
) -> list[Standing]:
    """Ranks over the seeds that every method has; none with fewer than two methods or two seeds."""
    seeds = sorted(set.intersection(*(set(curves[row.method]) for row in rows))) if rows else []
    if len(rows) < 2 or len(seeds) < 2:
        return rows
    scores = [
        ranking.curve_area(sizes, [curves[row.method][seed] for seed in seeds], rule)
        for row in rows
    ]
    return [
        replace(row, rank=found.rank, rank_low=found.low, rank_high=found.high, first=found.first)
        for row, found in zip(rows, ranking.rank_stability(scores), strict=True)
    ]


def method_penalties(
    case: ComparisonContext,
) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """Methods, and the share of sizes at which the row's beats the column's."""
    metric, trials = case.suite.rule.metric, case.trials
    own = [row for row in trials.rows if row.method in case.suite.methods]
    together = [
        method
        for method in trials.methods
        if not comparison_blocker(
            own
            if method in case.suite.methods
            else [*own, *(row for row in trials.rows if row.method == method)],
            case.suite.rule.mix_devices,
        )
    ]
    if not together:
        return (), ()
    curves = {
        method: {size: trials.values(method, size, metric) for size in trials.sizes(method)}
        for method in together
    }
    matrix = ranking.penalty_matrix(curves, case.suite.rule.alpha)
    return tuple(curves), tuple(tuple(map(float, row)) for row in matrix)


def order_agreement(
    case: ComparisonContext, reported: Iterable[ReportedResult]
) -> tuple[float, float, int] | None:
    """Kendall's tau of our order of methods with the paper's, by area over the sizes that all of
    them have in both."""
    metric = case.suite.rule.metric
    published: dict[str, dict[int, float]] = {}
    for row in reported:
        if (
            row.role in TARGETS
            and row.metric == metric
            and row.labelled is not None
            and row.method in case.trials.methods
        ):
            published.setdefault(row.method, {}).setdefault(row.labelled, row.value)
    common = [set(points) & set(case.trials.sizes(method)) for method, points in published.items()]
    sizes = sorted(set.intersection(*common)) if common else []
    curves = (
        {method: case.trials.curves(method, sizes, metric) for method in published}
        if len(sizes) > 1
        else {}
    )
    methods = [method for method, found in curves.items() if found]
    if len(methods) < 3:
        return None
    rule = case.suite.rule.curve
    ours = [
        float(ranking.curve_area(sizes, list(curves[method].values()), rule).mean())
        for method in methods
    ]
    theirs = [
        float(ranking.curve_area(sizes, [published[method][size] for size in sizes], rule))
        for method in methods
    ]
    found = ranking.kendall(ours, theirs)
    return None if found is None else (*found, len(methods))
