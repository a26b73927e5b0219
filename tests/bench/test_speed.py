"""How much faster than a plain implementation of the same mathematics: `make bench`. Ratios are
reported, never asserted.

That both ways compute the same is tested elsewhere: `test_gates.py` here, `tests/al` for images and
k-center.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.contest import Result, Way, measured, ratio

CONTESTS: dict[str, tuple[int, dict[str, Way]]] = {
    "step": (
        5,
        {
            "plain": ("plain_step", {"batch": 128}),
            "fp32": ("step", {"batch": 128}),
            "bf16": ("step", {"batch": 128, "precision": "bf16"}),
        },
    ),
    "determinism": (
        9,
        {
            "plain": ("step", {"batch": 32}),
            "off": ("step", {"batch": 32, "deterministic": False}),
        },
    ),
    "data": (
        60,
        {"plain": ("plain_batches", {"batch": 128}), "batched": ("batches", {"batch": 128})},
    ),
    "scoring": (
        7,
        {
            "plain": ("plain_scoring", {}),
            "fp32": ("scoring", {"precision": "fp32"}),
            "bf16": ("scoring", {"precision": "bf16"}),
        },
    ),
    "k-center": (
        2,
        {
            "plain": (
                "plain_k_center",
                {"count": 50_000, "width": 512, "labelled": 10_000, "budget": 2_500},
            ),
            "lazy": (
                "k_center",
                {"count": 50_000, "width": 512, "labelled": 10_000, "budget": 2_500},
            ),
        },
    ),
    "start": (5, {"plain": ("import_torch", {}), "first step": ("first_step", {})}),
}
"""Rounds and ways by name; the first way is what the others are compared with."""


@pytest.mark.parametrize("name", CONTESTS)
def test_against_the_plain_way(benchmark: Any, name: str) -> None:
    if benchmark.disabled:
        pytest.skip("measured by `make bench`")
    rounds, ways = CONTESTS[name]
    found = benchmark.pedantic(measured, args=(ways, rounds), rounds=1)
    benchmark.extra_info |= described(found)


def described(found: dict[str, Result]) -> dict[str, dict[str, float]]:
    """What is kept of a contest: for every way but the plain one its times and its ratios."""
    plain = found["plain"]
    rows = {}
    for name, result in found.items():
        if name == "plain":
            continue
        ratios = ratio(plain, result)
        rows[name] = {
            "rounds": len(result.seconds),
            "plain_ms": round(1e3 * plain.median, 3),
            "ms": round(1e3 * result.median, 3),
            "ratio_of_medians": round(ratios.median, 3),
            "ratio_of_minima": round(ratios.minimum, 3),
            "peak_memory_share": round(result.peak_bytes / plain.peak_bytes, 3),
        }
    return rows
