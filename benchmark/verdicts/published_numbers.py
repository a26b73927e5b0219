"""Verdicts on reported numbers and on the curves they form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.spec.protocol import Protocol
from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.spec.suite import Component, Suite
from benchmark.verdicts import stats
from benchmark.verdicts.ranking import curve_area, curve_weights
from benchmark.verdicts.results import (
    CurveVerdict,
    Estimate,
    NumberVerdict,
    Verdict,
    VerdictKind,
    decide_verdict,
)
from benchmark.verdicts.sequential import level_at
from benchmark.verdicts.trials import Trials, comparison_blocker, data_notes

ROUND = re.compile(r"/\d+$")
"""End of a source that is one file per round: the files of all rounds hold one curve."""


LEAST_LEVEL = 1e-12
"""Stands for the level zero before the first look."""


@dataclass(frozen=True)
class ComparisonContext:
    """What every verdict of one suite shares."""

    suite: Suite
    trials: Trials
    methods: tuple[str, ...]
    """Methods asked for."""
    planned: int
    """Trials of each method in the suite's own plan."""
    notes: tuple[str, ...]
    """Said in every line: unknown values, another variant."""
    external: Mapping[str, Component] = field(default_factory=dict)
    """Objectives of methods that are not the suite's own."""
    part: bool = False
    """Whether the profile leaves out some of what was published."""
    looks: tuple[int, ...] = ()
    """Numbers of trials at which one planned to look, where trials are added until decided; empty:
    one look at the end."""

    def level(self, n: int, alpha: float) -> float:
        """One-sided level of tests on n trials: alpha, or what the planned looks have for this
        many."""
        return max(level_at(self.looks, n, alpha), LEAST_LEVEL) if self.looks else alpha

    def title(self, method: str) -> str:
        """The method as the paper calls it, or its own name."""
        known = self.suite.methods.get(method)
        return known.title if known else method

    def reaches(self, method: str, labelled: int) -> bool:
        """Whether the pinned protocol, or what was run of a method, has this many labels at some
        training."""
        return (
            labelled in self.suite.protocol.acquisition.labelled()
            or labelled in self.trials.sizes(method)
        )


@dataclass(frozen=True)
class Spread:
    """Sampling error of a published mean, as far as it is known."""

    se: float = 0.0
    df: float = math.inf
    sd: float | None = None
    note: str = ""


def implied_error(row: ReportedResult) -> Spread:
    """The standard error that a published dispersion implies."""
    if row.dispersion is None or row.dispersion_kind is None:
        return Spread(note="published without a spread: taken as the number to be met")
    if row.dispersion_kind == "undefined":
        return Spread(note="published band without a definition: not used")
    several = row.n is not None and row.n > 1
    if row.dispersion_kind == "sd":
        if row.n is None or not several:
            return Spread(
                sd=row.dispersion,
                note="published spread without a number of trials: not used in the test",
            )
        return Spread(row.dispersion / math.sqrt(row.n), row.n - 1, row.dispersion)
    df = row.n - 1 if row.n is not None and several else math.inf
    width = 1.0 if row.dispersion_kind == "se" else stats.t_critical(0.025, df)
    se = row.dispersion / width
    sd = se * math.sqrt(row.n) if row.n is not None and several else None
    return Spread(se, df, sd, "" if several else "number of published trials unknown")


def judge_numbers(
    case: ComparisonContext, reported: Iterable[ReportedResult], excuse: str = ""
) -> list[NumberVerdict]:
    """One verdict per reported number of the methods asked for, and of methods that the suite does
    not have; with an excuse, none is compared and each one says so. Partial profiles omit context
    rows for the parts they leave out."""
    known, sizes = {*case.methods, *case.suite.methods}, case.suite.protocol.acquisition.labelled()
    return [
        _judge_number(case, row, excuse)
        for row in reported
        if (row.method in case.methods or row.method not in known)
        and not (
            case.part
            and row.role not in TARGETS
            and (row.labelled not in sizes or _left_out(case.suite.protocol, row.metric))
        )
    ]


