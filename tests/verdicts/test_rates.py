"""By simulation: verdicts come as often as alpha and power promise, at no difference, at the
margin, and beyond it.

Seeds are fixed. With 1,500 draws the standard error of a rate near 0.05 is 0.006, near 0.8 it is
0.010.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.verdicts import stats
from benchmark.verdicts.results import ClaimOutcome, VerdictKind
from tests.verdicts import simulate

DRAWS, MARGIN, ALPHA = 1500, 1.0, 0.05
SLACK = 0.018
"""Three standard errors of a rate near alpha."""


rates = partial(simulate.rates, draws=DRAWS)
PAGE = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def published(name: str) -> list[list[str]]:
    """Rows of a table of the page, without its head."""
    body = PAGE.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.split("\n")
        if line.startswith("|")
    ][2:]


def test_the_pages_table_of_numbers_holds_with_other_draws() -> None:
    rows = published("numbers")
    assert len(rows) == len(simulate.CASES)
    for row, (n, sd, other_n, error) in zip(rows, simulate.CASES, strict=True):
        assert row[:2] == [str(n), f"{sd:g}"]
        for cell, true in list(zip(row[3:], simulate.TRUTHS, strict=False))[::2]:
            found = rates(n, sd, true, error, other_n, rng=100, draws=400)
            shares = (
                found[VerdictKind.REPRODUCED],
                found[VerdictKind.ABOVE] + found[VerdictKind.BELOW],
            )
            assert [float(share) for share in cell.split("/")] == pytest.approx(shares, abs=0.09), (
                row[:3],
                true,
            )


def test_the_pages_table_of_claims_holds_with_other_draws() -> None:
    rows = published("claims")
    assert len(rows) == 2 * len(simulate.GAPS)
    for row in rows[0:5:2]:
        found = simulate.claims(int(row[0]), float(row[1]), rng=100, draws=150)
        shares = [
            found[one]
            for one in (ClaimOutcome.HOLDS, ClaimOutcome.REFUTED, ClaimOutcome.INCONCLUSIVE)
        ]
        assert [float(share) for share in row[2:]] == pytest.approx(shares, abs=0.15), row


@pytest.mark.parametrize(("n", "sd"), [(3, 0.3), (5, 0.6), (10, 1.0)])
def test_without_a_difference_power_is_as_promised(n: int, sd: float) -> None:
    found = rates(n, sd, 0.0)
    assert found[VerdictKind.REPRODUCED] == pytest.approx(
        stats.equivalence_power(sd, n, MARGIN, ALPHA), abs=0.035
    )
    assert found[VerdictKind.ABOVE] + found[VerdictKind.BELOW] < 0.005


@pytest.mark.parametrize(("n", "sd"), [(3, 0.3), (5, 0.6)])
@pytest.mark.parametrize("sign", [1, -1])
def test_at_the_margin_both_errors_stay_below_alpha(n: int, sd: float, sign: int) -> None:
    found = rates(n, sd, sign * MARGIN, rng=1)
    assert found[VerdictKind.REPRODUCED] <= ALPHA + SLACK
    assert found[VerdictKind.ABOVE if sign > 0 else VerdictKind.BELOW] == pytest.approx(
        ALPHA, abs=SLACK
    )
    assert found[VerdictKind.INCONCLUSIVE] > 0.85


@pytest.mark.parametrize(("n", "sd"), [(3, 0.3), (5, 0.6)])
def test_beyond_the_margin_it_is_found_with_the_promised_power(n: int, sd: float) -> None:
    found = rates(n, sd, 2 * MARGIN, rng=2)
    assert found[VerdictKind.ABOVE] == pytest.approx(
        stats.beyond_power(sd, n, MARGIN, ALPHA), abs=0.035
    )
    assert found[VerdictKind.REPRODUCED] == 0.0
    assert found[VerdictKind.BELOW] == 0.0


def test_the_needed_number_of_trials_suffices() -> None:
    sd = 0.8
    needed = stats.needed_trials(sd, MARGIN, ALPHA)
    assert needed is not None
    assert rates(needed, sd, 0.0, rng=3)[VerdictKind.REPRODUCED] >= stats.POWER - 0.035


@pytest.mark.parametrize("true", [MARGIN, -MARGIN])
def test_a_published_spread_keeps_the_level(true: float) -> None:
    found = rates(5, 0.5, true, other_n=3, rng=4)
    assert found[VerdictKind.REPRODUCED] <= ALPHA + SLACK
    assert found[VerdictKind.ABOVE] + found[VerdictKind.BELOW] <= ALPHA + SLACK


def test_a_reading_error_keeps_the_level() -> None:
    found = rates(5, 0.3, MARGIN, error=0.3, rng=5)
    assert found[VerdictKind.REPRODUCED] <= ALPHA + SLACK
    assert found[VerdictKind.ABOVE] <= ALPHA + SLACK
    assert rates(5, 0.1, 0.0, error=0.3, rng=5)[VerdictKind.REPRODUCED] > 0.99


def test_a_family_of_sizes_keeps_the_level() -> None:
    draw = np.random.default_rng(6)
    wrong = 0
    for _ in range(DRAWS):
        # Correlated sizes, as along a curve, and no difference at any of them.
        gaps = 0.5 * draw.standard_normal((5, 4)) + 0.5 * draw.standard_normal((5, 1))
        p_values = [
            stats.against_mean(column, 0.0, MARGIN, ALPHA / 2).p_different for column in gaps.T
        ]
        wrong += min(stats.holm(p_values)) < ALPHA
    assert 0.005 < wrong / DRAWS <= ALPHA + SLACK


def test_a_detectable_difference_is_detected() -> None:
    draw = np.random.default_rng(7)
    sd, n = 0.7, 5
    true = stats.minimum_detectable(sd, n, ALPHA)
    tests = [
        stats.against_mean(true + sd * draw.standard_normal(n), 0.0, MARGIN, ALPHA)
        for _ in range(DRAWS)
    ]
    assert np.mean([test.p_different < ALPHA for test in tests]) == pytest.approx(
        stats.POWER, abs=0.035
    )
