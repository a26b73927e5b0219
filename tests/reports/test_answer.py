"""The answer on one screen: what it says of known verdicts, and that it fits."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.reports import answer
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.results import SuiteVerdict
from tests.helpers import toy_suite as toy
from tests.reports.conftest import Judged

CONTEXT = answer.AnswerContext(
    "",
    "albench run toy/digits --methods entropy",
    {"Report": "report/toy/digits/report.html"},
    "albench compare x --all",
)


def printed(judgement: SuiteVerdict, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding, "replace", write_through=True)
    answer.show_answer(judgement, Console(file=file, width=width), CONTEXT)
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 120])
def test_one_screen(judged: Judged, width: int) -> None:
    lines = printed(judged.judgement, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 40
    for cell in judged.judgement.cells:
        assert sum(line.split()[:1] == [cell.method] for line in lines) == 1, (
            "a row for each measured method"
        )


def test_what_is_not_as_expected_is_shown_and_the_rest_is_counted(judged: Judged) -> None:
    text = printed(judged.judgement, 200)
    apart = [
        item
        for item in judged.judgement.numbers
        if item.decides and str(item.verdict.kind) in ("above", "below")
    ]
    assert apart
    for item in apart:
        assert (
            item.estimate is not None
            and item.estimate.reference is not None
            and item.labelled is not None
        )
        (line,) = [
            line
            for line in text.splitlines()
            if line[:1] in "▲▼" and f"{item.method} at {item.labelled:,}:" in line
        ]
        assert f"{item.estimate.mean:.2f}" in line and f"{item.estimate.reference:.2f}" in line
    assert "a discrepancy (exit 1)" in text
    assert "at 100: " not in "".join(
        line for line in text.splitlines() if line.startswith("✓ reproduced")
    )
    assert "1 method without a trial: entropy" in text
    assert "albench run toy/digits --methods entropy" in text
    assert "report/toy/digits/report.html" in text


def test_claims_are_answered_one_a_line(judged: Judged) -> None:
    text = printed(judged.judgement, 200)
    decided = [
        claim
        for claim in judged.judgement.claims
        if str(claim.outcome) in ("holds", "refuted", "inconclusive")
    ]
    assert decided
    for claim in decided:
        assert (
            sum(
                f"{claim.id} {claim.outcome}" in line and claim.text in line
                for line in text.splitlines()
            )
            == 1
        )


def test_one_reason_for_all_is_said_once(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials(profile="smoke", seeds=[0])
    text = printed(judge_suite(suite, rows, profile="smoke"))
    whole = " ".join(text.split())
    assert whole.count("not testable (profile smoke is not the published protocol)") <= 1
    assert "Not compared: profile smoke is not the published protocol." in whole
    assert "verdicts" not in text, "no column that is empty"


def test_a_stream_without_the_signs_gets_letters(judged: Judged) -> None:
    text = printed(judged.judgement, encoding="ascii")
    assert "A above" in text and "R reproduced" in text
    assert "?" not in "".join(line for line in text.splitlines() if "A above" in line)


def test_sparklines() -> None:
    assert answer.draw_sparkline([0, 50, 100], 0, 100) == "▁▅█"
    assert answer.draw_sparkline([5.0, 5.0], 5.0, 5.0) == "██"
    assert answer.draw_sparkline(list(range(100)), 0, 99, width=3) == "▁▅█", (
        "both ends and the middle"
    )


def test_the_sentence_names_whose_exit_code_it_is(judged: Judged) -> None:
    assert answer.write_sentence(judged.judgement).endswith("(exit 1)")
    assert answer.write_sentence(judged.judgement, "albench compare").endswith(
        "(`albench compare` exits with 1)"
    )
