"""Against scipy, statsmodels and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from benchmark.verdicts import stats

OURS = np.array([93.9, 94.6, 94.2, 95.1, 94.4])
THEIRS = np.array([93.1, 94.9, 93.8, 94.6, 93.9])


def test_one_sample_is_scipys() -> None:
    test = stats.against_mean(OURS, 94.0, margin=0.5, alpha=0.05)
    assert test.p_different == pytest.approx(reference.ttest_1samp(OURS, 94.0).pvalue, rel=1e-12)
    assert test.p_lower == pytest.approx(
        reference.ttest_1samp(OURS, 93.5, alternative="greater").pvalue, rel=1e-12
    )
    assert test.p_upper == pytest.approx(
        reference.ttest_1samp(OURS, 94.5, alternative="less").pvalue, rel=1e-12
    )
    assert test.p_above == pytest.approx(
        reference.ttest_1samp(OURS, 94.5, alternative="greater").pvalue, rel=1e-12
    )
    assert test.p_below == pytest.approx(
        reference.ttest_1samp(OURS, 93.5, alternative="less").pvalue, rel=1e-12
    )
    expected = reference.ttest_1samp(OURS, 94.0).confidence_interval(0.90)
    assert (94.0 + test.low, 94.0 + test.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_two_samples_are_statsmodels_welch_tost() -> None:
    mean, sd, n = float(THEIRS.mean()), float(THEIRS.std(ddof=1)), len(THEIRS)
    test = stats.against_mean(
        OURS, mean, margin=0.8, alpha=0.05, other_se=sd / math.sqrt(n), other_df=n - 1
    )
    p, lower, upper = ttost_ind(OURS, THEIRS, -0.8, 0.8, usevar="unequal")
    assert test.p_equivalent == pytest.approx(p, rel=1e-10)
    assert (test.p_lower, test.p_upper) == pytest.approx((lower[1], upper[1]), rel=1e-10)
    welch = reference.ttest_ind_from_stats(
        OURS.mean(), OURS.std(ddof=1), 5, mean, sd, n, equal_var=False
    )
    assert test.p_different == pytest.approx(welch.pvalue, rel=1e-10)


def test_paired_is_statsmodels_paired_tost() -> None:
    test = stats.compare_pairs(OURS, THEIRS, margin=0.9, alpha=0.05)
    p, lower, upper = ttost_paired(OURS, THEIRS, -0.9, 0.9)
    assert (test.p_equivalent, test.p_lower, test.p_upper) == pytest.approx(
        (p, lower[1], upper[1]), rel=1e-10
    )
    assert test.p_different == pytest.approx(reference.ttest_rel(OURS, THEIRS).pvalue, rel=1e-10)


def test_the_interval_and_the_tests_agree() -> None:
    for shift in np.linspace(-2, 2, 41):
        test = stats.against_mean(OURS + shift, 94.4, margin=1.0, alpha=0.05)
        assert (test.p_equivalent < 0.05) == (test.low > -1 and test.high < 1)
        assert (test.p_above < 0.05) == (test.low > 1)
        assert (test.p_below < 0.05) == (test.high < -1)


def test_the_reading_error_is_taken_at_its_worst() -> None:
    read = stats.against_mean(OURS, 94.0, margin=1.2, alpha=0.05, reading_error=0.3)
    high, low = (
        stats.against_mean(OURS, 94.0 + error, margin=1.2, alpha=0.05) for error in (0.3, -0.3)
    )
    assert (read.low, read.high) == pytest.approx((high.low, low.high))
    for name in ("p_equivalent", "p_above", "p_below", "p_different"):
        assert getattr(read, name) == pytest.approx(max(getattr(high, name), getattr(low, name))), (
            name
        )
    # Within the reading error, nothing is different.
    assert (
        stats.against_mean(OURS, 94.4, margin=1.0, alpha=0.05, reading_error=0.2).p_different == 1.0
    )


def test_trials_without_any_spread() -> None:
    same = stats.against_mean([90.0, 90.0, 90.0], 90.5, margin=1.0, alpha=0.05)
    assert (same.low, same.high, same.p_equivalent, same.p_above) == (-0.5, -0.5, 0.0, 1.0)
    other = stats.against_mean([92.0, 92.0], 90.0, margin=1.0, alpha=0.05)
    assert (other.p_equivalent, other.p_above, other.p_below) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]]])
def test_too_few_values(values: list) -> None:
    with pytest.raises(ValueError, match="at least 2 values"):
        stats.against_mean(values, 0.0, margin=1.0, alpha=0.05)


def test_pairs_are_made_by_seed_and_not_by_row() -> None:
    seeds, ours, theirs = stats.pair({3: 30.0, 1: 10.0, 7: 70.0}, {7: 7.0, 2: 2.0, 3: 3.0})
    assert seeds == (3, 7)
    assert (ours.tolist(), theirs.tolist()) == ([30.0, 70.0], [3.0, 7.0])


@pytest.mark.parametrize(("n", "critical"), [(3, 4.303), (5, 2.776), (10, 2.262), (50, 2.010)])
def test_two_sided_critical_values(n: int, critical: float) -> None:
    assert stats.t_critical(0.025, n - 1) == pytest.approx(critical, abs=5e-4)


def test_holm_is_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 11):
        for p_values in (rng.uniform(0, 0.1, count), np.round(rng.uniform(0, 1, count), 1)):
            assert stats.holm(list(p_values)) == pytest.approx(
                multipletests(p_values, method="holm")[1]
            )
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert stats.holm([]) == ()


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_minimum_detectable_difference_is_statsmodels(n: int) -> None:
    expected = 0.7 * TTestPower().solve_power(None, n, 0.05, 0.8)
    assert stats.minimum_detectable(0.7, n, 0.05) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("sd", "half", "one"), [(0.4, 8, 4), (0.5, 10, 5), (1.0, 34, 10), (2.0, 128, 34)]
)
def test_needed_pairs(sd: float, half: int, one: int) -> None:
    assert (stats.needed_pairs(sd, 0.5, 0.05), stats.needed_pairs(sd, -1.0, 0.05)) == (half, one)
    exact = TTestPower().solve_power(0.5 / sd, None, 0.05, 0.8)
    assert half == math.ceil(float(np.squeeze(exact)))


def test_needed_pairs_at_the_ends() -> None:
    assert stats.needed_pairs(0.0, 0.1, 0.05) == 2
    assert stats.needed_pairs(1.0, 0.0, 0.05) is None
    assert stats.needed_pairs(1.0, 0.01, 0.05) is None


@pytest.mark.parametrize(
    ("n", "sd", "true"), [(3, 0.3, 0.0), (5, 0.5, 0.0), (5, 0.5, 0.4), (8, 1.0, 0.0)]
)
def test_equivalence_power_is_what_simulation_gives(n: int, sd: float, true: float) -> None:
    draws = np.random.default_rng(1).normal(true, sd, (20_000, n))
    half = stats.t_critical(0.05, n - 1) * draws.std(axis=1, ddof=1) / math.sqrt(n)
    found = np.mean((draws.mean(axis=1) - half > -1) & (draws.mean(axis=1) + half < 1))
    assert stats.equivalence_power(sd, n, 1.0, 0.05, true) == pytest.approx(found, abs=0.012)


def test_power_against_a_published_spread_is_what_simulation_gives() -> None:
    n, sd, other_n = 5, 0.4, 4
    rng = np.random.default_rng(2)
    draws = rng.normal(0, sd, (20_000, n))
    published = rng.normal(0, sd / math.sqrt(other_n), 20_000)
    own, other = draws.var(axis=1, ddof=1) / n, sd**2 / other_n
    df = (own + other) ** 2 / (own**2 / (n - 1) + other**2 / (other_n - 1))
    half = reference.t.ppf(0.95, df) * np.sqrt(own + other)
    gap = draws.mean(axis=1) - published
    found = np.mean((gap - half > -1) & (gap + half < 1))
    power = stats.equivalence_power(
        sd, n, 1.0, 0.05, other_se=sd / math.sqrt(other_n), other_df=other_n - 1
    )
    assert power == pytest.approx(found, abs=0.012)


def test_needed_trials_is_the_first_n_with_enough_power() -> None:
    for sd, true in ((0.3, 0.0), (0.9, 0.0), (0.5, 0.7)):
        n = stats.needed_trials(sd, 1.0, 0.05, true)
        assert n is not None
        assert stats.equivalence_power(sd, n, 1.0, 0.05, true) >= 0.8
        assert n == 2 or stats.equivalence_power(sd, n - 1, 1.0, 0.05, true) < 0.8
    beyond = stats.needed_trials(0.5, 1.0, 0.05, true=-1.5)
    assert beyond is not None
    # One-sided power of a t test for half a point beyond the margin.
    exact = TTestPower().solve_power(1.0, None, 0.05, 0.8, alternative="larger")
    assert beyond == math.ceil(float(np.squeeze(exact)))


def test_what_no_number_of_trials_decides() -> None:
    assert stats.needed_trials(0.3, 1.0, 0.05, reading_error=1.0) is None
    assert stats.needed_trials(0.3, 1.0, 0.05, true=1.1, reading_error=0.2) is None
    assert stats.needed_trials(0.1, 1.0, 0.05, other_se=2.0, other_df=2) is None
    assert stats.needed_trials(100.0, 1.0, 0.05) is None


def test_correlation_of_pairs() -> None:
    assert stats.correlation(OURS, THEIRS) == pytest.approx(reference.pearsonr(OURS, THEIRS)[0])
    assert stats.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert stats.correlation([1.0, 2.0], [1.0, 2.0]) is None


def test_the_error_of_the_test_set_is_binomial() -> None:
    draw = np.random.default_rng(11)
    seen = 100 * draw.binomial(2000, 0.9, 20_000) / 2000
    assert stats.test_set_error(90.0, 2000) == pytest.approx(seen.std(), rel=0.02)
    assert stats.test_set_error(100.0, 2000) == 0.0


def test_seeds_that_share_a_test_set_do_not_take_its_error_away() -> None:
    """The interval covers the accuracy on all images 95 times in 100; without the test set's error
    hardly ever."""
    draw, hits, without = np.random.default_rng(12), 0, 0
    for _ in range(600):
        shared = 100 * draw.binomial(1000, 0.9) / 1000
        values = shared + 0.3 * draw.standard_normal(5)
        low, high = stats.interval_with_test_set(values, 1000)
        hits += low <= 90 <= high
        narrow = stats.t_critical(0.025, 4) * values.std(ddof=1) / 5**0.5
        without += abs(values.mean() - 90) <= narrow
    assert 0.92 <= hits / 600 <= 0.98
    assert without / 600 < 0.6
    same = [90.0] * 3
    low, high = stats.interval_with_test_set(same, 1000)
    assert high - low == pytest.approx(2 * 1.96 * stats.test_set_error(90.0, 1000), rel=1e-3)
