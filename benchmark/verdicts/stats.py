"""Statistics of one comparison: equivalence, differences, what could have been detected, how many
trials are missing.

Pure functions on arrays; scipy does the distributions. One unit throughout: the metric's own
(accuracy: percentage points). Differences are ours minus theirs. Sources: Schuirmann 1987 (two
one-sided tests), Welch 1947, Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

POWER = 0.8
"""Power that minimum detectable differences and needed numbers of trials are stated for."""
MOST = 1000
"""Beyond this many trials, a needed number is reported as None."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A difference, its interval, and the p values of every hypothesis a verdict may rest on."""

    difference: float
    se: float
    """Standard error of the difference."""
    df: float
    low: float
    high: float
    """The (1 - 2 alpha) interval that two one-sided tests at alpha imply, widened by the reading
    error on both sides."""
    p_lower: float
    """Of 'the true difference is at or below -margin'."""
    p_upper: float
    """Of 'the true difference is at or above +margin'."""
    p_above: float
    """Of 'the true difference is at or below +margin': small means beyond the margin upwards."""
    p_below: float
    """Of 'the true difference is at or above -margin': small means beyond the margin downwards."""
    p_different: float
    """Of 'there is no difference', two-sided."""

    @property
    def p_equivalent(self) -> float:
        """The p value of the two one-sided tests: small means equivalent within the margin."""
        return max(self.p_lower, self.p_upper)


def compare(
    difference: float, se: float, df: float, margin: float, alpha: float, reading_error: float = 0.0
) -> Comparison:
    """All tests of a t-distributed difference. The reading error is taken at its worst in every one
    of them."""
    if not (margin > 0 and 0 < alpha < 0.5 and se >= 0 and df > 0 and reading_error >= 0):
        raise ValueError("need margin > 0, 0 < alpha < 0.5, se >= 0, df > 0, reading_error >= 0")
    half = t_critical(alpha, df) * se + reading_error
    least, most = difference - reading_error, difference + reading_error
    return Comparison(
        difference,
        se,
        df,
        difference - half,
        difference + half,
        p_lower=_p_above(least + margin, se, df),
        p_upper=_p_above(margin - most, se, df),
        p_above=_p_above(least - margin, se, df),
        p_below=_p_above(-margin - most, se, df),
        p_different=min(1.0, 2 * _p_above(max(abs(difference) - reading_error, 0.0), se, df)),
    )


def _p_above(distance: float, se: float, df: float) -> float:
    """One-sided p value of 'the true distance is at or below zero'."""
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(df, -distance / se))


def against_mean(
    ours: ArrayLike,
    mean: float,
    margin: float,
    alpha: float,
    reading_error: float = 0.0,
    other_se: float = 0.0,
    other_df: float = math.inf,
) -> Comparison:
    """Trials against a published mean.

    With the standard error of that mean (and its degrees of freedom) this is Welch's test; without,
    one-sample: the published mean is then taken as the number to be met.
    """
    values = _as_values(ours, 2)
    se, df = welch(float(values.std(ddof=1)), len(values), other_se, other_df)
    return compare(float(values.mean()) - mean, se, df, margin, alpha, reading_error)


def compare_pairs(ours: ArrayLike, theirs: ArrayLike, margin: float, alpha: float) -> Comparison:
    """Trials against trials, pair by pair (see `pair`)."""
    left, right = _as_values(ours, 2), _as_values(theirs, 2)
    if left.shape != right.shape:
        raise ValueError("paired comparisons need equally many values on both sides")
    return against_mean(left - right, 0.0, margin, alpha)


def welch(sd: float, n: int, other_se: float, other_df: float) -> tuple[float, float]:
    """Standard error and Welch-Satterthwaite degrees of freedom of a difference of means."""
    own = sd**2 / n
    total = own + other_se**2
    if total == 0 or other_se == 0:
        return math.sqrt(total), n - 1
    doubt = own**2 / (n - 1) + other_se**4 / other_df
    return math.sqrt(total), total**2 / doubt if doubt > 0 else math.inf


def test_set_error(percent: float, images: int) -> float:
    """Standard error in points of an accuracy in percent that comes from the choice of the test
    images (binomial)."""
    share = min(max(percent / 100, 0.0), 1.0)
    return 100 * math.sqrt(share * (1 - share) / images)


def interval_with_test_set(
    values: ArrayLike, images: int, alpha: float = 0.05
) -> tuple[float, float]:
    """The (1 - alpha) interval of a mean accuracy in percent over seeds that share one test set of
    so many images.

    More seeds do not take the error of the test set out of it: it is added to the error of the
    mean, with Welch-Satterthwaite degrees of freedom (that of the test set counts as known).
    """
    own = _as_values(values, 2)
    mean = float(own.mean())
    se, df = welch(float(own.std(ddof=1)), len(own), test_set_error(mean, images), math.inf)
    half = t_critical(alpha / 2, df) * se
    return mean - half, mean + half


