"""Methods across suites: average ranks with a critical-difference diagram, and gain against cost.

Suites differ in data, budgets and networks, so areas are never averaged: ranks are. Average ranks need the same methods
everywhere (Demsar 2006): they are taken over the largest block of suites that measured the same three methods or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.reports import formatting
from benchmark.reports.plots import COLOURS, INK, MARKERS, NEUTRAL, Picture, drawing, figure_of, picture_of
from benchmark.verdicts import ranking
from benchmark.verdicts.results import Standing, SuiteVerdict

ALPHA = 0.05
MULTIPLES = (0.1, 0.2, 0.5, 0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Ticks of the axis of costs."""
ENTRY_HEADS = (
    "method",
    "suite",
    "data set",
    "budget",
    "rank",
    "area",
    "gain over control",
    "labels saved",
    "cost against control",
)
RANK_HEADS = ("method", "suites", "average rank", "mean gain", "not worse than the best")


@dataclass(frozen=True)
class Entry:
    """One method in one suite."""

    method: str
    paper: str
    dataset: str
    budget: int
    """Labelled images at the end."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class RankRow:
    """One method over all suites that are ranked together."""

    method: str
    suites: int
    rank: float
    gain: float | None
    """Mean of the gains over random sampling, in points."""
    tied: bool
    """Within the critical difference of the best."""

    def cells(self) -> tuple[str, ...]:
        """One row of the table."""
        tied = "yes" if self.tied else "no"
        return (
            self.method,
            str(self.suites),
            formatting.number(self.rank),
            formatting.number(self.gain, signed=True),
            tied,
        )


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard."""

    entries: tuple[Entry, ...]
    places: tuple[RankRow, ...]
    """Best first; empty where no three methods stand in two suites or more."""
    critical: float | None
    p: float | None
    """Friedman's p value of 'all methods rank alike'."""
    text: str


def make_leaderboard(
    judgements: Sequence[SuiteVerdict],
    datasets: Mapping[str, str] | None = None,
    costs: Mapping[tuple[str, str], float] | None = None,
) -> Leaderboard | None:
    """The leaderboard of judged suites; None where no suite has two methods to compare.

    `datasets` names the data set of a suite by its id; `costs` are seconds (or any one unit) of a trial by suite and method.
    """
    ranked = [judgement for judgement in judgements if len(judgement.standings) > 1]
    if not ranked:
        return None
    entries = tuple(
        entry for one in ranked for entry in _entries(one, (datasets or {}).get(one.suite, ""), costs or {})
    )
    block, methods = _block(ranked)
    if not block:
        few = f"{len(ranked)} suite{'s' * (len(ranked) != 1)}"
        text = f"{few}: too few for average ranks, which need the same three methods in two suites."
        return Leaderboard(entries, (), None, None, text)
    areas = np.array([[_row(one, method).area for one in block] for method in methods])
    average = ranking.ranks(areas).mean(axis=1)
    critical = ranking.critical_difference(len(methods), len(block), ALPHA)
    p = ranking.friedman(average, len(block))
    places = [
        RankRow(method, len(block), float(rank), _mean_gain(block, method), bool(rank - average.min() <= critical))
        for method, rank in zip(methods, average, strict=True)
    ]
    names = ", ".join(one.suite for one in block)
    which = (
        f"all {len(ranked)} suites" if len(block) == len(ranked) else f"{len(block)} of {len(ranked)} suites ({names})"
    )
    text = (
        f"Average rank of the {len(methods)} methods that {which} measured. Friedman's test that all rank "
        f"alike: p {formatting.p_value(p)}. Two methods differ at {ALPHA:g} when their average ranks differ by more than "
        f"{critical:.2f} (Nemenyi)."
    )
    return Leaderboard(entries, tuple(sorted(places, key=lambda place: (place.rank, place.method))), critical, p, text)


def _block(judgements: Sequence[SuiteVerdict]) -> tuple[list[SuiteVerdict], list[str]]:
    """The suites and the three or more methods that fill the largest table without gaps; nothing without two suites."""
    measured = [frozenset(row.method for row in one.standings) for one in judgements]
    shared: set[frozenset[str]] = set()
    for own in measured:
        shared |= {own} | {own & other for other in shared}
    filled = {
        methods: [one for one, own in zip(judgements, measured, strict=True) if methods <= own] for methods in shared
    }
    found = [(suites, sorted(methods)) for methods, suites in filled.items() if len(methods) > 2 and len(suites) > 1]
    return max(found, key=lambda one: (len(one[0]) * len(one[1]), len(one[0]), one[1]), default=([], []))


def _row(judgement: SuiteVerdict, method: str) -> Standing:
    return next(row for row in judgement.standings if row.method == method)


def _mean_gain(judgements: Sequence[SuiteVerdict], method: str) -> float | None:
    gains = [gain for one in judgements if (gain := _row(one, method).gain) is not None]
    return float(np.mean(gains)) if gains else None


