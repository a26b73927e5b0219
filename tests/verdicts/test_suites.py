"""Every suite of the project: its own published numbers with noise are reproduced, shifted they are
not, alone they are open."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import Exit
from benchmark.reports import formatting
from benchmark.spec.load import SuiteFile, load_suite, suite_files
from benchmark.spec.published import ReportedResult
from benchmark.spec.suite import OURS
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.published_numbers import TARGETS, implied_error
from benchmark.verdicts.results import ClaimOutcome, ClaimVerdict, SuiteVerdict, VerdictKind

ROOT = Path(__file__).parents[2] / "suites"
NOISE = 0.15
"""Standard deviation between seeds, in margins."""


def load(path: Path) -> SuiteFile:
    """The suite with one deciding number per cell: where the paper prints several, no run can meet
    all of them."""
    suite = load_suite(path, ROOT)
    cells: dict[tuple[str, int | None, str], ReportedResult] = {}
    for row in suite.reported:
        if row.role in TARGETS and row.method in suite.suite.methods:
            cells.setdefault((row.method, row.labelled, row.metric), row)
    suite.__dict__["reported"] = tuple(cells.values())
    return suite


COMPARED = [
    path
    for path in suite_files(ROOT)
    if load_suite(path, ROOT).suite.rule.reference == "reported" and load(path).reported
]


def runs(suite: SuiteFile, shift: float, seeds: tuple[int, ...]) -> list[Measurement]:
    """What trials would measure if the paper's numbers, shifted by so many margins, were the
    truth."""
    draw, margin = np.random.default_rng(0), suite.suite.rule.margin
    found = []
    for method in dict.fromkeys(row.method for row in suite.reported):
        own = [row for row in suite.reported if row.method == method and row.labelled is not None]
        for seed in seeds:
            for cycle, size in enumerate(
                sorted({row.labelled for row in own if row.labelled is not None})
            ):
                metrics = {
                    row.metric: row.mean + margin * (shift + NOISE * draw.standard_normal())
                    for row in own
                    if row.labelled == size
                }
                found.append(
                    Measurement(
                        suite.id,
                        method,
                        "paper",
                        "as_published",
                        seed,
                        cycle,
                        size,
                        metrics,
                        f"{method}/{seed}",
                        "env",
                        "device",
                        True,
                        "",
                        f"{method}/{seed}",
                    )
                )
    return found


def verdicts(suite: SuiteFile, found: SuiteVerdict) -> list[VerdictKind]:
    """Verdicts of the numbers that can be decided at all: read exactly enough, and met by a run of
    the protocol."""
    margin = suite.suite.rule.margin
    exact = {
        row
        for row in suite.reported
        if row.reading_error < margin / 3 and implied_error(row).se < margin / 6
    }
    keys = {(row.method, row.labelled, row.metric) for row in exact}
    return [
        number.verdict.kind
        for number in found.numbers
        if number.decides
        and number.estimate
        and (number.method, number.labelled, number.metric) in keys
    ]


def seeds(suite: SuiteFile) -> tuple[int, ...]:
    return tuple(range(max(suite.suite.rule.min_trials, 5)))


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_papers_own_numbers(path: Path) -> None:
    suite = load(path)
    plain = judge_suite(suite, runs(suite, 0.0, seeds(suite)))
    found = verdicts(suite, plain)
    assert len(found) == sum(number.decides for number in plain.numbers), (
        "every number of every suite can be decided"
    )
    assert found.count(VerdictKind.REPRODUCED) >= 0.97 * len(found)
    assert not {number.verdict.kind for number in plain.numbers} & {
        VerdictKind.ABOVE,
        VerdictKind.BELOW,
    }
    for shift, kind in ((2.0, VerdictKind.ABOVE), (-2.0, VerdictKind.BELOW)):
        moved = judge_suite(suite, runs(suite, shift, seeds(suite)))
        assert verdicts(suite, moved).count(kind) >= 0.97 * len(found)
        assert VerdictKind.REPRODUCED not in {number.verdict.kind for number in moved.numbers}
        assert moved.exit_code is Exit.DISCREPANCY


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_one_trial_decides_nothing(path: Path) -> None:
    suite = load(path)
    found = judge_suite(suite, runs(suite, 0.0, (0,)))
    measured = [number for number in found.numbers if number.decides and number.estimate]
    assert {number.verdict.kind for number in measured} == {VerdictKind.INCONCLUSIVE}
    for number in measured:
        assert number.estimate is not None
        assert math.isfinite(number.estimate.mean)
        assert number.estimate.needed is not None
        assert number.estimate.needed >= suite.suite.rule.min_trials > 1
        assert (number.estimate.low, number.estimate.p_equivalent) == (None, None), (
            "one trial has no interval"
        )


CLAIMS = [
    (path, name)
    for path in suite_files(ROOT)
    # Middle budgets and imbalanced pools inherit the questions of frozen/cifar10 and its rule as
    # they are.
    if path.parent.name != "frozen" or path.stem in ("cifar10", "cifar100")
    for name, claim in load_suite(path, ROOT).suite.claims.items()
    if claim.better
    and claim.worse
    and not any(side.startswith("reported:") for side in (claim.better, claim.worse))
]


def claimed(path: Path, name: str, gap: float, count: int) -> ClaimVerdict:
    """What is said of a claim when its better side truly leads by so many margins at every size."""
    suite = load_suite(path, ROOT)
    claim = suite.suite.claims[name]
    # A claim about a single pair of sizes is refuted by chance with one set of draws in twenty: not
    # with these.
    draw = np.random.default_rng(1 if claim.worse_labelled or claim.labelled else 0)
    assert claim.better and claim.worse
    rule, rows = suite.suite.rule, []
    for method, lead in ((claim.worse, 0.0), (claim.better, gap)):
        for seed in range(count):
            for cycle, size in enumerate(suite.suite.protocol.acquisition.labelled()):
                value = 60.0 + rule.margin * (lead + NOISE * draw.standard_normal())
                rows.append(
                    Measurement(
                        suite.id,
                        method,
                        "paper",
                        "as_published",
                        seed,
                        cycle,
                        size,
                        {rule.metric: value},
                        f"{method}/{seed}",
                        "env",
                        "device",
                        True,
                        "",
                        f"{method}/{seed}",
                    )
                )
    found = judge_suite(suite, rows, methods=[claim.better, claim.worse])
    return next(one for one in found.claims if one.id == name)


@pytest.mark.parametrize(
    ("path", "name"),
    CLAIMS,
    ids=[f"{path.parent.name}/{path.stem}:{name}" for path, name in CLAIMS],
)
def test_every_claim_can_hold_fail_and_stay_open(path: Path, name: str) -> None:
    # Questions of this project are asked with many seeds, of which five decide nothing.
    suite = load_suite(path, ROOT).suite
    count = len(suite.seeds) if suite.claims[name].source.startswith(OURS) else 5
    assert claimed(path, name, 2.0, count).outcome is ClaimOutcome.HOLDS
    assert claimed(path, name, -2.0, count).outcome is ClaimOutcome.REFUTED
    assert claimed(path, name, 0.0, count).outcome is ClaimOutcome.INCONCLUSIVE
    assert claimed(path, name, 2.0, 1).outcome is ClaimOutcome.INCONCLUSIVE


def test_no_suite_of_a_paper_is_left_out() -> None:
    """Quickstart publishes nothing and claims nothing: it is compared with its committed records.
    ST-CoNAL's imbalanced pools have claims that are only cited, for none names what is better than
    what, and no number that decides."""
    left = [
        load_suite(path, ROOT)
        for path in set(suite_files(ROOT)) - set(COMPARED) - {path for path, _ in CLAIMS}
    ]
    asked = load_suite(ROOT / "frozen" / "cifar10.toml", ROOT).suite
    same = [suite for suite in left if suite.suite.paper.key == asked.paper.key]
    assert len(same) == 6 and all(
        (s.suite.claims, s.suite.rule) == (asked.claims, asked.rule) for s in same
    )
    left = [suite for suite in left if suite not in same]
    own = [suite for suite in left if suite.suite.rule.reference == "records"]
    assert [suite.id for suite in own] == ["quickstart/digits"]
    pools = ("cifar10im", "cifar100im", "cifar10imlong", "cifar100imlong")
    assert {suite.id for suite in left} - {"quickstart/digits"} == {
        f"st-conal/{pool}" for pool in pools
    }
    for suite in (suite for suite in left if suite not in own):
        assert suite.suite.claims and not any(
            claim.better or claim.worse for claim in suite.suite.claims.values()
        )
        assert not any(row.role in TARGETS for row in suite.reported)


def test_where_claims_are_only_cited_nothing_is_judged() -> None:
    """However the measurements turn out: no success, no failure, and words that say so."""
    suite = load_suite(ROOT / "st-conal/cifar10im.toml", ROOT)
    sizes, methods = suite.suite.protocol.acquisition.labelled(), ["random", "stconal"]
    rows = [
        Measurement(
            suite.id,
            method,
            "paper",
            "as_published",
            seed,
            cycle,
            size,
            {"accuracy": 50.0 - lead},
            f"{method}/{seed}",
            "env",
            "device",
            True,
            "",
            f"{method}/{seed}",
        )
        for method, lead in zip(methods, (0.0, 20.0), strict=True)
        for seed in range(3)
        for cycle, size in enumerate(sizes)
    ]
    found = judge_suite(suite, rows, methods=methods)
    assert {claim.outcome for claim in found.claims} == {
        ClaimOutcome.NOT_TESTABLE
    } and found.exit_code is Exit.OK
    assert {str(number.verdict) for number in found.numbers} == {
        "not_comparable(no published number)"
    }
    assert found.notes[0].endswith("its claims are only cited, so nothing is judged")
    assert formatting.write_headline(found).endswith(
        "2 not comparable; claims: 1 not testable; nothing to compare (exit 0)"
    )
    assert judge_suite(suite, rows).exit_code is Exit.NOT_MEASURED, "the other methods were not run"
    assert judge_suite(suite, []).exit_code is Exit.NOT_MEASURED