def _judge_number(case: ComparisonContext, row: ReportedResult, excuse: str) -> NumberVerdict:
    decides = row.role in TARGETS
    line = NumberVerdict(
        row.method,
        case.title(row.method),
        row.metric,
        row.labelled,
        Verdict(VerdictKind.NOT_COMPARABLE, excuse, excused=True),
        row.role,
        decides,
        row.source,
        note=row.note,
        notes=case.notes,
    )
    if row.method not in case.methods:
        return replace(_excused_number(line, "no method of this suite"), decides=False)
    if excuse:
        return line
    if left_out := _left_out(case.suite.protocol, row.metric):
        return _excused_number(line, left_out)
    if row.mean is None:
        return _excused_number(line, "the published point cannot be read")
    if row.labelled is None:
        return _excused_number(line, "no number of labels is published with it")
    if (
        row.labelled not in case.suite.protocol.acquisition.labelled()
        and row.labelled not in case.trials.sizes(row.method)
    ):
        return _excused_number(line, f"the pinned protocol never has {row.labelled} labels")
    values = case.trials.values(row.method, row.labelled, row.metric)
    if not values:
        return replace(
            line, verdict=Verdict(VerdictKind.MISSING, _why_missing(case, row.method, row.metric))
        )
    rows = list(case.trials.at(row.method, row.labelled).values())
    known = implied_error(row)
    estimate = estimate_difference(
        case,
        list(values.values()),
        row.value,
        known,
        row.reading_error,
        row.n,
        _planning_spread(case, row, known),
    )
    line = replace(
        line,
        estimate=estimate,
        notes=(
            *case.notes,
            *data_notes(rows),
            *_known_notes(known.note),
            *_missing_trials_note(case, estimate.n),
        ),
    )
    blocked = comparison_blocker(rows, case.suite.rule.mix_devices)
    if blocked:
        return replace(line, verdict=Verdict(VerdictKind.NOT_COMPARABLE, blocked))
    return replace(line, verdict=verdict_of(case, estimate))


def _excused_number(line: NumberVerdict, reason: str) -> NumberVerdict:
    return replace(line, verdict=Verdict(VerdictKind.NOT_COMPARABLE, reason, excused=True))


def _left_out(protocol: Protocol, metric: str) -> str:
    """Why no such metric can come from the models that a profile keeps; empty where it can."""
    if protocol.members is None or metric in {
        f"accuracy/model{place}" for place in protocol.members
    }:
        return ""
    return f"only {len(protocol.members)} of {len(protocol.models)} models are trained"


def _why_missing(case: ComparisonContext, method: str, metric: str) -> str:
    sizes = case.trials.sizes(method)
    if not sizes:
        return "no trial"
    seen = {
        name
        for size in sizes
        for row in case.trials.at(method, size).values()
        for name in row.metrics
    }
    return "no trial got this far" if metric in seen else f"no trial measured '{metric}'"


def _known_notes(note: str) -> tuple[str, ...]:
    return (note,) if note else ()


def _missing_trials_note(case: ComparisonContext, n: int) -> tuple[str, ...]:
    return (f"{n} of {case.planned} planned trials",) if n < case.planned else ()


def _planning_spread(case: ComparisonContext, row: ReportedResult, known: Spread) -> float | None:
    """A spread for planning when one trial has none: the published one, or that of other methods at
    the same size."""
    if known.sd is not None:
        return known.sd
    size = row.labelled or 0
    own = [method for method in case.trials.methods if method in case.suite.methods]
    columns = [list(case.trials.values(method, size, row.metric).values()) for method in own]
    spreads = [
        (len(values) - 1, float(np.var(values, ddof=1))) for values in columns if len(values) > 1
    ]
    total = sum(df for df, _ in spreads)
    return math.sqrt(sum(df * variance for df, variance in spreads) / total) if total else None


def estimate_difference(
    case: ComparisonContext,
    values: Sequence[float],
    reference: float,
    known: Spread,
    reading_error: float = 0.0,
    reference_n: int | None = None,
    guess: float | None = None,
) -> Estimate:
    """Everything that can be computed of trials against a mean; with one trial, only the difference
    and a needed number."""
    rule = case.suite.rule
    mean, n = float(np.mean(values)), len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else None
    base = Estimate(mean, sd, n, reference, known.sd, reference_n, reading_error, mean - reference)
    planning = sd if sd is not None else guess

    def needed(true: float) -> int | None:
        if planning is None:
            return rule.min_trials
        found = stats.needed_trials(
            planning, rule.margin, rule.alpha, true, reading_error, known.se, known.df
        )
        return None if found is None else max(found, rule.min_trials)

    if sd is None:
        return replace(base, needed=needed(0.0))
    level = case.level(n, rule.alpha)
    test = stats.against_mean(
        values, reference, rule.margin, level, reading_error, known.se, known.df
    )
    return replace(
        base,
        low=test.low,
        high=test.high,
        p_equivalent=test.p_equivalent,
        p_different=test.p_different,
        p_beyond=test.p_above if test.difference > 0 else test.p_below,
        mdd=stats.minimum_detectable(sd, n, rule.alpha, other_se=known.se, other_df=known.df),
        needed=needed_at(
            decide_verdict(test.low, test.high, rule.margin), n, needed, test.difference
        ),
    )


