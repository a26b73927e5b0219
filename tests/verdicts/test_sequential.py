"""Verdicts with trials added until decided: levels, error rates, and that nothing gets more seeds
than it needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student

import benchmark.cli.until_decided as deciding
from benchmark.cli.group import run
from benchmark.errors import Exit, UsageError
from benchmark.spec.load import SuiteFile
from benchmark.spec.selectors import Selection, Selector
from benchmark.verdicts import sequential
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict, VerdictKind
from tests.helpers import toy_suite as toy
from tests.verdicts import simulate_sequence

PAGE = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
DRAWS, SLACK = 4000, 0.011
"""Sequences, and three standard errors of a rate near alpha."""


def test_boundaries_are_the_known_ones() -> None:
    """Lan and DeMets, O'Brien-Fleming kind, one-sided 0.025 at five even looks: as tabulated, and
    as gsDesign's sfLDOF has them."""
    assert sequential.find_boundaries((1, 2, 3, 4, 5), 0.025) == pytest.approx(
        (4.877, 3.357, 2.680, 2.290, 2.031), abs=1e-3
    )
    assert sequential.find_boundaries((4, 8), 0.025) == pytest.approx((2.963, 1.969), abs=1e-3)
    assert sequential.nominal_levels((7,), 0.05) == pytest.approx((0.05,))


def test_one_look_is_the_plain_test() -> None:
    assert sequential.student_levels((12,), 0.05) == (0.05,)
    assert sequential.level_at((12,), 30, 0.05) == 0.05


def test_levels_belong_to_the_look_that_was_reached() -> None:
    looks = (3, 7, 12)
    levels = sequential.student_levels(looks, 0.05)
    assert [sequential.level_at(looks, n, 0.05) for n in (2, 3, 6, 7, 12, 40)] == [
        0.0,
        levels[0],
        levels[0],
        levels[1],
        levels[2],
        levels[2],
    ]
    assert list(levels) == sorted(levels)
    assert levels[-1] < 0.05


def test_looks_are_spread_evenly() -> None:
    assert sequential.planned_looks(3, 20) == (3, 7, 12, 16, 20)
    assert sequential.planned_looks(3, 5) == (3, 4, 5)
    assert sequential.planned_looks(4, 4) == (4,)
    with pytest.raises(ValueError, match="least"):
        sequential.planned_looks(5, 4)
    with pytest.raises(ValueError, match="ascend"):
        sequential.find_boundaries((3, 3), 0.05)


@pytest.mark.parametrize(("least", "most", "sd"), [(3, 10, 0.3), (3, 20, 1.0)])
@pytest.mark.parametrize("true", [1.0, -1.0])
def test_at_the_margin_each_error_stays_at_alpha(
    least: int, most: int, sd: float, true: float
) -> None:
    found = simulate_sequence.course(
        sequential.planned_looks(least, most), sd, true, rng=50, draws=DRAWS
    )
    assert found.inside <= simulate_sequence.ALPHA + SLACK
    assert found.beyond <= simulate_sequence.ALPHA + SLACK


def test_looking_again_and_again_at_alpha_would_err_too_often() -> None:
    """What the spending is for: the same sequences with every look at alpha."""
    looks = sequential.planned_looks(3, 20)
    values = 1.0 + np.random.default_rng(51).standard_normal((DRAWS, 20))
    wrong = np.zeros(DRAWS, dtype=bool)
    for look in looks:
        mean, se = values[:, :look].mean(axis=1), values[:, :look].std(axis=1, ddof=1) / look**0.5
        wrong |= mean - student.isf(0.05, look - 1) * se > 1.0
    assert wrong.mean() > 0.10


def test_between_methods_no_lead_is_found_with_alpha_at_most() -> None:
    found = simulate_sequence.leads(sequential.planned_looks(3, 20), 0.0, rng=52, draws=DRAWS)
    assert found.beyond <= simulate_sequence.ALPHA + SLACK
    assert (
        simulate_sequence.leads(sequential.planned_looks(3, 20), 2.0, rng=53, draws=500).above
        > 0.99
    )


def rows_of(name: str) -> list[list[str]]:
    body = PAGE.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.split("\n")
        if line.startswith("|")
    ][2:]


def test_the_pages_tables_hold_with_other_draws() -> None:
    rows = rows_of("sequences")
    assert len(rows) == len(simulate_sequence.CASES)
    for row, (least, most, sd) in zip(rows, simulate_sequence.CASES, strict=True):
        looks = sequential.planned_looks(least, most)
        assert row[:2] == [", ".join(map(str, looks)), f"{sd:g}"]
        for cell, true in zip(row[2:], simulate_sequence.TRUTHS, strict=False):
            found = simulate_sequence.course(looks, sd, true, rng=101, draws=6000)
            shares, _, trials = cell.partition(", n ")
            inside, beyond = map(float, shares.split("/"))
            assert (inside, beyond) == pytest.approx((found.inside, found.beyond), abs=0.025), (
                row[:2],
                true,
            )
            assert float(trials) == pytest.approx(found.trials, abs=0.4)
    assert len(rows_of("leads")) == 2 * len(simulate_sequence.LEADS)


# ---------------------------------------------------------------------------------- run and compare


