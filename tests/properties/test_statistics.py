"""Invariants of the statistics: symmetry, units, and what more or worse data may do to a
verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmark.verdicts import stats

VALUES = st.lists(st.floats(10, 99).map(lambda value: round(value, 2)), min_size=3, max_size=8)
MARGIN, ALPHA, ERROR = st.floats(0.1, 5), st.floats(0.001, 0.2), st.floats(0, 2)
DIFFERENCE, SE, DF = st.floats(-20, 20), st.floats(0.001, 5), st.integers(1, 60)


@given(DIFFERENCE, SE, DF, MARGIN, ALPHA, ERROR)
def test_exchanging_the_sides_mirrors_everything(
    difference: float, se: float, df: int, margin: float, alpha: float, error: float
) -> None:
    one = stats.compare(difference, se, df, margin, alpha, error)
    two = stats.compare(-difference, se, df, margin, alpha, error)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low))
    assert (one.p_lower, one.p_above) == pytest.approx((two.p_upper, two.p_below))
    assert one.p_different == pytest.approx(two.p_different)


@given(DIFFERENCE, SE, DF, MARGIN, ALPHA, ERROR)
def test_interval_and_p_values_say_the_same(
    difference: float, se: float, df: int, margin: float, alpha: float, error: float
) -> None:
    found = stats.compare(difference, se, df, margin, alpha, error)
    assert found.low <= difference <= found.high
    for p, inside in (
        (found.p_lower, found.low + margin),
        (found.p_upper, margin - found.high),
        (found.p_above, found.low - margin),
        (found.p_below, -margin - found.high),
    ):
        assert 0 <= p <= 1
        assume(abs(inside) > 1e-6)
        assert (p < alpha) == (inside > 0)
    # Equivalent and beyond the margin exclude each other.
    assert not (found.p_equivalent < alpha and min(found.p_above, found.p_below) < alpha)


@given(DIFFERENCE, SE, DF, MARGIN, ALPHA, ERROR, st.floats(0, 1))
def test_a_larger_reading_error_never_decides_more(
    difference: float, se: float, df: int, margin: float, alpha: float, error: float, more: float
) -> None:
    one = stats.compare(difference, se, df, margin, alpha, error)
    two = stats.compare(difference, se, df, margin, alpha, error + more)
    assert two.low <= one.low and one.high <= two.high
    for name in ("p_equivalent", "p_above", "p_below", "p_different"):
        assert getattr(two, name) >= getattr(one, name) - 1e-12


@given(VALUES, st.floats(10, 99), MARGIN, ALPHA, st.floats(0.1, 50), st.floats(-100, 100))
def test_units_and_origin_do_not_matter(
    ours: list[float], mean: float, margin: float, alpha: float, scale: float, shift: float
) -> None:
    assume(np.std(ours) > 0.01)
    one = stats.against_mean(ours, mean, margin, alpha)
    two = stats.against_mean(
        np.array(ours) * scale + shift, mean * scale + shift, margin * scale, alpha
    )
    assert two.difference == pytest.approx(one.difference * scale, rel=1e-6, abs=1e-6 * scale)
    for name in ("p_lower", "p_upper", "p_different"):
        assert getattr(two, name) == pytest.approx(getattr(one, name), rel=1e-4, abs=1e-9)


@given(
    st.dictionaries(st.integers(0, 9), st.floats(0, 100)),
    st.dictionaries(st.integers(0, 9), st.floats(0, 100)),
)
def test_pairs_are_by_seed(ours: dict[int, float], theirs: dict[int, float]) -> None:
    seeds, left, right = stats.pair(ours, theirs)
    assert seeds == tuple(sorted(set(ours) & set(theirs)))
    assert [(ours[seed], theirs[seed]) for seed in seeds] == list(
        zip(left.tolist(), right.tolist(), strict=True)
    )
    again, _, _ = stats.pair(dict(reversed(ours.items())), theirs)
    assert again == seeds


@given(VALUES, st.randoms())
def test_rows_may_come_in_any_order(ours: list[float], random) -> None:
    mixed = list(ours)
    random.shuffle(mixed)
    one, two = (stats.against_mean(values, 50.0, 1.0, 0.05) for values in (ours, mixed))
    assert (one.low, one.high) == pytest.approx((two.low, two.high), rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_monotone_and_between_the_raw_and_bonferroni(p: list[float]) -> None:
    adjusted = stats.holm(p)
    for raw, found in zip(p, adjusted, strict=True):
        assert raw <= found <= min(1.0, raw * len(p)) + 1e-12
    for i in range(len(p)):
        for j in range(len(p)):
            assert adjusted[i] <= adjusted[j] or p[i] >= p[j]


@settings(max_examples=25)
@given(st.floats(0.05, 4), st.floats(0.3, 4), st.sampled_from([0.01, 0.05, 0.1]))
def test_needed_trials_are_enough_and_one_less_is_not(
    sd: float, margin: float, alpha: float
) -> None:
    needed = stats.needed_trials(sd, margin, alpha)
    if needed is None:
        assert stats.equivalence_power(sd, stats.MOST, margin, alpha) < stats.POWER
        return
    assert stats.equivalence_power(sd, needed, margin, alpha) >= stats.POWER
    assert needed == 2 or stats.equivalence_power(sd, needed - 1, margin, alpha) < stats.POWER


@settings(max_examples=25)
@given(st.floats(0.05, 4), st.integers(3, 30))
def test_more_trials_detect_smaller_differences(sd: float, n: int) -> None:
    one, two = stats.minimum_detectable(sd, n, 0.05), stats.minimum_detectable(sd, n + 1, 0.05)
    assert 0 < two < one < math.inf
    assert stats.minimum_detectable(2 * sd, n, 0.05) == pytest.approx(2 * one, rel=1e-6)
