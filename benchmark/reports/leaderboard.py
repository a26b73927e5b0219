"""Methods across suites: average ranks with cliques, gains and chances of improvement, and gain
against cost.

Suites differ in data, budgets and networks, so areas are never averaged: ranks are. Average ranks
need the same methods everywhere (Demsar 2006): they are taken over the largest block of suites that
measured the same three methods or more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmark.reports import formatting
from benchmark.reports.curves import NEUTRAL, look_at
from benchmark.reports.plots import INK, Picture, figure_of, picture_of, picture_style
from benchmark.verdicts import ranking
from benchmark.verdicts.results import ModelRow, Standing, SuiteVerdict
from benchmark.verdicts.stats import Array

ALPHA = 0.05
MULTIPLES = (0.1, 0.2, 0.5, 0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Ticks of the axis of costs."""
ENTRY_HEADS = (
    "method",
    "suite",
    "data set",
    "budget",
    "rank",
    "area or mean of the curve",
    "gain over control",
    "labels saved",
    "cost against control",
)
ACROSS_HEADS = (
    "method",
    "suites",
    "trials",
    "interquartile mean of gains",
    "probability of improvement",
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
    """Not shown to differ from the best."""
    guest: bool = False
    """Not a method of these suites: ranked among theirs, which do not see it."""

    def cells(self) -> tuple[str, ...]:
        """One row of the table."""
        tied = "yes" if self.tied else "no"
        name = f"{self.method} (guest)" if self.guest else self.method
        return (
            name,
            str(self.suites),
            formatting.format_number(self.rank),
            formatting.format_number(self.gain, signed=True),
            tied,
        )


@dataclass(frozen=True)
class Across:
    """One method over every suite in which it stands against its control. It depends on no other
    method."""

    method: str
    suites: int
    trials: int
    gain: ranking.Bootstrap
    """Interquartile mean of the gains over random sampling, in points."""
    improvement: ranking.Bootstrap
    """Probability of improvement over random sampling."""

    def cells(self) -> tuple[str, ...]:
        """One row of the table."""
        gain, share = self.gain, self.improvement
        return (
            self.method,
            str(self.suites),
            str(self.trials),
            formatting.format_interval(gain.value, gain.low, gain.high),
            formatting.format_number(share.value)
            + (
                ""
                if share.low is None
                else f" [{formatting.format_number(share.low)}, "
                f"{formatting.format_number(share.high)}]"
            ),
        )


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard."""

    entries: tuple[Entry, ...]
    places: tuple[RankRow, ...]
    """Best first; empty where no three methods stand in two suites or more."""
    joined: tuple[tuple[int, int], ...]
    """Cliques: first and last place (external methods left out) of runs in which no two methods
    were shown to differ."""
    p: float | None
    """Friedman's p value of 'all methods rank alike'."""
    text: str
    across: tuple[Across, ...] = ()


def make_leaderboard(
    judgements: Sequence[SuiteVerdict],
    datasets: Mapping[str, str] | None = None,
    costs: Mapping[tuple[str, str], float] | None = None,
) -> Leaderboard | None:
    """The leaderboard of judged suites; None where no suite has two methods to compare.

    `datasets` names the data set of a suite by its id; `costs` are seconds (or any one unit) of a
    trial by suite and method. Methods that are not a suite's own are placed among those that are,
    one by one: they move no other method.
    """
    ranked = [judgement for judgement in judgements if len(judgement.standings) > 1]
    if not ranked:
        return None
    entries = tuple(
        entry
        for one in ranked
        for entry in _suite_entries(one, (datasets or {}).get(one.suite, ""), costs or {})
    )
    across = _across_suites(ranked)
    block, methods = _largest_block(ranked)
    if not block:
        few = f"{len(ranked)} suite{'s' * (len(ranked) != 1)}"
        text = f"{few}: too few for average ranks, which need the same three methods in two suites."
        return Leaderboard(entries, (), (), None, text, across)
    places, _ = _rank_methods(block, methods)
    own = [place for place in places if not place.guest]
    areas = np.array([[_standing_of(one, place.method).area for one in block] for place in own])
    joined = tuple(cliques(ranking.wilcoxon_holm(areas)))
    p = ranking.friedman([place.rank for place in own], len(block))
    for guest in _shared_external(block, methods):
        places += [
            place for place in _rank_methods(block, [*methods, guest])[0] if place.method == guest
        ]
    names = ", ".join(one.suite for one in block)
    which = (
        f"all {len(ranked)} suites"
        if len(block) == len(ranked)
        else f"{len(block)} of {len(ranked)} suites ({names})"
    )
    text = (
        f"Average rank of the {len(methods)} methods that {which} measured. Friedman's test that "
        "all rank alike: p "
        f"{formatting.p_value(p)}. Two methods differ at {ALPHA:g} by Wilcoxon's signed-rank test "
        "over the suites, adjusted by Holm"
    )
    text += "." if len(block) > 5 else f"; with {len(block)} suites none can be shown to."
    return Leaderboard(entries, tuple(sorted(places, key=_sort_order)), joined, p, text, across)


def _sort_order(place: RankRow) -> tuple[float, bool, str]:
    return place.rank, place.guest, place.method


def _rank_methods(
    block: Sequence[SuiteVerdict], methods: Sequence[str]
) -> tuple[list[RankRow], Array]:
    """Places of these methods among each other, best first, and the adjusted p values of their
    pairs in that order."""
    areas = np.array([[_standing_of(one, method).area for one in block] for method in methods])
    average = ranking.rank_scores(areas).mean(axis=1)
    p_values, best = ranking.wilcoxon_holm(areas), int(np.argmin(average))
    guests = {method for method in methods if any(_standing_of(one, method).guest for one in block)}
    places = [
        RankRow(
            method,
            len(block),
            float(average[place]),
            _mean_gain(block, method),
            bool(p_values[best, place] >= ALPHA),
            method in guests,
        )
        for place, method in enumerate(methods)
    ]
    return sorted(places, key=_sort_order), p_values


def _shared_external(block: Sequence[SuiteVerdict], methods: Sequence[str]) -> list[str]:
    """Methods that are not the suites' own and that every suite of the block measured."""
    everywhere = set.intersection(*({row.method for row in one.standings} for one in block))
    return sorted(everywhere - set(methods))


def _across_suites(judgements: Sequence[SuiteVerdict]) -> tuple[Across, ...]:
    """Every method against its control over all suites that have both, best gain first."""
    found: dict[str, list[Array]] = {}
    for one in judgements:
        for row in one.standings:
            if row.paired:
                found.setdefault(row.method, []).append(np.array(row.paired))
    rows = [
        Across(
            method,
            len(runs),
            sum(map(len, runs)),
            ranking.bootstrap_interval(
                lambda drawn: ranking.interquartile_mean([one[:, 0] - one[:, 1] for one in drawn]),
                runs,
            ),
            ranking.bootstrap_interval(
                lambda drawn: ranking.probability_of_improvement(
                    [one[:, 0] for one in drawn], [one[:, 1] for one in drawn]
                ),
                runs,
            ),
        )
        for method, runs in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.gain.value or 0.0), row.method)))


