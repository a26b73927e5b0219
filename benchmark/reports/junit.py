"""Verdicts as JUnit XML: a discrepancy is a failure, what could not be measured an error, what was
not asked skipped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from benchmark.reports import formatting
from benchmark.verdicts.regression import Regression, RegressionState
from benchmark.verdicts.results import (
    ClaimOutcome,
    ClaimVerdict,
    CurveVerdict,
    NumberVerdict,
    SuiteVerdict,
    VerdictKind,
)

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


@dataclass(frozen=True)
class TestCase:
    """One test case: where it belongs, its name, what became of it, and why."""

    group: str
    name: str
    result: str = ""
    """`failure`, `error`, `skipped`, or empty for passed."""
    message: str = ""
    detail: str = ""


def make_cases(judgement: SuiteVerdict) -> list[TestCase]:
    """A case per deciding number, per curve, per claim, and per method that is missing."""
    found = [_verdict_case(judgement.suite, item) for item in judgement.numbers if item.decides]
    found += [
        _verdict_case(judgement.suite, item, formatting.curve_name(judgement.rule))
        for item in judgement.curves
    ]
    found += [_claim_case(judgement, claim) for claim in judgement.claims]
    judged = {case.group for case in found}
    for method in judgement.missing:
        group = f"{judgement.suite}.{method}"
        if group not in judged:
            found.append(TestCase(group, "trials", "error", "no trial"))
    return found


def regression_cases(regression: Regression) -> list[TestCase]:
    """A case per trial, and per number judged by the rule."""
    found = []
    for trial in regression.trials:
        result = {
            RegressionState.LOST: "failure",
            RegressionState.MISSING: "error",
            RegressionState.NEW: "skipped",
        }.get(trial.state, "")
        message, where = (str(trial.state), str(trial.divergence or "")) if result else ("", "")
        found.append(
            TestCase(
                f"{regression.suite}.{trial.method}", f"seed {trial.seed}", result, message, where
            )
        )
    return found + [_verdict_case(regression.suite, item) for item in regression.numbers]


def render(judgements: Iterable[SuiteVerdict], regressions: Iterable[Regression] = ()) -> str:
    """One XML document: a test suite per suite verdict and per regression."""
    root = ElementTree.Element("testsuites", name="albench")
    for judgement in judgements:
        _add_suite(
            root,
            f"{judgement.suite} {judgement.profile} {judgement.variant}",
            make_cases(judgement),
        )
    for regression in regressions:
        name = (
            f"{regression.suite} {regression.profile} {regression.variant} against committed "
            "records"
        )
        _add_suite(root, name, regression_cases(regression))
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_suite(root: ElementTree.Element, name: str, found: list[TestCase]) -> None:
    results = [case.result for case in found]
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=_clean_text(name),
        tests=str(len(found)),
        failures=str(results.count("failure")),
        errors=str(results.count("error")),
        skipped=str(results.count("skipped")),
    )
    for case in found:
        node = ElementTree.SubElement(
            suite, "testcase", classname=_clean_text(case.group), name=_clean_text(case.name)
        )
        if case.result:
            ElementTree.SubElement(node, case.result, message=_clean_text(case.message)).text = (
                _clean_text(case.detail) or None
            )
        elif case.detail:
            ElementTree.SubElement(node, "system-out").text = _clean_text(case.detail)


def _verdict_case(suite: str, item: NumberVerdict | CurveVerdict, curve: str = "area") -> TestCase:
    kind = item.verdict.kind
    if kind in (VerdictKind.ABOVE, VerdictKind.BELOW):
        result = "failure"
    elif kind is VerdictKind.MISSING or (
        kind is VerdictKind.NOT_COMPARABLE and not item.verdict.excused
    ):
        result = "error"
    else:
        result = "" if kind is VerdictKind.REPRODUCED else "skipped"
    line = formatting.format_verdict(item, formatting.Footnotes())
    what = (
        f"{item.metric} at {line.labelled}"
        if isinstance(item, NumberVerdict)
        else f"{item.metric} {curve} {line.labelled}"
    )
    detail = (
        f"ours {line.ours}, reference {line.published}, difference {line.difference}, MDD "
        f"{line.mdd}, needed {line.needed}"
    )
    return TestCase(
        f"{suite}.{item.method}",
        f"{what} ({item.source})",
        result,
        line.verdict if result else "",
        "\n".join([detail, *item.notes]) if item.estimate else "",
    )


def _claim_case(judgement: SuiteVerdict, claim: ClaimVerdict) -> TestCase:
    result = {
        ClaimOutcome.REFUTED: "failure",
        ClaimOutcome.MISSING: "error",
        ClaimOutcome.HOLDS: "",
    }.get(claim.outcome, "skipped")
    result = "skipped" if claim.as_printed or (claim.is_question and result) else result
    detail = "\n".join(
        f"{test.what or f'{formatting.count(test.labelled)} labels'}: "
        f"{'; '.join(formatting.budget_cells(test)[1:4])}"
        for test in claim.budgets
    )
    return TestCase(
        f"{judgement.suite}.claims",
        f"{claim.id}: {claim.text}",
        result,
        formatting.claim_text(claim) if result else "",
        detail,
    )


def _clean_text(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
