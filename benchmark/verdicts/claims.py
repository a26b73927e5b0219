"""Verdicts on published comparisons: paired by seed at the sizes of the claim, Holm across them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.spec.suite import Claim
from benchmark.verdicts import stats
from benchmark.verdicts.published_numbers import ComparisonContext
from benchmark.verdicts.ranking import curve_area
from benchmark.verdicts.results import BudgetTest, ClaimOutcome, ClaimVerdict
from benchmark.verdicts.trials import comparison_blocker, data_notes

REPORTED = "reported:"
BETTER_FROM = 5
"""Pairs from which one method may be called better than another. With fewer, the spread they
estimate is too uncertain, and their normality cannot be seen: the interval is shown, with its
degrees of freedom."""


@dataclass(frozen=True)
class _Side:
    """One side of a claim at one size: values by seed, or one published constant with its reading
    error."""

    values: Mapping[int, float]
    constant: float | None = None
    reading_error: float = 0.0


def judge_claims(
    case: ComparisonContext, reported: Iterable[ReportedResult], excuse: str = ""
) -> list[ClaimVerdict]:
    """One verdict per claim whose methods were asked for; with an excuse, none is tested and each
    one says so."""
    rows = list(reported)
    return [
        _judge_claim(case, name, claim, rows, excuse)
        for name, claim in case.suite.claims.items()
        if _has_both_sides(case, claim)
    ]


def _has_both_sides(case: ComparisonContext, claim: Claim) -> bool:
    sides = [
        side
        for side in (claim.better, claim.worse)
        if side is not None and not side.startswith(REPORTED)
    ]
    return all(side in case.methods for side in sides)


def _judge_claim(
    case: ComparisonContext, name: str, claim: Claim, reported: list[ReportedResult], excuse: str
) -> ClaimVerdict:
    line = ClaimVerdict(
        name, claim.text, claim.source, claim.published, ClaimOutcome.NOT_TESTABLE, notes=case.notes
    )
    if claim.better is None or (claim.worse is None and not claim.each_model):
        return replace(line, reason="cited, not tested by this suite")
    if excuse:
        return replace(line, reason=excuse)
    if claim.worse is None:
        return _every_model(case, claim.better, line, reported)
    methods = [side for side in (claim.better, claim.worse) if not side.startswith(REPORTED)]
    line = replace(line, methods=tuple(methods))
    absent = [method for method in methods if not case.trials.sizes(method)]
    if absent:
        return replace(
            line, outcome=ClaimOutcome.MISSING, reason=f"no trial of {', '.join(absent)}"
        )
    sizes = _claim_sizes(case, claim)
    used = (*sizes, *((claim.worse_labelled,) if claim.worse_labelled else ()))
    rows = [
        row for method in methods for size in used for row in case.trials.at(method, size).values()
    ]
    line = replace(line, notes=(*case.notes, *data_notes(rows)))
    blocked = comparison_blocker(rows, case.suite.rule.mix_devices)
    if blocked:
        return replace(line, reason=blocked)
    tests = []
    for size in sizes:
        better = _side_values(case, claim.better, size, reported)
        worse = _side_values(case, claim.worse, claim.worse_labelled or size, reported)
        if better is None or worse is None:
            return replace(line, reason="the published constant is not in the reported table")
        test = _test_budget(case, size, better, worse)
        if test is not None:
            tests.append(
                replace(test, published=_published_difference(case, claim, size, reported))
            )
    if not tests or len(tests) < len(sizes):
        return replace(
            line,
            outcome=ClaimOutcome.MISSING,
            reason="no trial got this far, or no seed is shared",
            budgets=tuple(tests),
        )
    return _conclude_claim(case, line, tests)


def _claim_sizes(case: ComparisonContext, claim: Claim) -> tuple[int, ...]:
    planned = case.suite.protocol.acquisition.labelled()
    if claim.labelled is None or claim.labelled == "all":
        return planned
    if isinstance(claim.labelled, str):
        return planned[1:] if claim.labelled == "after_first" else planned[-1:]
    return claim.labelled


def _side_values(
    case: ComparisonContext, name: str, size: int, reported: list[ReportedResult]
) -> _Side | None:
    metric = case.suite.rule.metric
    if not name.startswith(REPORTED):
        return _Side(case.trials.values(name, size, metric))
    # A constant without a number of labels (a full-data line) holds at every size.
    named = [
        row
        for row in reported
        if row.method == name.removeprefix(REPORTED) and row.metric == metric
    ]
    for wanted in (size, None):
        for row in named:
            if row.labelled == wanted and row.mean is not None:
                return _Side({}, row.mean, row.reading_error)
    return None


def _every_model(
    case: ComparisonContext, better: str, line: ClaimVerdict, reported: list[ReportedResult]
) -> ClaimVerdict:
    """Whether a method has the best curve of all on every single target model.

    For each model its rivals are tested one by one, paired by seed, and the one it is least surely
    ahead of counts: a claim to be ahead of all is proven when it is proven against each
    (intersection-union), so no adjustment is needed within a model. Across the models Holm's is
    made, as over the sizes of other claims.
    """
    planned, rule = case.suite.protocol.acquisition.labelled(), case.suite.rule
    rivals = [
        method
        for method in case.suite.methods
        if method != better and _is_printed(reported, method)
    ]
    line = replace(line, methods=(better, *rivals))
    absent = [method for method in (better, *rivals) if not case.trials.sizes(method)]
    if absent:
        return replace(
            line, outcome=ClaimOutcome.MISSING, reason=f"no trial of {', '.join(absent)}"
        )
    rows = [row for row in case.trials.rows if row.method in (better, *rivals)]
    line = replace(line, notes=(*case.notes, *data_notes(rows)))
    blocked = comparison_blocker(rows, rule.mix_devices)
    if blocked:
        return replace(line, reason=blocked)
    tests = []
    for place in case.suite.protocol.trained():
        metric = f"accuracy/model{place}"
        areas = {
            method: _areas_by_seed(case, method, planned, metric) for method in (better, *rivals)
        }
        found = [
            replace(
                test,
                what=f"model {place} against {rival}",
                published=_published_areas(case, better, rival, metric, reported),
            )
            for rival in rivals
            if (test := _test_budget(case, planned[-1], _Side(areas[better]), _Side(areas[rival])))
            is not None
        ]
        if len(found) < len(rivals):
            return replace(
                line,
                outcome=ClaimOutcome.MISSING,
                reason="no trial got this far, or no seed is shared",
            )
        tests.append(min(found, key=_signed_t))
    return _conclude_claim(case, line, tests)


def _is_printed(reported: list[ReportedResult], method: str) -> bool:
    return any(row.method == method and row.role in TARGETS for row in reported)


def _areas_by_seed(
    case: ComparisonContext, method: str, sizes: Sequence[int], metric: str
) -> dict[int, float]:
    """The one number of a method's curve in a metric, by seed."""
    curves = case.trials.curves(method, sizes, metric)
    return {
        seed: float(curve_area(sizes, curve, case.suite.rule.curve))
        for seed, curve in curves.items()
    }