def _largest_block(judgements: Sequence[SuiteVerdict]) -> tuple[list[SuiteVerdict], list[str]]:
    """The suites and the three or more methods that fill the largest table without gaps; nothing
    without two suites."""
    measured = [
        frozenset(row.method for row in one.standings if not row.guest) for one in judgements
    ]
    shared: set[frozenset[str]] = set()
    for own in measured:
        shared |= {own} | {own & other for other in shared}
    filled = {
        methods: [one for one, own in zip(judgements, measured, strict=True) if methods <= own]
        for methods in shared
    }
    found = [
        (suites, sorted(methods))
        for methods, suites in filled.items()
        if len(methods) > 2 and len(suites) > 1
    ]
    return max(
        found, key=lambda one: (len(one[0]) * len(one[1]), len(one[0]), one[1]), default=([], [])
    )


def _standing_of(judgement: SuiteVerdict, method: str) -> Standing:
    return next(row for row in judgement.standings if row.method == method)


def _mean_gain(judgements: Sequence[SuiteVerdict], method: str) -> float | None:
    gains = [gain for one in judgements if (gain := _standing_of(one, method).gain) is not None]
    return float(np.mean(gains)) if gains else None


def _suite_entries(
    judgement: SuiteVerdict, dataset: str, costs: Mapping[tuple[str, str], float]
) -> list[Entry]:
    final = max((cell.labelled for cell in judgement.cells), default=0)
    found = []
    for place, row in enumerate(judgement.standings, start=1):
        own = costs.get((judgement.suite, row.method))
        base = costs.get((judgement.suite, row.control))
        found.append(
            Entry(
                row.method,
                judgement.suite.partition("/")[0],
                dataset,
                final,
                (
                    judgement.suite,
                    dataset,
                    formatting.count(final),
                    f"{place} of {len(judgement.standings)}",
                    formatting.mean_sd(row.area, row.area_sd, row.n),
                    formatting.format_interval(row.gain, row.gain_low, row.gain_high),
                    formatting.saved_text(row),
                    f"{own / base:.2f}×" if own and base else "–",
                ),
            )
        )
    return found


