"""Verdicts against a suite's own committed records: bit by bit where that can be, else paired by
seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmark.verdicts import stats
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.published_numbers import ComparisonContext, needed_at, verdict_of
from benchmark.verdicts.results import Estimate, NumberVerdict, Verdict, VerdictKind, decide_verdict
from benchmark.verdicts.trials import Trials, comparison_blocker, data_notes

SOURCE = "committed records"


def judge_committed(
    case: ComparisonContext, committed: Trials, excused: bool
) -> list[NumberVerdict]:
    """One verdict per method and committed size. Where there is nothing committed, `excused` says
    that this is no failure."""
    lines: list[NumberVerdict] = []
    for method in case.methods:
        sizes = committed.sizes(method)
        if sizes:
            lines.extend(_judge_number(case, committed, method, size) for size in sizes)
        elif case.trials.sizes(method):
            reason = Verdict(
                VerdictKind.NOT_COMPARABLE,
                "no committed records",
                excused or method not in case.suite.methods,
            )
            lines.append(_blank_number(case, method, case.trials.sizes(method)[-1], reason))
    return lines


def _blank_number(
    case: ComparisonContext, method: str, size: int, verdict: Verdict
) -> NumberVerdict:
    return NumberVerdict(
        method,
        case.title(method),
        case.suite.rule.metric,
        size,
        verdict,
        "records",
        True,
        SOURCE,
        notes=case.notes,
    )


def _judge_number(
    case: ComparisonContext, committed: Trials, method: str, size: int
) -> NumberVerdict:
    rule = case.suite.rule
    line = _blank_number(case, method, size, Verdict(VerdictKind.MISSING, "no trial"))
    ours, theirs = case.trials.at(method, size), committed.at(method, size)
    if not ours:
        return (
            line
            if not case.trials.sizes(method)
            else replace(line, verdict=Verdict(VerdictKind.MISSING, "no trial got this far"))
        )
    seeds, left, right = stats.pair(
        case.trials.values(method, size, rule.metric), committed.values(method, size, rule.metric)
    )
    if not seeds:
        return replace(
            line,
            verdict=Verdict(
                VerdictKind.NOT_COMPARABLE, "no seed in common with the committed records"
            ),
        )
    pairs = [(ours[seed], theirs[seed]) for seed in seeds]
    rows = [row for both in pairs for row in both]
    line = replace(
        line,
        notes=(*case.notes, *data_notes(rows)),
        estimate=_estimate_difference(case, left, right),
    )
    if all(mine.record_digest == other.record_digest for mine, other in pairs):
        return replace(line, verdict=Verdict(VerdictKind.REPRODUCED, "bitwise equal"))
    lost = sum(_has_changed(mine, other) for mine, other in pairs)
    if lost:
        line = replace(
            line, notes=(*line.notes, f"{lost} trials differ although the environment is the same")
        )
    blocked = comparison_blocker(rows, rule.mix_devices)
    if blocked or line.estimate is None:
        return replace(line, verdict=Verdict(VerdictKind.NOT_COMPARABLE, blocked))
    return replace(line, verdict=verdict_of(case, line.estimate))


def _has_changed(mine: Measurement, other: Measurement) -> bool:
    same = (mine.env_id, mine.trial_id) == (other.env_id, other.trial_id)
    return same and mine.record_digest != other.record_digest


def _estimate_difference(
    case: ComparisonContext, ours: stats.Array, theirs: stats.Array
) -> Estimate:
    rule, n = case.suite.rule, len(ours)
    gaps = ours - theirs
    several = n > 1
    base = Estimate(
        float(ours.mean()),
        float(ours.std(ddof=1)) if several else None,
        n,
        float(theirs.mean()),
        float(theirs.std(ddof=1)) if several else None,
        n,
        difference=float(gaps.mean()),
        needed=rule.min_trials,
    )
    if not several:
        return base
    sd = float(np.std(gaps, ddof=1))

    def needed(true: float) -> int | None:
        found = stats.needed_trials(sd, rule.margin, rule.alpha, true)
        return None if found is None else max(found, rule.min_trials)

    test = stats.compare_pairs(ours, theirs, rule.margin, case.level(n, rule.alpha))
    return replace(
        base,
        low=test.low,
        high=test.high,
        p_equivalent=test.p_equivalent,
        p_different=test.p_different,
        p_beyond=test.p_above if test.difference > 0 else test.p_below,
        mdd=stats.minimum_detectable(sd, n, rule.alpha),
        correlation=stats.correlation(ours, theirs),
        needed=needed_at(
            decide_verdict(test.low, test.high, rule.margin), n, needed, test.difference
        ),
    )
