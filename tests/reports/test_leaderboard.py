"""Average ranks, cliques, and when there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.reports.leaderboard import cliques, make_leaderboard
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.results import SuiteVerdict
from tests.helpers import toy_suite as toy


def judged(tmp_path: Path, name: str, curves: dict | None = None) -> SuiteVerdict:
    return judge_suite(
        toy.suite(tmp_path, name=name), toy.trials(curves or toy.PUBLISHED, suite=f"toy/{name}", rng=len(name))
    )


def test_average_ranks(tmp_path: Path) -> None:
    turned = {"random": (70, 80, 85), "margin": (70, 82, 88), "entropy": (70, 83, 90)}
    found = make_leaderboard(
        [judged(tmp_path, "a"), judged(tmp_path, "bb"), judged(tmp_path, "ccc", turned)], {"toy/a": "digits"}
    )
    assert found is not None
    assert [(place.method, round(place.rank, 3)) for place in found.places] == [
        ("margin", 1.333),
        ("entropy", 1.667),
        ("random", 3.0),
    ]
    # Demsar 2006: q = 2.343 for three methods; CD = q sqrt(k (k + 1) / (6 N)).
    assert found.critical == pytest.approx(2.343 * (12 / 18) ** 0.5, rel=1e-3)
    assert [place.tied for place in found.places] == [True, True, True]
    assert found.places[0].gain == pytest.approx((2.75 + 2.75 + 1.75) / 3, abs=0.3)
    assert {entry.dataset for entry in found.entries} == {"digits", ""}
    assert len(found.entries) == 9


def test_ranks_are_taken_where_the_same_methods_stand(tmp_path: Path) -> None:
    more = toy.PUBLISHED | {"coreset": (70, 79, 84)}
    other = {"bal": (70, 79, 84), "pt4al": (70, 78, 83)}
    suites = [
        judged(tmp_path, "a"),
        judged(tmp_path, "bb", other),
        judged(tmp_path, "ccc", more),
        judged(tmp_path, "dddd"),
    ]
    found = make_leaderboard(suites)
    assert found is not None
    assert {(place.method, place.suites) for place in found.places} == {(name, 3) for name in toy.PUBLISHED}
    assert "3 of 4 suites (toy/a, toy/ccc, toy/dddd)" in found.text
    assert len(found.entries) == 3 + 2 + 4 + 3


def test_too_little_to_rank(tmp_path: Path) -> None:
    one = make_leaderboard([judged(tmp_path, "a")])
    assert one is not None
    assert (one.places, len(one.entries)) == ((), 3)
    assert "too few" in one.text
    pair = {"random": (70, 80, 85), "margin": (70, 83, 90)}
    two = make_leaderboard([judged(tmp_path, "a"), judged(tmp_path, "bb", pair)])
    assert two is not None
    assert two.places == ()
    assert make_leaderboard([]) is None
    assert make_leaderboard([judged(tmp_path, "a", {"random": (70, 80, 85)})]) is None


def test_costs_are_shown_against_the_control(tmp_path: Path) -> None:
    found = make_leaderboard([judged(tmp_path, "a")], costs={("toy/a", "margin"): 30.0, ("toy/a", "random"): 20.0})
    assert found is not None
    assert {entry.method: entry.cells[-1] for entry in found.entries} == {
        "margin": "1.50×",
        "entropy": "–",
        "random": "–",
    }


@pytest.mark.parametrize(
    ("average", "critical", "runs"),
    [
        ([1.0, 2.0, 3.0], 0.5, []),
        ([1.0, 2.0, 3.0], 1.0, [(0, 1), (1, 2)]),
        ([1.0, 2.0, 3.0], 2.0, [(0, 2)]),
        # Demsar 2006, figure 1(a): ranks 2.00, 2.14, 2.89, 2.96 and a critical difference of 1.25 join all four.
        ([2.000, 2.143, 2.893, 2.964], 1.25, [(0, 3)]),
        ([1.0, 1.2, 3.0, 3.1], 0.5, [(0, 1), (2, 3)]),
    ],
)
def test_cliques(average: list[float], critical: float, runs: list[tuple[int, int]]) -> None:
    assert cliques(average, critical) == runs