def pair(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> tuple[tuple[int, ...], Array, Array]:
    """Seeds both sides have, and their values in that order: never by row."""
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    return (
        seeds,
        np.array([ours[seed] for seed in seeds]),
        np.array([theirs[seed] for seed in seeds]),
    )


def correlation(left: ArrayLike, right: ArrayLike) -> float | None:
    """Pearson correlation of pairs: what pairing gains. None for fewer than three pairs or a
    constant side."""
    a, b = np.asarray(left, float), np.asarray(right, float)
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else None


def t_critical(alpha: float, df: float) -> float:
    """Upper alpha point of Student's t (one-sided; halve alpha for a two-sided test)."""
    from scipy.special import stdtrit

    return float(-stdtrit(df, alpha))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p values of one family, in the order given.

    Written out: statsmodels' own takes seconds to import and collects garbage at every call. Tests
    hold it to theirs.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(map(float, adjusted))


# --------------------------------------------------------------------- what n trials can and cannot


def minimum_detectable(
    sd: float,
    n: int,
    alpha: float,
    power: float = POWER,
    other_se: float = 0.0,
    other_df: float = math.inf,
) -> float:
    """Smallest true difference that a two-sided t test at alpha finds with the given power, for
    this spread and n."""
    from scipy.optimize import brentq

    se, df = welch(sd, n, other_se, other_df)
    critical = t_critical(alpha / 2, df)

    def miss(effect: float) -> float:
        return _student_power(effect, critical, df) - power

    top = 1.0
    while miss(top) < 0:
        top *= 2
    return se * float(brentq(miss, 0.0, top))


def _student_power(effect: float, critical: float, df: float) -> float:
    """P(|t| > critical) for a true difference of `effect` standard errors: over the quantiles of
    the estimated spread."""
    from scipy.special import ndtr

    edge = critical * _spread_quantiles(df)
    return float(np.mean(ndtr(effect - edge) + ndtr(-effect - edge)))


def equivalence_power(
    sd: float,
    n: int,
    margin: float,
    alpha: float,
    true: float = 0.0,
    other_se: float = 0.0,
    other_df: float = math.inf,
) -> float:
    """Chance that n trials of this spread are found equivalent within the margin, at a true
    difference."""
    from scipy.special import ndtr

    se, _ = welch(sd, n, other_se, other_df)
    if se == 0:
        return float(abs(true) < margin)
    half = _half_width(sd, n, alpha, other_se, other_df)
    upper, lower = (margin - true - half) / se, (-margin - true + half) / se
    return float(np.mean(np.where(upper > lower, ndtr(upper) - ndtr(lower), 0.0)))


def beyond_power(
    sd: float,
    n: int,
    excess: float,
    alpha: float,
    other_se: float = 0.0,
    other_df: float = math.inf,
) -> float:
    """Chance that n trials of this spread are found beyond the margin, when they truly are by
    `excess`."""
    from scipy.special import ndtr

    se, _ = welch(sd, n, other_se, other_df)
    if se == 0:
        return float(excess > 0)
    return float(np.mean(ndtr((excess - _half_width(sd, n, alpha, other_se, other_df)) / se)))


def needed_trials(
    sd: float,
    margin: float,
    alpha: float,
    true: float = 0.0,
    reading_error: float = 0.0,
    other_se: float = 0.0,
    other_df: float = math.inf,
) -> int | None:
    """Fewest trials that decide with power 0.8 at a true difference; None when more than 1000 or
    when none can.

    Below the margin: that equivalence is found. Beyond it: that the excess is found. The reading
    error is not reduced by trials: it narrows the margin for the one and widens it for the other.
    """
    inner = margin - reading_error
    excess = abs(true) - margin - reading_error
    if abs(true) < inner:
        return _fewest_trials(
            lambda n: equivalence_power(sd, n, inner, alpha, true, other_se, other_df)
        )
    return (
        _fewest_trials(lambda n: beyond_power(sd, n, excess, alpha, other_se, other_df))
        if excess > 0
        else None
    )


def needed_pairs(sd: float, difference: float, alpha: float) -> int | None:
    """Fewest pairs for which a two-sided paired t test at alpha finds this difference with power
    0.8."""
    if difference == 0:
        return None
    if sd == 0:
        return 2
    root = abs(difference) / sd
    return _fewest_trials(
        lambda n: _student_power(root * math.sqrt(n), t_critical(alpha / 2, n - 1), n - 1)
    )


def _fewest_trials(power: Callable[[int], float]) -> int | None:
    """Smallest n in 2..MOST whose power suffices; power grows with n."""
    low, high = 1, 2
    while power(high) < POWER:
        low, high = high, high * 2
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high if high <= MOST else None


def _half_width(sd: float, n: int, alpha: float, other_se: float, other_df: float) -> Array:
    """Half-width of the interval over the quantiles of the standard deviation that n trials would
    estimate."""
    from scipy.special import stdtrit

    own = (sd * _spread_quantiles(n - 1)) ** 2 / n
    total = own + other_se**2
    df = (
        np.full_like(own, n - 1)
        if other_se == 0
        else total**2 / (own**2 / (n - 1) + other_se**4 / other_df)
    )
    return np.asarray(-stdtrit(df, alpha) * np.sqrt(total))


@lru_cache(maxsize=512)
def _spread_quantiles(df: float) -> Array:
    """Estimated over true standard deviation at evenly spaced probabilities: an expectation is a
    mean over them."""
    from scipy.special import gammaincinv

    points = 2000
    return np.asarray(np.sqrt(gammaincinv(df / 2, (np.arange(points) + 0.5) / points) * 2 / df))


def _as_values(values: ArrayLike, least: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least:
        raise ValueError(f"need at least {least} values in one dimension, got shape {array.shape}")
    return array