class World:
    """Trials that are measured when they are run: method `margin` scatters much, `random`
    hardly."""

    def __init__(self, suite: SuiteFile) -> None:
        self.suite = suite
        self.runs: list[tuple[tuple[str, ...], tuple[int, ...]]] = []
        self.rows: dict[tuple[str, int], list[Measurement]] = {}

    def once(self, selection: Selection) -> int:
        assert selection.methods is not None
        assert selection.seeds is not None
        self.runs.append((selection.methods, selection.seeds))
        for method in selection.methods:
            for seed in selection.seeds:
                draw = np.random.default_rng([seed, len(method)])
                sd = {"random": 0.001, "margin": 0.8}.get(method, 0.3)
                curve = np.array(toy.PUBLISHED[method]) + sd * draw.standard_normal(3)
                self.rows.setdefault((method, seed), toy.trial(method, seed, curve))
        return Exit.OK

    def judge_suite(
        self, _: object, selection: Selection, suite: SuiteFile, *, looks: tuple[int, ...]
    ) -> SimpleNamespace:
        assert selection.seeds is not None
        rows = [
            row
            for (_, seed), found in self.rows.items()
            if seed in selection.seeds
            for row in found
        ]
        return SimpleNamespace(
            judgement=judge_suite(suite, rows, methods=selection.methods, looks=looks)
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(toy.suite(tmp_path, seeds=(0, 1, 2)))
    monkeypatch.setattr(deciding, "compare_suite", found.judge_suite)
    return found


def decide(world: World, most: int, *methods: str) -> int:
    selection = Selection([Selector("toy/digits")], methods=methods)
    settings = SimpleNamespace(suites=world.suite.path.parents[1])
    return deciding.run_until_decided(settings, selection, world.once, most)  # type: ignore[arg-type]


def first_decided(world: World, method: str, looks: tuple[int, ...]) -> int:
    """Slow twin: at each look the interval of each size, and of the area, by hand."""
    levels = dict(zip(looks, sequential.student_levels(looks, 0.05), strict=True))
    weights = {100: 0.25, 200: 0.5, 300: 0.25}
    done: set[object] = set()
    for look in looks:
        trials = [world.rows[method, seed] for seed in range(look)]
        gaps = {
            size: [
                trial[place].metrics["accuracy"] - toy.PUBLISHED[method][place] for trial in trials
            ]
            for place, size in enumerate(toy.SIZES)
        }
        columns: dict[object, list[float]] = dict(gaps)
        columns["area"] = [
            sum(weights[size] * gaps[size][seed] for size in toy.SIZES) for seed in range(look)
        ]
        for name, values in columns.items():
            low, high = student.interval(
                1 - 2 * levels[look], look - 1, np.mean(values), np.std(values, ddof=1) / look**0.5
            )
            if -1 < low < high < 1 or low > 1 or high < -1:
                done.add(name)
        if len(done) == 4:
            return look
    return 0


def test_seeds_are_added_only_while_something_is_open(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decide(world, 20, "random", "margin") == Exit.OK
    said = capsys.readouterr().out
    looks = sequential.planned_looks(3, 20)
    needed = {method: first_decided(world, method, looks) for method in ("random", "margin")}
    assert 0 < needed["random"] < needed["margin"]
    seeds = {
        method: max(len(seeds) for methods, seeds in world.runs if method in methods)
        for method in needed
    }
    assert seeds == needed
    assert world.runs[0] == (("random", "margin"), (0, 1, 2))
    assert "looks at 3, 7, 12, 16, 20 seeds" in said
    assert "albench compare toy/digits --looks 3,7,12,16,20" in said


def test_what_stays_open_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(world, 3, "margin") == Exit.INCONCLUSIVE
    assert "margin, accuracy at 300 (Table 1): open" in capsys.readouterr().out


def test_a_run_that_fails_ends_it(world: World) -> None:
    world.once = lambda _: Exit.NOT_MEASURED  # type: ignore[method-assign, assignment]
    assert decide(world, 20, "random") == Exit.NOT_MEASURED


def test_seeds_are_the_planned_ones_and_then_the_smallest(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, seeds=(4, 1))
    assert deciding.seeds_of(suite, 1) == (4,)
    assert deciding.seeds_of(suite, 5) == (4, 1, 0, 2, 3)


def test_seeds_of_ones_own_are_refused(world: World) -> None:
    selection = Selection([Selector("toy/digits")], seeds=(0,))
    with pytest.raises(UsageError, match="chooses the seeds"):
        deciding.run_until_decided(SimpleNamespace(), selection, world.once, 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="decides nothing below 3"):
        decide(world, 2, "random")
    assert run(["run", "quickstart/digits", "--max-seeds", "5"]) == Exit.USAGE


def test_a_judgement_with_looks_uses_their_levels(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials(noise=0.5, seeds=range(3))
    looks = (3, 7, 12)

    def widths(found: SuiteVerdict) -> list[float]:
        return [item.estimate.high - item.estimate.low for item in found.numbers if item.estimate]  # type: ignore[operator]

    plain, early = judge_suite(suite, rows), judge_suite(suite, rows, looks=looks)
    factor = student.isf(sequential.level_at(looks, 3, 0.05), 2) / student.isf(0.05, 2)
    assert widths(early) == pytest.approx([factor * width for width in widths(plain)])
    assert {item.verdict.kind for item in early.numbers} == {VerdictKind.INCONCLUSIVE}
    assert any(
        note.startswith("group-sequential: looks planned at 3, 7, 12") for note in early.notes
    )