def _signed_t(test: BudgetTest) -> float:
    """How surely the better side is ahead: the t value, or its sign where there is no spread."""
    if not test.sd:
        return math.copysign(math.inf, test.difference) if test.difference else 0.0
    return test.difference / test.sd * math.sqrt(test.n)


def _published_areas(
    case: ComparisonContext, better: str, worse: str, metric: str, reported: list[ReportedResult]
) -> float | None:
    """The same difference in the paper's own numbers; None where it does not print both curves."""
    sizes, found = case.suite.protocol.acquisition.labelled(), []
    for method in (better, worse):
        own = {
            row.labelled: row.mean
            for row in reported
            if (row.method, row.metric) == (method, metric)
        }
        curve = [own.get(size) for size in sizes]
        if None in curve:
            return None
        found.append(float(curve_area(sizes, np.array(curve, dtype=float), case.suite.rule.curve)))
    return found[0] - found[1]


def _published_difference(
    case: ComparisonContext, claim: Claim, size: int, reported: list[ReportedResult]
) -> float | None:
    """Better minus worse at one size in the paper's own numbers; None where it does not print
    both."""
    means = []
    for name, at in ((claim.better or "", size), (claim.worse or "", claim.worse_labelled or size)):
        if name.startswith(REPORTED):
            side = _side_values(case, name, at, reported)
            means.append(side.constant if side else None)
        else:
            own = [
                row
                for row in reported
                if (row.method, row.labelled) == (name, at) and row.role in TARGETS
            ]
            means.append(
                next((row.mean for row in own if row.metric == case.suite.rule.metric), None)
            )
    better, worse = means
    return None if better is None or worse is None else better - worse