def needed_at(
    kind: VerdictKind, n: int, needed: Callable[[float], int | None], difference: float
) -> int | None:
    """Trials for a verdict if there is no true difference; if those were not enough, at the
    difference that was seen."""
    found = needed(0.0)
    return (
        found
        if kind is not VerdictKind.INCONCLUSIVE or found is None or found > n
        else needed(difference)
    )


def verdict_of(case: ComparisonContext, estimate: Estimate) -> Verdict:
    """The verdict that an estimate supports under the suite's rule."""
    rule = case.suite.rule
    if estimate.n < rule.min_trials:
        return Verdict(
            VerdictKind.INCONCLUSIVE, f"{estimate.n} of at least {rule.min_trials} trials"
        )
    if estimate.low is None or estimate.high is None:
        return Verdict(VerdictKind.INCONCLUSIVE, "one trial has no spread")
    kind = decide_verdict(estimate.low, estimate.high, rule.margin)
    if kind is not VerdictKind.INCONCLUSIVE:
        return Verdict(kind)
    if estimate.reading_error >= rule.margin:
        return Verdict(kind, "the published number cannot be read as exactly as the margin")
    return Verdict(kind, "the interval crosses the margin")


def judge_curves(case: ComparisonContext, reported: Iterable[ReportedResult]) -> list[CurveVerdict]:
    """One verdict per deciding curve: the published points of one method from one source, at two
    sizes or more.

    The area is one number per trial, so this is one test per curve. Published spreads are taken as
    if errors at all sizes moved together, which is the widest they can be.
    """
    curves: dict[tuple[str, str, str], dict[int, ReportedResult]] = {}
    for row in reported:
        asked = row.role in TARGETS and row.method in case.methods
        if asked and row.labelled is not None and case.reaches(row.method, row.labelled):
            curves.setdefault((row.method, row.metric, ROUND.sub("", row.source)), {}).setdefault(
                row.labelled, row
            )
    return [_judge_curve(case, *key, points) for key, points in curves.items() if len(points) > 1]


def _judge_curve(
    case: ComparisonContext,
    method: str,
    metric: str,
    source: str,
    points: Mapping[int, ReportedResult],
) -> CurveVerdict:
    sizes = tuple(sorted(size for size in points if case.trials.values(method, size, metric)))
    line = CurveVerdict(
        method,
        case.title(method),
        metric,
        sizes,
        Verdict(VerdictKind.MISSING, "no trial"),
        source,
        notes=case.notes,
    )
    if not case.trials.sizes(method):
        return line
    curves = case.trials.curves(method, sizes, metric) if len(sizes) > 1 else {}
    if not curves:
        return replace(line, verdict=Verdict(VerdictKind.MISSING, "no trial has two of its sizes"))
    used = [points[size] for size in sizes]
    weights, spreads = (
        curve_weights(sizes, case.suite.rule.curve),
        [implied_error(row) for row in used],
    )
    sds = [item.sd for item in spreads]
    known = Spread(
        float(weights @ [item.se for item in spreads]),
        min(item.df for item in spreads),
        None if None in sds else float(weights @ np.array(sds, dtype=float)),
        spreads[0].note,
    )
    error = float(weights @ [row.reading_error for row in used])
    mean = float(weights @ [row.value for row in used])
    values = [
        float(value) for value in curve_area(sizes, list(curves.values()), case.suite.rule.curve)
    ]
    estimate = estimate_difference(case, values, mean, known, error, used[0].n, known.sd)
    rows = [
        row
        for size in sizes
        for seed, row in case.trials.at(method, size).items()
        if seed in curves
    ]
    partial = (
        (f"{len(sizes)} of {len(points)} published sizes",) if len(sizes) < len(points) else ()
    )
    blocked = comparison_blocker(rows, case.suite.rule.mix_devices)
    return replace(
        line,
        estimate=estimate,
        notes=(*case.notes, *data_notes(rows), *_missing_trials_note(case, estimate.n), *partial),
        verdict=Verdict(VerdictKind.NOT_COMPARABLE, blocked)
        if blocked
        else verdict_of(case, estimate),
    )
