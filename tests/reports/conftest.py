"""A judged toy suite, written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark import reports as report
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict
from tests.helpers import toy_suite as toy

NASTY = 'a <b>bold</b> | "pipe" & 100 % \\ end'
UNKNOWN = '[unknowns]\n"protocol.training.epochs" = "the paper does not say"\n'


@dataclass(frozen=True)
class Judged:
    """A suite, what was measured, and what is said of it."""

    suite: SuiteFile
    judgement: SuiteVerdict
    measurements: list[Measurement]


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Some numbers reproduced, some above, some missing; a claim of each kind; other data; a nasty
    note."""
    published = {
        "random": (70.0, 80.0, 85.0),
        "margin": (70.0, 81.0, 84.0),
        "entropy": (70.0, 82.0, 88.0),
    }
    table = toy.reported(published, error=0.1)
    table += toy.reported({"margin": (69.0, 80.5, 83.5)}, role="reference", sd=0.5, n=3)
    table[0]["note"] = '"' + NASTY.replace('"', '""') + '"'
    claims = toy.claim("margin", "random") + toy.claim("random", "margin", "[300]").replace(
        "claims.C1", "claims.C2"
    )
    suite = toy.suite(tmp_path_factory.mktemp("suites"), table, more=claims + UNKNOWN)
    rows = toy.trials(
        {"random": (70, 80, 85), "margin": (70, 83, 90)}, noise=0.3, note="90 of 101 classes"
    )
    return Judged(suite, judge_suite(suite, rows), rows)


@pytest.fixture(scope="session")
def site(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two reports and their index."""
    root = tmp_path_factory.mktemp("site")
    commands = {
        "Run what is missing": (
            "albench run toy/digits --method entropy\n\nmake <report> && echo 'done'"
        )
    }
    facts = {"Determinism": "bitwise"}
    report.write(
        root / "toy/digits",
        judged.suite,
        judged.judgement,
        judged.measurements,
        "12 minutes",
        commands,
        facts,
    )
    other = toy.suite(root / "suites", [], name="letters")
    rows = toy.trials(suite="toy/letters", rng=3)
    whole = judge_suite(other, rows)
    report.write(root / "toy/letters", other, whole, rows, "", {})
    pages = {
        root / "toy/digits/report.html": judged.judgement,
        root / "toy/letters/report.html": whole,
    }
    prices = {"random": 1.0, "margin": 1.2}
    costs = {
        (one, method): price
        for one in ("toy/digits", "toy/letters")
        for method, price in prices.items()
    }
    measured = {
        root / "toy/digits/report.html": judged.measurements,
        root / "toy/letters/report.html": rows,
    }
    report.write_index(
        root, pages, {"toy/digits": "digits", "toy/letters": "letters"}, costs, measured
    )
    return root
