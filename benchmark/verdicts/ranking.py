"""Statistics of several methods: one number per curve, labels saved, who beats whom, and how stable
an order is.

Curves are arrays of shape (seeds, sizes); the same row is the same seed in every method. Pure
functions; everything that draws takes a seed and resamples whole seeds, so that curves stay curves
and methods stay paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.verdicts.stats import compare_pairs, holm, t_critical

DRAWS = 2000
"""Resamples of the seeds."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """A point estimate with a percentile interval. None where the estimate does not exist (never
    reached)."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RankStability:
    """What other draws of the same number of seeds would have said about a method's rank (1 is
    best)."""

    rank: float
    low: float
    high: float
    first: float
    """Share of the draws in which it comes first (shared firsts count in parts)."""


def area_weights(labelled: ArrayLike) -> Array:
    """Weight of each size in the normalised area: trapezoids over the labels, divided by their
    range; they sum to 1."""
    sizes = np.asarray(labelled, dtype=np.float64)
    if len(sizes) < 2 or np.any(np.diff(sizes) <= 0):
        raise ValueError("an area needs at least two strictly growing sizes")
    gaps = np.diff(sizes)
    weights = np.zeros_like(sizes)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return np.asarray(weights / (sizes[-1] - sizes[0]))


def curve_weights(labelled: ArrayLike, rule: str) -> Array:
    """Weight of each size in the one number of a curve: see `Rule.curve`; they sum to 1. Raises
    ValueError below two sizes."""
    weights = area_weights(labelled)
    return weights if rule == "area" else np.full_like(weights, 1 / len(weights))


def curve_area(labelled: ArrayLike, values: ArrayLike, rule: str = "area") -> Array:
    """The one number of a curve, in the metric's unit: its normalised area (the mean height over
    labels), or the plain mean over its sizes where the rule says `mean`. Last axis is the sizes."""
    return np.asarray(np.asarray(values, dtype=np.float64) @ curve_weights(labelled, rule))


def labels_needed(labelled: ArrayLike, curves: ArrayLike, level: ArrayLike) -> Array:
    """Labels at which mean curves (..., sizes) first reach a level (...), by linear interpolation;
    inf where they never do.

    A level below the first point counts as reached there: nothing smaller was measured.
    """
    sizes, values = np.asarray(labelled, dtype=np.float64), np.asarray(curves, dtype=np.float64)
    target = np.asarray(level, dtype=np.float64)[..., None]
    reached = values >= target
    after = reached.argmax(axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = np.take_along_axis(values, before, -1), np.take_along_axis(values, after, -1)
    share = np.divide(target - low, high - low, out=np.zeros_like(low), where=high > low)
    found = sizes[before] + share * (sizes[after] - sizes[before])
    return np.asarray(np.where(reached.any(axis=-1), found[..., 0], np.inf))


def labels_saved(
    labelled: Sequence[int],
    method: ArrayLike,
    baseline: ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
) -> Bootstrap:
    """Labels a method saves when it reaches the baseline's final mean, with a 95 % interval over
    resampled seeds.

    Both are arrays (seeds, sizes) with the same seeds in the same rows. Resamples in which the
    method never gets there count as saving nothing at all; an end of the interval that falls on
    them is None.
    """
    ours, theirs = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise ValueError(
            f"need two arrays of one shape (seeds, sizes), got {ours.shape} and {theirs.shape}"
        )
    count = len(ours)
    rows = np.random.default_rng(seed).integers(0, count, (draws, count))
    rows = np.vstack([np.arange(count), rows])
    saved = labelled[-1] - labels_needed(
        labelled, ours[rows].mean(axis=1), theirs[rows, -1].mean(axis=1)
    )
    # inverted_cdf picks one of the draws: interpolating towards minus infinity would make every end
    # infinite.
    ends = (
        np.quantile(saved[1:], [0.025, 0.975], method="inverted_cdf")
        if count > 1
        else (-math.inf, -math.inf)
    )
    return Bootstrap(*(None if math.isinf(value) else float(value) for value in (saved[0], *ends)))


def penalty_matrix(curves: Mapping[str, Mapping[int, Mapping[int, float]]], alpha: float) -> Array:
    """Pairwise penalty matrix (Ash et al. 2020, section 4): entry (i, j) is the share of shared
    sizes at which i beats j.

    `curves` is method -> labelled -> seed -> value. At each size a two-sided paired t test at alpha
    over shared seeds decides; every size weighs 1 / number of shared sizes. Row sums say how often
    a method wins, column sums how often it loses. The diagonal and pairs with fewer than two shared
    seeds are 0.
    """
    names = list(curves)
    matrix = np.zeros((len(names), len(names)))
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            shared = sorted(curves[first].keys() & curves[second].keys()) if row != column else []
            wins = [_is_better(curves[first][size], curves[second][size], alpha) for size in shared]
            matrix[row, column] = sum(wins) / len(wins) if wins else 0.0
    return matrix


def _is_better(ours: Mapping[int, float], theirs: Mapping[int, float], alpha: float) -> bool:
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return False
    test = compare_pairs(
        [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], 1.0, alpha
    )
    return test.difference > 0 and test.difference > t_critical(alpha / 2, test.df) * test.se


def rank_scores(scores: ArrayLike) -> Array:
    """Ranks along the first axis, 1 for the highest score, ties shared (the mean of their ranks).

    Written out: scipy.stats takes longer to import than a suite takes to judge. A test holds it to
    `scipy.stats.rankdata`.
    """
    values = np.asarray(scores, dtype=np.float64)
    rows = [
        1.0 + (values > row).sum(axis=0) + ((values == row).sum(axis=0) - 1) / 2 for row in values
    ]
    return np.asarray(rows, dtype=np.float64).reshape(values.shape)


def rank_stability(scores: ArrayLike, draws: int = DRAWS, seed: int = 0) -> list[RankStability]:
    """How each method's rank moves when the seeds are drawn again. `scores` is (methods, seeds),
    columns paired by seed."""
    values = np.asarray(scores, dtype=np.float64)
    count = values.shape[1]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, count, (draws, count))
    means = values[:, chosen].mean(axis=2)
    drawn = rank_scores(means)
    best = means == means.max(axis=0)
    first = (best / best.sum(axis=0)).mean(axis=1)
    own = rank_scores(values.mean(axis=1))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return [RankStability(*map(float, row)) for row in zip(own, low, high, first, strict=True)]


