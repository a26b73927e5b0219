"""Published comparisons: paired by seed, Holm across sizes, constants from the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from benchmark.errors import Exit
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.results import ClaimVerdict
from tests.helpers import toy_suite as toy


def verdict(tmp_path: Path, text: str, rows: list, table: list | None = None) -> ClaimVerdict:
    (found,) = judge_suite(toy.suite(tmp_path, table, more=text), rows).claims
    return found


def test_holds_at_its_sizes_only(tmp_path: Path) -> None:
    rows = toy.trials()
    assert verdict(tmp_path, toy.claim("margin", "random"), rows).outcome == "holds"
    everywhere = verdict(tmp_path, toy.claim("margin", "random", '"all"'), rows)
    assert everywhere.outcome == "inconclusive"
    assert everywhere.reason == "significant at 2 of 3 sizes"
    assert [test.labelled for test in everywhere.budgets] == [100, 200, 300]
    one = verdict(tmp_path, toy.claim("margin", "random", "[300]"), rows)
    assert ([test.labelled for test in one.budgets], one.outcome) == ([300], "holds")


def test_refuted_when_it_is_significantly_the_other_way(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, [], more=toy.claim("random", "margin"))
    found = judge_suite(suite, toy.trials())
    assert found.claims[0].outcome == "refuted"
    assert found.claims[0].reason == "significantly the other way at 200, 300 labels"
    assert found.exit_code is Exit.DISCREPANCY


def test_refuted_as_the_papers_own_numbers_refute_it(tmp_path: Path) -> None:
    text = toy.claim("random", "margin")
    found = judge_suite(toy.suite(tmp_path, more=text), toy.trials())
    assert found.claims[0].outcome == "refuted"
    assert found.claims[0].reason.endswith("as in the paper's own numbers")
    assert found.exit_code is Exit.OK
    half = toy.reported({"random": (70, 84, 85), "margin": (70, 83, 90)}, role="target_weak")
    assert not judge_suite(toy.suite(tmp_path, half, more=text), toy.trials()).claims[0].as_printed


def test_numbers_are_scipys_and_holms(tmp_path: Path) -> None:
    rows = toy.trials({"random": (70, 80, 85), "margin": (70.3, 80.5, 85.2)}, noise=0.4, rng=6)
    (found,) = judge_suite(
        toy.suite(tmp_path, more=toy.claim("margin", "random", '"all"')),
        rows,
        methods=["random", "margin"],
    ).claims
    value = {(row.method, row.labelled, row.seed): row.metrics["accuracy"] for row in rows}
    p_values = []
    for test in found.budgets:
        ours, theirs = (
            [value[method, test.labelled, seed] for seed in range(5)]
            for method in ("margin", "random")
        )
        expected = ttest_rel(ours, theirs)
        assert test.p == pytest.approx(expected.pvalue)
        assert (test.low, test.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert test.correlation == pytest.approx(np.corrcoef(ours, theirs)[0, 1])
        p_values.append(expected.pvalue)
    order = np.argsort(p_values)
    holm = np.maximum.accumulate(np.minimum(1, np.array(p_values)[order] * [3, 2, 1]))
    assert [found.budgets[place].p_holm for place in order] == pytest.approx(holm)
    assert [test.published for test in found.budgets] == [0.0, 3.0, 5.0]


def test_pairs_are_made_by_seed(tmp_path: Path) -> None:
    # Seeds differ by tens of points, methods by one: only pairing by seed sees it. One method lacks
    # seed 0.
    levels = {seed: 10.0 * seed for seed in range(7)}
    rows = [
        row
        for seed in range(6)
        for row in toy.trial("random", seed, np.array([10, 20, 30]) + levels[seed])
    ]
    rows += [
        row
        for seed in reversed(range(1, 7))
        for row in toy.trial(
            "margin", seed, np.array([11, 21, 31]) + levels[seed] + 0.1 * (seed % 2)
        )
    ]
    found = verdict(tmp_path, toy.claim("margin", "random"), rows)
    assert found.outcome == "holds"
    assert {test.n for test in found.budgets} == {5}
    assert found.budgets[0].difference == pytest.approx(1.06)


def test_too_few_pairs(tmp_path: Path) -> None:
    found = verdict(tmp_path, toy.claim("margin", "random"), toy.trials(seeds=[0, 1], noise=0.01))
    assert (found.outcome, found.reason) == (
        "inconclusive",
        "2 of at least 5 pairs: intervals rest on 1 degrees of freedom",
    )
    alone = verdict(tmp_path, toy.claim("margin", "random"), toy.trials(seeds=[0]))
    assert (alone.outcome, alone.budgets[0].needed, alone.budgets[0].p) == ("inconclusive", 5, None)


def test_better_only_from_five_pairs(tmp_path: Path) -> None:
    """However clear it looks: with four pairs no method is called better, with five it is."""
    four = verdict(tmp_path, toy.claim("margin", "random"), toy.trials(seeds=range(4), noise=0.01))
    assert (four.outcome, max(test.p_holm or 1.0 for test in four.budgets) < 0.001) == (
        "inconclusive",
        True,
    )
    assert "on 3 degrees of freedom" in four.reason
    assert (
        verdict(
            tmp_path, toy.claim("margin", "random"), toy.trials(seeds=range(5), noise=0.01)
        ).outcome
        == "holds"
    )


def test_no_seed_in_common(tmp_path: Path) -> None:
    rows = toy.trials({"random": (70, 80, 85)}, seeds=[0, 1, 2]) + toy.trials(
        {"margin": (70, 83, 90)}, seeds=[3, 4, 5]
    )
    assert verdict(tmp_path, toy.claim("margin", "random"), rows).outcome == "missing"


def test_a_side_that_was_not_run(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, [], more=toy.claim("margin", "random"))
    found = judge_suite(suite, toy.trials({"random": (70, 80, 85)}))
    assert (found.claims[0].outcome, found.claims[0].reason) == ("missing", "no trial of margin")
    assert found.exit_code is Exit.NOT_MEASURED
    assert judge_suite(suite, toy.trials({"random": (70, 80, 85)}), methods=["random"]).claims == ()


def constant(labelled: int | None, mean: float, error: float = 0.0) -> list:
    row = {
        "method": "Full training",
        "labelled": labelled,
        "metric": "accuracy",
        "mean": mean,
        "source": "Table 2",
    }
    return [*toy.reported(), {**row, "role": "context", "reading_error": error}]


@pytest.mark.parametrize(
    ("mean", "outcome"), [(88.0, "holds"), (90.0, "inconclusive"), (92.0, "refuted")]
)
@pytest.mark.parametrize("labelled", [None, 300])
def test_against_a_published_constant(
    tmp_path: Path, mean: float, outcome: str, labelled: int | None
) -> None:
    text, rows = toy.claim("margin", "reported:Full training", "[300]"), toy.trials()
    found = verdict(tmp_path, text, rows, constant(labelled, mean))
    assert found.outcome == outcome
    ours = [
        row.metrics["accuracy"] for row in rows if (row.method, row.labelled) == ("margin", 300)
    ]
    assert found.budgets[0].p == pytest.approx(ttest_1samp(ours, mean).pvalue)
    assert found.budgets[0].published == pytest.approx(90.0 - mean)


def test_the_reading_error_of_a_constant_is_held_against_the_claim(tmp_path: Path) -> None:
    text, rows = toy.claim("margin", "reported:Full training", "[300]"), toy.trials()
    assert verdict(tmp_path, text, rows, constant(None, 89.2, error=0.1)).outcome == "holds"
    assert verdict(tmp_path, text, rows, constant(None, 89.2, error=0.9)).outcome == "inconclusive"


def test_a_constant_that_is_not_in_the_table(tmp_path: Path) -> None:
    found = verdict(tmp_path, toy.claim("margin", "reported:Oracle", "[300]"), toy.trials())
    assert (found.outcome, found.reason) == (
        "not_testable",
        "the published constant is not in the reported table",
    )


def test_a_cited_claim_is_only_cited(tmp_path: Path) -> None:
    text = '[claims.C9]\ntext = "it is fast"\nsource = "section 6"\n'
    suite = toy.suite(tmp_path, more=text)
    found = judge_suite(suite, toy.trials())
    assert found.claims[0].outcome == "not_testable"
    assert found.exit_code is Exit.OK