def _test_budget(
    case: ComparisonContext, size: int, better: _Side, worse: _Side
) -> BudgetTest | None:
    """Better minus worse at one size; the reading error of a constant is held against the claim's
    side it would help."""
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
        size,
        len(gaps),
        float(gaps.mean()),
        None,
        None,
        None,
        None,
        None,
        together,
        None,
        max(rule.min_trials, BETTER_FROM),
    )
    if len(gaps) == 1:
        return base
    error = better.reading_error + worse.reading_error
    sd = float(gaps.std(ddof=1))
    # Alpha is two-sided here, so the interval is the usual (1 - alpha) one.
    test = stats.against_mean(gaps, 0.0, rule.margin, case.level(len(gaps), rule.alpha / 2), error)
    needed = stats.needed_pairs(
        sd, math.copysign(max(abs(test.difference) - error, 0.0), test.difference), rule.alpha
    )
    return replace(
        base,
        sd=sd,
        low=test.low,
        high=test.high,
        p=test.p_different,
        mdd=stats.minimum_detectable(sd, len(gaps), rule.alpha),
        needed=needed and max(needed, rule.min_trials, BETTER_FROM),
    )


def _conclude_claim(
    case: ComparisonContext, line: ClaimVerdict, tests: list[BudgetTest]
) -> ClaimVerdict:
    """Holds: better at every size. Refuted: worse at any. Both after Holm's adjustment over the
    sizes."""
    rule = case.suite.rule
    adjusted = iter(stats.holm([test.p for test in tests if test.p is not None]))
    budgets = tuple(
        test if test.p is None else replace(test, p_holm=next(adjusted)) for test in tests
    )
    line = replace(line, budgets=budgets)
    fewest, least = min(test.n for test in budgets), max(rule.min_trials, BETTER_FROM)
    if fewest < least:
        reason = (
            f"{fewest} of at least {least} pairs: intervals rest on {fewest - 1} degrees of freedom"
        )
        return replace(line, outcome=ClaimOutcome.INCONCLUSIVE, reason=reason)
    level = 2 * case.level(fewest, rule.alpha / 2)
    clear = [test for test in budgets if test.p_holm is not None and test.p_holm < level]
    worse = [test for test in clear if test.difference < 0]
    better = [test for test in clear if test.difference > 0]
    places = "models" if any(test.what for test in budgets) else "sizes"
    if worse:
        at = ", ".join(test.what or str(test.labelled) for test in worse) + " labels" * (
            places == "sizes"
        )
        printed = all(test.published is not None and test.published < 0 for test in worse)
        reason = f"significantly the other way at {at}" + (
            ", as in the paper's own numbers" if printed else ""
        )
        return replace(line, outcome=ClaimOutcome.REFUTED, reason=reason, as_printed=printed)
    if len(better) == len(budgets):
        where = (
            f"all {len(budgets)} {places}" if len(budgets) > 1 else f"{budgets[0].labelled} labels"
        )
        return replace(line, outcome=ClaimOutcome.HOLDS, reason=f"significant at {where}")
    return replace(
        line,
        outcome=ClaimOutcome.INCONCLUSIVE,
        reason=f"significant at {len(better)} of {len(budgets)} {places}",
    )
