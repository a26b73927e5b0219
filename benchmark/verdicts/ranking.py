"""Statistics of several methods: one number per curve, labels saved, who beats whom, and how stable an order is.

Curves are arrays of shape (seeds, sizes); the same row is the same seed in every method. Pure functions; everything that
draws takes a seed and resamples whole seeds, so that curves stay curves and methods stay paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.verdicts.stats import paired, t_critical

DRAWS = 2000
"""Resamples of the seeds."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """A point estimate with a percentile interval. None where the estimate does not exist (never reached)."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RankStability:
    """What other draws of the same number of seeds would have said about a method's rank (1 is best)."""

    rank: float
    low: float
    high: float
    first: float
    """Share of the draws in which it comes first (shared firsts count in parts)."""


def area_weights(labelled: ArrayLike) -> Array:
    """Weight of each size in the normalised area: trapezoids over the labels, divided by their range; they sum to 1."""
    sizes = np.asarray(labelled, dtype=np.float64)
    if len(sizes) < 2 or np.any(np.diff(sizes) <= 0):
        raise ValueError("an area needs at least two strictly growing sizes")
    gaps = np.diff(sizes)
    weights = np.zeros_like(sizes)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return np.asarray(weights / (sizes[-1] - sizes[0]))


def area(labelled: ArrayLike, values: ArrayLike) -> Array:
    """Normalised area under the budget curve, in the metric's unit: the mean height over labels. Last axis is the sizes."""
    return np.asarray(np.asarray(values, dtype=np.float64) @ area_weights(labelled))


def labels_needed(labelled: ArrayLike, curves: ArrayLike, level: ArrayLike) -> Array:
    """Labels at which mean curves (..., sizes) first reach a level (...), by linear interpolation; inf where they never do.

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
    labelled: Sequence[int], method: ArrayLike, baseline: ArrayLike, draws: int = DRAWS, seed: int = 0
) -> Bootstrap:
    """Labels a method saves when it reaches the baseline's final mean, with a 95 % interval over resampled seeds.

    Both are arrays (seeds, sizes) with the same seeds in the same rows. Resamples in which the method never gets there
    count as saving nothing at all; an end of the interval that falls on them is None.
    """
    ours, theirs = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise ValueError(f"need two arrays of one shape (seeds, sizes), got {ours.shape} and {theirs.shape}")
    count = len(ours)
    rows = np.random.default_rng(seed).integers(0, count, (draws, count))
    rows = np.vstack([np.arange(count), rows])
    saved = labelled[-1] - labels_needed(labelled, ours[rows].mean(axis=1), theirs[rows, -1].mean(axis=1))
    # inverted_cdf picks one of the draws: interpolating towards minus infinity would make every end infinite.
    ends = np.quantile(saved[1:], [0.025, 0.975], method="inverted_cdf") if count > 1 else (-math.inf, -math.inf)
    return Bootstrap(*(None if math.isinf(value) else float(value) for value in (saved[0], *ends)))


def penalties(curves: Mapping[str, Mapping[int, Mapping[int, float]]], alpha: float) -> Array:
    """Pairwise penalty matrix (Ash et al. 2020, section 4): entry (i, j) is the share of shared sizes at which i beats j.

    `curves` is method -> labelled -> seed -> value. At each size a two-sided paired t test at alpha over shared seeds
    decides; every size weighs 1 / number of shared sizes. Row sums say how often a method wins, column sums how often it
    loses. The diagonal and pairs with fewer than two shared seeds are 0.
    """
    names = list(curves)
    matrix = np.zeros((len(names), len(names)))
    for row, first in enumerate(names):
        for column, second in enumerate(names):
            shared = sorted(curves[first].keys() & curves[second].keys()) if row != column else []
            wins = [_beats(curves[first][size], curves[second][size], alpha) for size in shared]
            matrix[row, column] = sum(wins) / len(wins) if wins else 0.0
    return matrix


def _beats(ours: Mapping[int, float], theirs: Mapping[int, float], alpha: float) -> bool:
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return False
    test = paired([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], 1.0, alpha)
    return test.difference > 0 and test.difference > t_critical(alpha / 2, test.df) * test.se


def ranks(scores: ArrayLike) -> Array:
    """Ranks along the first axis, 1 for the highest score, ties shared."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(scores, dtype=np.float64), axis=0), dtype=np.float64)


def rank_stability(scores: ArrayLike, draws: int = DRAWS, seed: int = 0) -> list[RankStability]:
    """How each method's rank moves when the seeds are drawn again. `scores` is (methods, seeds), columns paired by seed."""
    values = np.asarray(scores, dtype=np.float64)
    count = values.shape[1]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, count, (draws, count))
    means = values[:, chosen].mean(axis=2)
    drawn = ranks(means)
    best = means == means.max(axis=0)
    first = (best / best.sum(axis=0)).mean(axis=1)
    own = ranks(values.mean(axis=1))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return [RankStability(*map(float, row)) for row in zip(own, low, high, first, strict=True)]


def kendall(ours: ArrayLike, theirs: ArrayLike) -> tuple[float, float] | None:
    """Kendall's tau-b between two score lists of the same methods, and its p value; None below three methods or on ties only."""
    from scipy.stats import kendalltau

    left, right = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    tau, p = kendalltau(left, right)
    return float(tau), float(p)


def friedman(average_ranks: ArrayLike, suites: int) -> float:
    """p value of 'all methods rank alike' over suites (Friedman's chi-square, as in Demsar 2006, section 3.2.2)."""
    from scipy.stats import chi2

    mean = np.asarray(average_ranks, dtype=np.float64)
    k = len(mean)
    statistic = 12 * suites / (k * (k + 1)) * (float(np.sum(mean**2)) - k * (k + 1) ** 2 / 4)
    return float(chi2.sf(statistic, k - 1))


def critical_difference(methods: int, suites: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks (Demsar 2006, section 3.2.2)."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * suites))
