"""Verdicts on published comparisons: paired by seed at the sizes of the claim, Holm across them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmark.spec.models import Claim
from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.verdicts import stats
from benchmark.verdicts.published_numbers import ComparisonContext
from benchmark.verdicts.results import BudgetTest, ClaimOutcome, ClaimVerdict
from benchmark.verdicts.trials import comparison_blocker, data_notes

REPORTED = "reported:"


@dataclass(frozen=True)
class _Side:
    """One side of a claim at one size: values by seed, or one published constant with its reading error."""

    values: Mapping[int, float]
    constant: float | None = None
    reading_error: float = 0.0


def judge_claims(case: ComparisonContext, reported: Iterable[ReportedResult], excuse: str = "") -> list[ClaimVerdict]:
    """One verdict per claim whose methods were asked for; with an excuse, none is tested and each one says so."""
    rows = list(reported)
    return [_claim(case, name, claim, rows, excuse) for name, claim in case.suite.claims.items() if _asked(case, claim)]


def _asked(case: ComparisonContext, claim: Claim) -> bool:
    sides = [side for side in (claim.better, claim.worse) if side is not None and not side.startswith(REPORTED)]
    return all(side in case.methods for side in sides)


def _claim(
    case: ComparisonContext, name: str, claim: Claim, reported: list[ReportedResult], excuse: str
) -> ClaimVerdict:
    line = ClaimVerdict(name, claim.text, claim.source, claim.published, ClaimOutcome.NOT_TESTABLE, notes=case.notes)
    if claim.better is None or claim.worse is None:
        return replace(line, reason="cited, not tested by this suite")
    if excuse:
        return replace(line, reason=excuse)
    methods = [side for side in (claim.better, claim.worse) if not side.startswith(REPORTED)]
    absent = [method for method in methods if not case.trials.sizes(method)]
    if absent:
        return replace(line, outcome=ClaimOutcome.MISSING, reason=f"no trial of {', '.join(absent)}")
    sizes = _sizes(case, claim)
    rows = [row for method in methods for size in sizes for row in case.trials.at(method, size).values()]
    line = replace(line, notes=(*case.notes, *data_notes(rows)))
    blocked = comparison_blocker(rows, case.suite.rule.mix_devices)
    if blocked:
        return replace(line, reason=blocked)
    tests = []
    for size in sizes:
        better, worse = _side(case, claim.better, size, reported), _side(case, claim.worse, size, reported)
        if better is None or worse is None:
            return replace(line, reason="the published constant is not in the reported table")
        test = _budget(case, size, better, worse)
        if test is not None:
            tests.append(replace(test, published=_published(case, claim, size, reported)))
    if not tests or len(tests) < len(sizes):
        return replace(
            line,
            outcome=ClaimOutcome.MISSING,
            reason="no trial got this far, or no seed is shared",
            budgets=tuple(tests),
        )
    return _conclude(case, line, tests)


def _sizes(case: ComparisonContext, claim: Claim) -> tuple[int, ...]:
    planned = case.suite.protocol.acquisition.labelled()
    if claim.labelled is None or claim.labelled == "all":
        return planned
    return planned[1:] if claim.labelled == "after_first" else tuple(claim.labelled)


def _side(case: ComparisonContext, name: str, size: int, reported: list[ReportedResult]) -> _Side | None:
    metric = case.suite.rule.metric
    if not name.startswith(REPORTED):
        return _Side(case.trials.values(name, size, metric))
    # A constant without a number of labels (a full-data line) holds at every size.
    named = [row for row in reported if row.method == name.removeprefix(REPORTED) and row.metric == metric]
    for wanted in (size, None):
        for row in named:
            if row.labelled == wanted and row.mean is not None:
                return _Side({}, row.mean, row.reading_error)
    return None


def _published(case: ComparisonContext, claim: Claim, size: int, reported: list[ReportedResult]) -> float | None:
    """Better minus worse at one size in the paper's own numbers; None where it does not print both."""
    means = []
    for name in (claim.better or "", claim.worse or ""):
        if name.startswith(REPORTED):
            side = _side(case, name, size, reported)
            means.append(side.constant if side else None)
        else:
            own = [row for row in reported if (row.method, row.labelled) == (name, size) and row.role in TARGETS]
            means.append(next((row.mean for row in own if row.metric == case.suite.rule.metric), None))
    better, worse = means
    return None if better is None or worse is None else better - worse


def _budget(case: ComparisonContext, size: int, better: _Side, worse: _Side) -> BudgetTest | None:
    """Better minus worse at one size; the reading error of a constant is held against the claim's side it would help."""
    rule = case.suite.rule
    together = None
    if better.constant is not None:
        right = np.array(list(worse.values.values()), dtype=float)
        left = np.full_like(right, better.constant)
    elif worse.constant is not None:
        left = np.array(list(better.values.values()), dtype=float)
        right = np.full_like(left, worse.constant)
    else:
        _, left, right = stats.pair(better.values, worse.values)
        together = stats.correlation(left, right)
    if len(left) == 0:
        return None
    gaps = left - right
    base = BudgetTest(
        size, len(gaps), float(gaps.mean()), None, None, None, None, None, together, None, rule.min_trials
    )
    if len(gaps) == 1:
        return base
    error = better.reading_error + worse.reading_error
    sd = float(gaps.std(ddof=1))
    # Alpha is two-sided here, so the interval is the usual (1 - alpha) one.
    test = stats.against_mean(gaps, 0.0, rule.margin, rule.alpha / 2, error)
    needed = stats.needed_pairs(sd, math.copysign(max(abs(test.difference) - error, 0.0), test.difference), rule.alpha)
    return replace(
        base, sd=sd, low=test.low, high=test.high, p=test.p_different,
        mdd=stats.minimum_detectable(sd, len(gaps), rule.alpha), needed=needed and max(needed, rule.min_trials),
    )  # fmt: skip


def _conclude(case: ComparisonContext, line: ClaimVerdict, tests: list[BudgetTest]) -> ClaimVerdict:
    """Holds: better at every size. Refuted: worse at any. Both after Holm's adjustment over the sizes."""
    rule = case.suite.rule
    tested = [test for test in tests if test.p is not None]
    adjusted = dict(
        zip(
            [test.labelled for test in tested],
            stats.holm([test.p for test in tested if test.p is not None]),
            strict=True,
        )
    )
    budgets = tuple(replace(test, p_holm=adjusted.get(test.labelled)) for test in tests)
    line = replace(line, budgets=budgets)
    fewest = min(test.n for test in budgets)
    if fewest < rule.min_trials:
        return replace(line, outcome=ClaimOutcome.INCONCLUSIVE, reason=f"{fewest} of at least {rule.min_trials} pairs")
    clear = [test for test in budgets if test.p_holm is not None and test.p_holm < rule.alpha]
    worse = [test for test in clear if test.difference < 0]
    better = [test.labelled for test in clear if test.difference > 0]
    if worse:
        at = ", ".join(str(test.labelled) for test in worse)
        printed = all(test.published is not None and test.published < 0 for test in worse)
        reason = f"significantly the other way at {at} labels" + (", as in the paper's own numbers" if printed else "")
        return replace(line, outcome=ClaimOutcome.REFUTED, reason=reason, as_printed=printed)
    if len(better) == len(budgets):
        return replace(line, outcome=ClaimOutcome.HOLDS, reason=f"significant at all {len(budgets)} sizes")
    return replace(
        line, outcome=ClaimOutcome.INCONCLUSIVE, reason=f"significant at {len(better)} of {len(budgets)} sizes"
    )
