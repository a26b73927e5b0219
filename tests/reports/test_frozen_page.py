"""The tables of docs/frozen-features.md are those of the committed verdicts: `python -m
tests.reports.test_frozen_page` prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.reports.formatting import format_interval

ROOT = Path(__file__).parents[2]
SIGNS = {"holds": "✓", "refuted": "✗", "inconclusive": "?"}


SUITES = tuple(
    sorted(f"frozen/{path.parent.name}" for path in ROOT.glob("results/frozen/*/verdicts.json"))
)
"""Those with committed results."""


def table_rows(suite: str) -> list[str]:
    """A row for every method, the largest area first."""
    verdicts: dict[str, Any] = json.loads((ROOT / "results" / suite / "verdicts.json").read_text())
    answers = {answer["id"]: answer for answer in verdicts["claims"]}
    return [
        _row(standing, answers)
        for standing in sorted(verdicts["standings"], key=lambda item: -item["area"])
    ]


def _row(standing: dict[str, Any], answers: dict[str, Any]) -> str:
    method, gain = standing["method"], "–"
    p = saved = "–"
    if standing["control"]:
        gain = format_interval(standing["gain"], standing["gain_low"], standing["gain_high"])
        p = "< 0.001" if standing["gain_p"] < 0.001 else f"{standing['gain_p']:.3f}"
        saved = "not reached"
        if standing["saved"] is not None:
            low, high = (
                "open" if end is None else f"{end:.0f}"
                for end in (standing["saved_low"], standing["saved_high"])
            )
            saved = f"{standing['saved']:.0f} [{low}, {high}]"
    last = [_answer(answers.get(f"{method}-{other}")) for other in ("random", "margin")]
    area = f"{standing['area']:.2f} ± {standing['area_sd']:.2f}"
    return f"| {' | '.join((f'`{method}`', area, gain, p, saved, *last))} |"


def _answer(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "–"
    (test,) = answer["budgets"]
    interval = format_interval(test["difference"], test["low"], test["high"])
    return f"{interval} {SIGNS[answer['outcome']]}"


@pytest.mark.parametrize("suite", SUITES)
def test_the_page_shows_the_committed_verdicts(suite: str) -> None:
    page = (ROOT / "docs" / "frozen-features.md").read_text().splitlines()
    rows = table_rows(suite)
    assert len(rows) == 14
    assert [row for row in rows if row not in page] == []


if __name__ == "__main__":
    for suite in SUITES:
        print(suite, *table_rows(suite), sep="\n")
