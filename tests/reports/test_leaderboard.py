"""Average ranks, cliques, and when there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.reports.leaderboard import cliques, make_leaderboard
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.results import SuiteVerdict
from tests.helpers import toy_suite as toy


def judged(tmp_path: Path, name: str, curves: dict | None = None) -> SuiteVerdict:
    return judge_suite(
        toy.suite(tmp_path, name=name),
        toy.trials(curves or toy.PUBLISHED, suite=f"toy/{name}", rng=len(name)),
    )


def test_average_ranks(tmp_path: Path) -> None:
    turned = {"random": (70, 80, 85), "margin": (70, 82, 88), "entropy": (70, 83, 90)}
    found = make_leaderboard(
        [judged(tmp_path, "a"), judged(tmp_path, "bb"), judged(tmp_path, "ccc", turned)],
        {"toy/a": "digits"},
    )
    assert found is not None
    assert [(place.method, round(place.rank, 3)) for place in found.places] == [
        ("margin", 1.333),
        ("entropy", 1.667),
        ("random", 3.0),
    ]
    assert found.joined == ((0, 2),)
    assert "with 3 suites none can be shown to" in found.text
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
    assert {(place.method, place.suites) for place in found.places} == {
        (name, 3) for name in toy.PUBLISHED
    }
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
    found = make_leaderboard(
        [judged(tmp_path, "a")], costs={("toy/a", "margin"): 30.0, ("toy/a", "random"): 20.0}
    )
    assert found is not None
    assert {entry.method: entry.cells[-1] for entry in found.entries} == {
        "margin": "1.50×",
        "entropy": "–",
        "random": "–",
    }


def pairs(count: int, *apart: tuple[int, int]) -> np.ndarray:
    matrix = np.ones((count, count))
    for first, second in apart:
        matrix[first, second] = matrix[second, first] = 0.01
    return matrix


@pytest.mark.parametrize(
    ("p_values", "runs"),
    [
        (pairs(3, (0, 1), (0, 2), (1, 2)), []),
        (pairs(3, (0, 2)), [(0, 1), (1, 2)]),
        (pairs(3), [(0, 2)]),
        (pairs(4, (0, 2), (0, 3), (1, 2), (1, 3)), [(0, 1), (2, 3)]),
        # The ends of a run may be alike although something between them is not: no bar over it.
        (pairs(3, (0, 1), (1, 2)), []),
    ],
)
def test_cliques(p_values: np.ndarray, runs: list[tuple[int, int]]) -> None:
    assert cliques(p_values) == runs


def test_a_guest_moves_nobody(tmp_path: Path) -> None:
    """With a guest that is best everywhere, on another machine and at fewer sizes, all that is said
    of others stays."""
    names = ("a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg")
    suites = [toy.suite(tmp_path, name=name, more=toy.claim("margin", "random")) for name in names]
    own = [toy.trials(suite=suite.id, rng=place) for place, suite in enumerate(suites)]
    near = [
        toy.trials({"guest": (71, 90, 95)}, suite=suite.id, rng=9, seeds=range(4))
        for suite in suites
    ]
    far = [
        row
        for suite in suites
        for seed in range(20)
        for row in toy.trial(
            "far", seed, (99.0, 99.5), sizes=(100, 200), suite=suite.id, device="cpu-z", env="env-z"
        )
    ]
    alone = [judge_suite(suite, rows) for suite, rows in zip(suites, own, strict=True)]
    beside = [
        judge_suite(suite, [*rows, *more, *(row for row in far if row.suite == suite.id)])
        for suite, rows, more in zip(suites, own, near, strict=True)
    ]
    for before, after in zip(alone, beside, strict=True):
        assert set(before.numbers) <= set(after.numbers)
        assert (before.curves, before.claims, before.kendall) == (
            after.curves,
            after.claims,
            after.kendall,
        )
        assert set(before.standings) <= set(after.standings)
        assert {row.method for row in after.standings} - {
            row.method for row in before.standings
        } == {"guest"}
        shared = [after.penalty_methods.index(method) for method in before.penalty_methods]
        assert [[after.penalties[row][column] for column in shared] for row in shared] == [
            *map(list, before.penalties)
        ]
    first, second = make_leaderboard(alone), make_leaderboard(beside)
    assert first is not None
    assert second is not None
    assert set(first.places) == {place for place in second.places if not place.guest}
    assert (first.joined, first.p) == (second.joined, second.p)
    assert set(first.across) <= set(second.across)
    (guest,) = [place for place in second.places if place.guest]
    assert (guest.method, guest.rank) == ("guest", 1.0)


def test_seven_suites_can_tell_methods_apart(tmp_path: Path) -> None:
    found = make_leaderboard([judged(tmp_path, "x" * length) for length in range(1, 8)])
    assert found is not None
    assert [place.method for place in found.places] == ["margin", "entropy", "random"]
    assert found.joined == ()
    assert [place.tied for place in found.places] == [True, False, False]