def kendall(ours: ArrayLike, theirs: ArrayLike) -> tuple[float, float] | None:
    """Kendall's tau-b between two score lists of the same methods, and its p value; None below
    three methods or on ties only."""
    from scipy.stats import kendalltau

    left, right = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    tau, p = kendalltau(left, right)
    return float(tau), float(p)


def friedman(average_ranks: ArrayLike, suites: int) -> float:
    """p value of 'all methods rank alike' over suites (Friedman's chi-square, as in Demsar 2006,
    section 3.2.2)."""
    from scipy.special import chdtrc

    mean = np.asarray(average_ranks, dtype=np.float64)
    k = len(mean)
    statistic = 12 * suites / (k * (k + 1)) * (float(np.sum(mean**2)) - k * (k + 1) ** 2 / 4)
    return float(chdtrc(k - 1, statistic))


def wilcoxon_holm(scores: ArrayLike) -> Array:
    """Holm-adjusted p values of Wilcoxon's signed-rank test for every pair of methods; `scores` is
    (methods, suites).

    Symmetric, with ones on the diagonal. Two methods are compared by their own scores alone, unlike
    average ranks, which any further method moves (Benavoli et al. 2016). With fewer than six suites
    no p value can fall below 0.05.
    """
    from scipy.stats import wilcoxon

    values = np.asarray(scores, dtype=np.float64)
    pairs = [
        (first, second) for first in range(len(values)) for second in range(first + 1, len(values))
    ]
    p_values = [
        1.0
        if np.array_equal(values[first], values[second])
        else float(wilcoxon(values[first], values[second]).pvalue)
        for first, second in pairs
    ]
    matrix = np.ones((len(values), len(values)))
    for (first, second), p in zip(pairs, holm(p_values), strict=True):
        matrix[first, second] = matrix[second, first] = p
    return matrix


def interquartile_mean(scores: Sequence[ArrayLike]) -> float:
    """Mean of the middle half of all runs of all suites (Agarwal et al. 2021, section 4.3), each
    array one suite's runs."""
    values = np.sort(np.concatenate([np.asarray(one, dtype=np.float64) for one in scores]))
    cut = len(values) // 4
    return float(values[cut : len(values) - cut].mean())


def probability_of_improvement(ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike]) -> float:
    """Chance that a run of ours beats one of theirs on a suite drawn at random (Agarwal et al.
    2021, section 4.3); equal runs count half. One array of runs per suite on each side."""
    shares = []
    for left, right in zip(ours, theirs, strict=True):
        gaps = (
            np.asarray(left, dtype=np.float64)[:, None]
            - np.asarray(right, dtype=np.float64)[None, :]
        )
        shares.append(float(np.mean((gaps > 0) + 0.5 * (gaps == 0))))
    return float(np.mean(shares))


def bootstrap_interval(
    statistic: Callable[[list[Array]], float],
    runs: Sequence[ArrayLike],
    draws: int = DRAWS,
    seed: int = 0,
) -> Bootstrap:
    """A statistic over suites with its 95 % percentile interval, whole runs (rows) drawn again
    within each suite."""
    rng, own = np.random.default_rng(seed), [np.asarray(one, dtype=np.float64) for one in runs]
    if min(map(len, own)) < 2:
        return Bootstrap(statistic(own), None, None)
    drawn = [
        statistic([one[rng.integers(0, len(one), len(one))] for one in own]) for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Bootstrap(statistic(own), float(low), float(high))
