"""Areas, labels saved, penalties, ranks: against numpy, scipy, slow twins and published tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, kendalltau, mannwhitneyu, trim_mean, ttest_rel, wilcoxon
from statsmodels.stats.multitest import multipletests

from benchmark.verdicts import ranking

SIZES = (100, 200, 400)


def test_area_is_the_trapezoid_rule_over_the_range() -> None:
    curve = np.array([[50.0, 70.0, 80.0], [10.0, 20.0, 20.0]])
    assert ranking.curve_area(SIZES, curve) == pytest.approx(
        np.trapezoid(curve, SIZES, axis=1) / 300
    )
    assert ranking.curve_area(SIZES, [60.0, 60.0, 60.0]) == pytest.approx(60.0)
    assert ranking.area_weights(SIZES).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [(100,), (100, 100), (200, 100)])
def test_an_area_needs_growing_sizes(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="growing sizes"):
        ranking.area_weights(sizes)


LEVELS = [
    (75.0, 300.0),
    (70.0, 200.0),
    (60.0, 150.0),
    (40.0, 100.0),
    (50.0, 100.0),
    (80.0, 400.0),
    (80.1, np.inf),
]


@pytest.mark.parametrize(("level", "labels"), LEVELS)
def test_labels_needed(level: float, labels: float) -> None:
    assert ranking.labels_needed(SIZES, [50.0, 70.0, 80.0], level) == labels


def test_labels_needed_of_many_curves_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    curves, levels = rng.normal(60, 10, (200, 3)), rng.normal(60, 10, 200)
    together = ranking.labels_needed(SIZES, curves, levels)
    for curve, level, found in zip(curves, levels, together, strict=True):
        # The slow twin walks along the curve.
        expected = np.inf if curve[0] < level else 100.0
        for at in range(1, 3):
            if np.isinf(expected) and curve[at] >= level:
                expected = np.interp(level, curve[at - 1 : at + 1], SIZES[at - 1 : at + 1])
        assert found == pytest.approx(expected)


def test_labels_saved_of_a_known_pair() -> None:
    baseline = np.array([[50.0, 60.0, 70.0]] * 4)
    method = np.array([[50.0, 70.0, 80.0]] * 4)
    saved = ranking.labels_saved(SIZES, method, baseline)
    assert (saved.value, saved.low, saved.high) == (200.0, 200.0, 200.0)
    worse = ranking.labels_saved(SIZES, baseline, method)
    assert (worse.value, worse.low, worse.high) == (None, None, None)
    assert ranking.labels_saved(SIZES, method[:1], baseline[:1]) == ranking.Bootstrap(
        200.0, None, None
    )


def test_labels_saved_covers_the_truth_as_often_as_it_says() -> None:
    # Straight lines: the method gains 0.1 a label, random 0.05; both start at 50, so 150 of 300
    # labels are saved.
    rng = np.random.default_rng(3)
    lines = np.array([50.0, 60.0, 80.0]), np.array([50.0, 55.0, 65.0])
    hits = 0
    for draw in range(150):
        ours, theirs = (line + rng.normal(0, 0.5, (12, 3)) for line in lines)
        found = ranking.labels_saved(SIZES, ours, theirs, draws=200, seed=draw)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 150 <= found.high
    assert 0.87 <= hits / 150 <= 0.99


def test_labels_saved_wants_paired_arrays() -> None:
    with pytest.raises(ValueError, match="one shape"):
        ranking.labels_saved(SIZES, np.zeros((2, 3)), np.zeros((3, 3)))


def test_penalties_are_shares_of_significant_wins() -> None:
    rng = np.random.default_rng(4)
    curves = {
        name: {
            size: {seed: float(value) for seed, value in enumerate(rng.normal(mean, 1.0, 5))}
            for size in SIZES
        }
        for name, mean in (("a", 1.0), ("b", 0.0), ("c", 2.5))
    }
    matrix = ranking.penalty_matrix(curves, 0.05)
    for row, first in enumerate(curves):
        for column, second in enumerate(curves):
            wins = 0
            for size in SIZES:
                left = list(curves[first][size].values())
                right = list(curves[second][size].values())
                wins += (
                    first != second
                    and ttest_rel(left, right).pvalue < 0.05
                    and np.mean(left) > np.mean(right)
                )
            assert matrix[row, column] == pytest.approx(wins / 3)
    assert matrix.max() > 0


def test_penalties_pair_by_seed() -> None:
    ours = {100: {0: 10.0, 1: 20.1, 2: 30.0}}
    theirs = {100: {2: 29.0, 1: 19.0, 0: 9.0, 9: 99.0}}
    assert ranking.penalty_matrix({"a": ours, "b": theirs}, 0.05).tolist() == [
        [0.0, 1.0],
        [0.0, 0.0],
    ]
    assert ranking.penalty_matrix({"a": ours, "b": {100: {7: 1.0}}}, 0.05).sum() == 0


def test_rank_stability_is_certain_or_a_coin() -> None:
    sure = ranking.rank_stability([[9.0, 9.1, 9.2], [5.0, 5.1, 5.2], [7.0, 7.1, 7.2]])
    assert [(item.rank, item.low, item.high, item.first) for item in sure] == [
        (1, 1, 1, 1),
        (3, 3, 3, 0),
        (2, 2, 2, 0),
    ]
    # Two methods, two seeds, each ahead once by as much: half of the resamples tie, a quarter goes
    # to each.
    coin = ranking.rank_stability([[1.0, 2.0], [2.0, 1.0]], draws=4000)
    assert [item.rank for item in coin] == [1.5, 1.5]
    assert [item.first for item in coin] == pytest.approx([0.5, 0.5], abs=0.03)
    assert [(item.low, item.high) for item in coin] == [(1, 2), (1, 2)]


def test_kendall() -> None:
    ours, theirs = [3.0, 1.0, 2.0, 5.0], [2.0, 1.0, 3.0, 3.0]
    assert ranking.kendall(ours, theirs) == pytest.approx(tuple(kendalltau(ours, theirs)))
    assert ranking.kendall([1.0, 2.0], [1.0, 2.0]) is None
    assert ranking.kendall([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_friedman_is_scipys_without_ties() -> None:
    scores = np.random.default_rng(5).normal(size=(4, 9))
    average = ranking.rank_scores(scores).mean(axis=1)
    assert ranking.friedman(average, 9) == pytest.approx(friedmanchisquare(*scores).pvalue)


def test_wilcoxon_holm_is_pairwise() -> None:
    rng = np.random.default_rng(6)
    scores = rng.normal(size=(4, 12)) + np.array([[0.0], [0.2], [1.5], [3.0]])
    found = ranking.wilcoxon_holm(scores)
    pairs = [(first, second) for first in range(4) for second in range(first + 1, 4)]
    raw = [wilcoxon(scores[first], scores[second]).pvalue for first, second in pairs]
    adjusted = multipletests(raw, method="holm")[1]
    assert [found[pair] for pair in pairs] == pytest.approx(adjusted)
    assert np.array_equal(found, found.T)
    assert ranking.wilcoxon_holm([[1.0, 2.0], [1.0, 2.0]])[0, 1] == 1.0


def slow_interquartile_mean(suites: list[list[float]]) -> float:
    """As rliable's `aggregate_iqm`: scipy's trimmed mean of all scores, a quarter cut off at either
    end."""
    return float(
        trim_mean(np.array([score for suite in suites for score in suite]), proportiontocut=0.25)
    )


def slow_improvement(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """As rliable's `probability_of_improvement`: per suite Mann and Whitney's U over the number of
    pairs, then the mean."""
    shares = []
    for left, right in zip(ours, theirs, strict=True):
        u = mannwhitneyu(left, right, alternative="greater").statistic
        shares.append(u / (len(left) * len(right)))
    return float(np.mean(shares))


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("suites", [1, 2, 4])
def test_interquartile_mean_and_improvement_are_rliables(runs: int, suites: int) -> None:
    rng = np.random.default_rng(10 * runs + suites)
    ours = np.round(rng.normal(0.3, 1, (suites, runs)), 1).tolist()
    theirs = np.round(rng.normal(0, 1, (suites, runs + 1)), 1).tolist()
    assert ranking.interquartile_mean(ours) == pytest.approx(slow_interquartile_mean(ours))
    assert ranking.probability_of_improvement(ours, theirs) == pytest.approx(
        slow_improvement(ours, theirs)
    )


def test_values_by_hand() -> None:
    assert ranking.interquartile_mean(
        [[0.0, 100.0, 2.0, 4.0], [1.0, 3.0, 5.0, -9.0]]
    ) == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert ranking.probability_of_improvement([[1.0, 3.0]], [[2.0, 3.0]]) == pytest.approx(1.5 / 4)


def test_runs_are_drawn_again_within_their_suite() -> None:
    """The interval covers the truth; a suite never lends its runs to another one."""
    rng, hits = np.random.default_rng(7), 0
    for draw in range(100):
        runs = [rng.normal(0.0, 1.0, 20), rng.normal(10.0, 1.0, 20)]
        found = ranking.bootstrap_interval(
            lambda own: float(np.mean([one.mean() for one in own])), runs, draws=200, seed=draw
        )
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.low < 2.0
        hits += found.low <= 5.0 <= found.high
    assert hits >= 85
    assert ranking.bootstrap_interval(lambda own: 1.0, [np.array([1.0])]).low is None


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**31))
def test_ranks_are_those_of_scipy(methods: int, draws: int, seed: int) -> None:
    from scipy.stats import rankdata

    scores = np.random.default_rng(seed).integers(0, 4, (methods, draws)) / 3
    assert np.array_equal(ranking.rank_scores(scores), rankdata(-scores, axis=0))
    assert np.array_equal(ranking.rank_scores(scores[:, 0]), rankdata(-scores[:, 0]))
