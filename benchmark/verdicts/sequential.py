"""Group-sequential verdicts: trials are added until a verdict is reached, and each error is still
made with alpha at most.

The numbers of trials at which one looks are planned beforehand. At each look the tests of a verdict
are made at a level of its own, so that the chance of ever making an error adds up to alpha: Lan and
DeMets' spending function of the O'Brien-Fleming kind (1983), which spends little early. The levels
come from the exact joint distribution of normal scores (Armitage, McPherson and Rowe 1969). Used as
levels of t tests they let through a little more than alpha when trials are few (0.057 for 0.05 with
ten trials), so that the error to spend is first made smaller by what a simulation of t tests shows.
Both one-sided tests of equivalence, and both of an excess, are tests at these levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from benchmark.verdicts.stats import Array

LOOKS = 5
"""Looks that are planned."""
DRAWS = 100_000
"""Simulated sequences that the levels of t tests are found with."""
GRID = 801
"""Points of the density of the score between looks."""


def planned_looks(least: int, most: int, count: int = LOOKS) -> tuple[int, ...]:
    """Numbers of trials at which is looked: evenly spaced from the least to the most, whole
    numbers, each once."""
    if not 1 <= least <= most:
        raise ValueError(f"need 1 <= least <= most, got {least} and {most}")
    return tuple(dict.fromkeys(round(value) for value in np.linspace(least, most, count)))


def level_at(looks: Sequence[int], n: int, alpha: float) -> float:
    """One-sided level for n trials: that of the last planned look they have reached, 0 before the
    first."""
    reached = [place for place, look in enumerate(looks) if look <= n]
    return student_levels(tuple(looks), alpha)[reached[-1]] if reached else 0.0


@lru_cache(maxsize=256)
def nominal_levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """One-sided levels at these numbers of trials whose error adds up to alpha over all of them."""
    from scipy.special import ndtr

    return tuple(float(ndtr(-edge)) for edge in find_boundaries(looks, alpha))


@lru_cache(maxsize=64)
def student_levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """Levels of t tests at these numbers of trials, with which the error over all of them is alpha:
    the normal ones for the error, at most alpha, that comes out as alpha in simulated sequences of
    t tests (fixed random numbers)."""
    if len(looks) == 1:
        return (alpha,)
    from scipy.special import stdtr

    values = np.random.default_rng(0).standard_normal((DRAWS, looks[-1]))
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    p_values = np.ones((DRAWS, len(looks)))
    for place, look in enumerate(looks):
        if look > 1:
            mean = sums[:, look - 1] / look
            se = np.sqrt((squares[:, look - 1] / look - mean**2) / (look - 1))
            p_values[:, place] = stdtr(look - 1, -mean / se)
    low, high = 0.5 * alpha, alpha
    for _ in range(10):
        middle = (low + high) / 2
        error = float(np.mean((p_values < np.array(nominal_levels(looks, middle))).any(axis=1)))
        low, high = (middle, high) if error < alpha else (low, middle)
    return nominal_levels(looks, low)


def spend_error(share: float, alpha: float) -> float:
    """Error spent when this share of the trials is there (one-sided): 2 - 2 Phi(z(alpha / 2) /
    sqrt(share))."""
    from scipy.special import ndtr, ndtri

    return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(share)))


def find_boundaries(looks: Sequence[int], alpha: float) -> tuple[float, ...]:
    """Upper boundaries of the standard normal score at each look.

    The score's sum over n trials has independent steps of variance one per trial; its density over
    the paths that have not crossed before is carried from look to look on a grid (trapezoids).
    """
    from scipy.optimize import brentq

    if list(looks) != sorted(set(looks)) or not looks or looks[0] < 1:
        raise ValueError(f"looks must ascend from 1 on, got {looks}")
    found: list[float] = []
    before, done = 0, 0.0
    points, density = np.zeros(1), np.ones(1)
    weights = np.ones(1)
    for look in looks:
        due, scale = spend_error(look / looks[-1], alpha) - done, math.sqrt(look - before)
        top = 12 * math.sqrt(looks[-1])
        arguments = (points, weights * density, scale, due)
        edge = (
            float(brentq(_excess_error, -top, top, arguments, xtol=1e-10)) if due > 1e-14 else top
        )
        found.append(edge / math.sqrt(look))
        grid = np.linspace(-8 * math.sqrt(look), min(edge, 9 * math.sqrt(look)), GRID)
        steps = (grid[:, None] - points[None, :]) / scale
        kernel = np.exp(-0.5 * steps**2) / (scale * math.sqrt(2 * math.pi))
        density = kernel @ (weights * density)
        points, before, done = grid, look, spend_error(look / looks[-1], alpha)
        weights = np.full(GRID, grid[1] - grid[0])
        weights[[0, -1]] /= 2
    return tuple(found)


def _excess_error(edge: float, points: Array, mass: Array, scale: float, due: float) -> float:
    """Chance to cross this edge in the next step, beyond what is due to be spent on it."""
    from scipy.special import ndtr

    return float(np.sum(mass * ndtr((points - edge) / scale))) - due