@dataclass(frozen=True)
class ModelTable:
    """The paper's table of several target models: methods by number of models, over the suites of
    one data set."""

    suite: str
    """Suite that the others are named after."""
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def model_tables(judgements: Sequence[SuiteVerdict]) -> list[ModelTable]:
    """A table for every paper and data set whose suites have several target models; columns ascend
    by their number.

    A cell holds our mean over rounds with the spread over models, a star at the column's best, the
    sign of the verdict on the curve, and what was published in brackets.
    """
    groups: dict[str, list[SuiteVerdict]] = {}
    for one in judgements:
        if one.models:
            groups.setdefault(re.sub(r"-\d+$", "", one.suite), []).append(one)
    found = []
    for suite, own in groups.items():
        columns = sorted(own, key=lambda one: one.models[0].models)
        cells = [{row.method: row for row in one.models} for one in columns]
        methods = list(dict.fromkeys(method for column in cells for method in column))
        rows = tuple(
            (
                method,
                *(_model_cell(column[method]) if method in column else "–" for column in cells),
            )
            for method in methods
        )
        found.append(
            ModelTable(
                suite, ("method", *(f"{one.models[0].models} models" for one in columns)), rows
            )
        )
    return found


def _model_cell(row: ModelRow) -> str:
    text = formatting.model_cell(row) + (
        f" {formatting.SIGNS[row.verdict.kind]}" if row.verdict else ""
    )
    return (
        text
        if row.published is None
        else f"{text} ({formatting.mean_sd(row.published, row.published_over_models, None)})"
    )


def cliques(p_values: ArrayLike) -> list[tuple[int, int]]:
    """Longest runs, as first and last index, in which no two methods differ at ALPHA; `p_values` of
    pairs, in order of rank."""
    alike = np.asarray(p_values, dtype=np.float64) >= ALPHA
    runs: list[tuple[int, int]] = []
    for first in range(len(alike)):
        last = max(
            end for end in range(first, len(alike)) if alike[first : end + 1, first : end + 1].all()
        )
        if last > first and not any(start <= first and last <= end for start, end in runs):
            runs.append((first, last))
    return runs


def draw_diagram(found: Leaderboard) -> Picture | None:
    """Average ranks of the suites' own methods with bars over cliques; None where there are no
    average ranks."""
    places = [place for place in found.places if not place.guest]
    if not places:
        return None
    half = (len(places) + 1) // 2
    runs = found.joined
    with picture_style():
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
        for place, item in enumerate(places):
            left = place < half
            depth = -(start + 0.42 * (place if left else len(places) - 1 - place))
            end = 0.6 if left else len(places) + 0.4
            axis.plot([item.rank, item.rank, end], [0, depth, depth], color=INK, linewidth=0.9)
            axis.text(
                end,
                depth,
                f" {item.method} ({item.rank:.2f}) ",
                ha="right" if left else "left",
                va="center",
            )
        for level, (first, last) in enumerate(runs):
            depth = -(0.18 + 0.2 * level)
            axis.plot(
                [places[first].rank - 0.04, places[last].rank + 0.04],
                [depth, depth],
                color=INK,
                linewidth=3.2,
            )
        order = ", ".join(f"{item.method} {item.rank:.2f}" for item in places)
        description = (
            f"Average ranks, best first: {order}. Methods joined by a bar were not shown to differ "
            f"at {ALPHA:g}."
        )
        return picture_of(figure, "ranks", "Average ranks", description)


def cost_picture(
    judgements: Sequence[SuiteVerdict], costs: Mapping[tuple[str, str], float]
) -> Picture | None:
    """Gain over random sampling against cost as a multiple of its cost: one marker per method and
    suite."""
    points: dict[str, list[tuple[float, float]]] = {}
    for judgement in judgements:
        for row in judgement.standings:
            own = costs.get((judgement.suite, row.method))
            base = costs.get((judgement.suite, row.control))
            if own and base and row.gain is not None:
                points.setdefault(row.method, []).append((own / base, row.gain))
    if not points:
        return None
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with picture_style():
        figure = figure_of(7.4, 4.2)
        axis = figure.subplots()
        axis.axhline(0.0, color=NEUTRAL, linewidth=1.2)
        axis.axvline(1.0, color=NEUTRAL, linewidth=1.2)
        for place, (method, found) in enumerate(sorted(points.items())):
            cost, gain = zip(*found, strict=True)
            look = look_at(place)
            axis.plot(cost, gain, look.marker, color=look.colour, label=method)
        axis.set_xscale("log")
        multiples = [cost for found in points.values() for cost, _ in found]
        axis.set_xlim(min(0.8, 0.9 * min(multiples)), max(1.5, 1.1 * max(multiples)))
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(
            FixedLocator([tick for tick in MULTIPLES if low <= tick <= high])
        )
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axis.set_xlabel("cost of a trial, times that of random sampling")
        axis.set_ylabel("gain over random (points of the curve)")
        figure.legend(loc="outside right upper")
        description = (
            "Mean gain over random sampling against the cost of a trial as a multiple of random "
            "sampling's, by method."
        )
        return picture_of(figure, "cost", "Gain against cost", description)