def _entries(judgement: SuiteVerdict, dataset: str, costs: Mapping[tuple[str, str], float]) -> list[Entry]:
    final = max((cell.labelled for cell in judgement.cells), default=0)
    found = []
    for place, row in enumerate(judgement.standings, start=1):
        own, base = costs.get((judgement.suite, row.method)), costs.get((judgement.suite, row.control))
        found.append(Entry(
            row.method, judgement.suite.partition("/")[0], dataset, final,
            (
                judgement.suite, dataset, formatting.count(final), f"{place} of {len(judgement.standings)}",
                formatting.mean_sd(row.area, row.area_sd, row.n), formatting.interval(row.gain, row.gain_low, row.gain_high),
                formatting.saved_text(row), f"{own / base:.2f}×" if own and base else "–",
            ),
        ))  # fmt: skip
    return found


def cliques(average: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Longest runs of ranks (ascending) whose ends differ by no more than the critical difference, as first and last index."""
    runs: list[tuple[int, int]] = []
    for first in range(len(average)):
        last = max(place for place in range(first, len(average)) if average[place] - average[first] <= critical)
        if last > first and not any(start <= first and last <= end for start, end in runs):
            runs.append((first, last))
    return runs


def diagram(found: Leaderboard) -> Picture | None:
    """The critical-difference diagram; None where there are no average ranks."""
    if not found.places or found.critical is None:
        return None
    places, critical = found.places, found.critical
    half = (len(places) + 1) // 2
    runs = cliques([place.rank for place in places], critical)
    with drawing():
        figure = figure_of(7.4, 1.3 + 0.28 * half + 0.12 * len(runs), layout=None)
        axis = figure.add_axes((0.0, 0.02, 1.0, 0.96))
        axis.axis("off")
        # Room for the longest name on either side, from inches to ranks.
        room = 0.09 * max(len(item.method) + 8 for item in places)
        margin = room / (7.0 - 2 * room) * (len(places) - 0.2)
        axis.set_xlim(0.6 - margin, len(places) + 0.4 + margin)
        start = 0.35 + 0.2 * len(runs)
        axis.set_ylim(-(start + 0.42 * (half - 1)) - 0.35, 1.35)
        axis.plot([1, len(places)], [0, 0], color=INK, linewidth=1.2)
        for tick in range(1, len(places) + 1):
            axis.plot([tick, tick], [0, 0.12], color=INK, linewidth=1.0)
            axis.text(tick, 0.2, str(tick), ha="center", va="bottom")
        axis.plot([1, 1 + critical], [0.85, 0.85], color=NEUTRAL, linewidth=2)
        axis.text(1 + critical / 2, 0.92, f"critical difference {critical:.2f}", ha="center", va="bottom")
        for place, item in enumerate(places):
            left = place < half
            depth = -(start + 0.42 * (place if left else len(places) - 1 - place))
            end = 0.6 if left else len(places) + 0.4
            axis.plot([item.rank, item.rank, end], [0, depth, depth], color=INK, linewidth=0.9)
            axis.text(end, depth, f" {item.method} ({item.rank:.2f}) ", ha="right" if left else "left", va="center")
        for level, (first, last) in enumerate(runs):
            depth = -(0.18 + 0.2 * level)
            axis.plot([places[first].rank - 0.04, places[last].rank + 0.04], [depth, depth], color=INK, linewidth=3.2)
        order = ", ".join(f"{item.method} {item.rank:.2f}" for item in places)
        description = f"Average ranks, best first: {order}. Methods joined by a bar do not differ at {ALPHA:g}."
        return picture_of(figure, "ranks", "Critical-difference diagram", description)


def cost_picture(judgements: Sequence[SuiteVerdict], costs: Mapping[tuple[str, str], float]) -> Picture | None:
    """Gain over random sampling against cost as a multiple of its cost: one marker per method and suite."""
    points: dict[str, list[tuple[float, float]]] = {}
    for judgement in judgements:
        for row in judgement.standings:
            own, base = costs.get((judgement.suite, row.method)), costs.get((judgement.suite, row.control))
            if own and base and row.gain is not None:
                points.setdefault(row.method, []).append((own / base, row.gain))
    if not points:
        return None
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with drawing():
        figure = figure_of(7.4, 4.2)
        axis = figure.subplots()
        axis.axhline(0.0, color=NEUTRAL, linewidth=1.2)
        axis.axvline(1.0, color=NEUTRAL, linewidth=1.2)
        for place, (method, found) in enumerate(sorted(points.items())):
            cost, gain = zip(*found, strict=True)
            axis.plot(cost, gain, MARKERS[place % len(MARKERS)], color=COLOURS[place % len(COLOURS)], label=method)
        axis.set_xscale("log")
        multiples = [cost for found in points.values() for cost, _ in found]
        axis.set_xlim(min(0.8, 0.9 * min(multiples)), max(1.5, 1.1 * max(multiples)))
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(FixedLocator([tick for tick in MULTIPLES if low <= tick <= high]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axis.set_xlabel("cost of a trial, times that of random sampling")
        axis.set_ylabel("gain over random (points of area)")
        figure.legend(loc="outside right upper")
        description = (
            "Mean gain over random sampling against the cost of a trial as a multiple of random sampling's, by method."
        )
        return picture_of(figure, "cost", "Gain against cost", description)
