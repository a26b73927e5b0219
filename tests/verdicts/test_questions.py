"""Questions of the project's own: answered like claims, and no answer is a discrepancy."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import Exit
from benchmark.reports.claims import state_table
from benchmark.spec.load import find_suite
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import read_committed
from benchmark.verdicts.results import ClaimOutcome

ROOT = Path(__file__).parents[2]


def test_a_method_that_is_worse_is_an_answer_and_no_discrepancy() -> None:
    suite = find_suite("frozen/cifar10", ROOT / "suites")
    rows = read_committed(ROOT / "results" / "frozen" / "cifar10")
    found = judge_suite(suite, rows, profile="paper", variant="as_published")
    outcomes = {claim.id: claim.outcome for claim in found.claims}
    assert (
        outcomes["tod-random"] is ClaimOutcome.REFUTED
        and outcomes["uherding-random"] is ClaimOutcome.HOLDS
    )
    assert all(claim.is_question for claim in found.claims) and found.exit_code is Exit.OK
    (test,) = next(claim.budgets for claim in found.claims if claim.id == "tod-random")
    means = {
        method: [
            row.metrics["accuracy"] for row in rows if (row.method, row.labelled) == (method, 210)
        ]
        for method in ("tod", "random")
    }
    assert test.labelled == 210 and test.n == len(means["tod"])
    assert abs(test.difference - (sum(means["tod"]) - sum(means["random"])) / test.n) < 1e-9


def test_questions_are_not_counted_among_the_claims_of_papers() -> None:
    suites = [find_suite(name, ROOT / "suites") for name in ("frozen/cifar10", "tod/cifar10")]
    table = state_table(suites, {})
    assert "| tod |" in table and "frozen" not in table
