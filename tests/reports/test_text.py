"""Terminal and Markdown: the same lines, complete and unbroken."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark import reports as report
from benchmark.reports import formatting, markdown, terminal
from benchmark.verdicts.judge import judge_suite
from tests.helpers import toy_suite as toy
from tests.reports.conftest import Judged


def printed(judged: Judged, width: int = 220, **options: object) -> str:
    out = io.StringIO()
    terminal.show(judged.judgement, Console(file=out, width=width), **options)  # type: ignore[arg-type]
    return out.getvalue()


def test_the_terminal_says_it_all(judged: Judged) -> None:
    text = printed(
        judged,
        cost_note="12 minutes",
        commands={"Run what is missing": "albench run [toy/digits] --method entropy"},
    )
    for part in (
        "✓ reproduced",
        "▲ above",
        "∅ missing (no trial)",
        "✓ holds",
        "[other data]",
        "90 of 101 classes",
        "12 minutes",
        "no source establishes protocol.training.epochs",
        "albench run [toy/digits] --method entropy",
        "Missing: entropy",
        "a discrepancy (exit 1)",
        "margin of ±1",
        "read ±0.1",
    ):
        assert part in text, part
    assert "<b>bold</b>" in text


@pytest.mark.parametrize("width", [60, 100])
def test_narrow_terminals_lose_no_verdict(judged: Judged, width: int) -> None:
    text = printed(judged, width)
    assert max(map(len, text.splitlines())) <= width or "albench" in text
    assert "missing" in "".join(text.split()) or "∅" in text


def test_other_profiles_show_what_was_measured(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials(profile="smoke", seeds=[0])
    found = Judged(suite, judge_suite(suite, rows, profile="smoke"), rows)
    text = printed(found)
    assert "Not compared: profile smoke is not the published protocol" in text
    assert text.count("not comparable") == 1, "said once in the headline, not once a line"
    mark = markdown.render(suite, found.judgement)
    assert "Not compared: profile smoke is not the published protocol." in mark
    assert "## Measured" in mark


def test_a_number_of_another_metric_says_which(tmp_path: Path) -> None:
    (first, *_) = toy.reported()
    suite = toy.suite(tmp_path, [first, {**first, "metric": "accuracy/ema", "role": "context"}])
    text = markdown.render(suite, judge_suite(suite, toy.trials()))
    assert text.count("| 100, accuracy/ema |") == 1 and "| 100 |" in text


def test_markdown_tables_are_whole(judged: Judged) -> None:
    text = markdown.render(
        judged.suite,
        judged.judgement,
        "12 minutes",
        {"Run": "make x"},
        {"Image": "sha256:1"},
        {"Curves": "c.png"},
    )
    width = 0
    for line in text.splitlines():
        cells = line.replace("\\|", "").count("|") - 1
        if line.startswith("|"):
            assert width in (0, cells), line
            width = cells
        else:
            width = 0
    for heading in (
        "Numbers",
        "Curves",
        "Claims",
        "Methods",
        "Shown beside",
        "Measured",
        "Deviations in force",
        "Conditions",
        "Commands",
    ):
        assert f"## {heading}\n" in text
    assert "![Curves](c.png)" in text
    assert "- Image: sha256:1" in text
    assert "<b>" not in text
    assert "```sh\nmake x\n```" in text


def test_overview(judged: Judged) -> None:
    assert (
        markdown.overview_table([judged.judgement]).splitlines()[-1].endswith("| a discrepancy |")
    )


@given(st.text())
def test_cells_never_break_a_table(text: str) -> None:
    cell = markdown.escape_cell(text.replace("\r", ""))
    assert "\n" not in cell
    assert "<" not in cell
    assert "|" not in cell.replace("\\\\", "").replace("\\|", "")


def test_files(site: Path) -> None:
    names = {path.name for path in (site / "toy/digits").iterdir()}
    assert names == {
        "curves.png",
        "curves.svg",
        "gain.png",
        "gain.svg",
        "junit.xml",
        "report.html",
        "report.md",
        "verdicts.json",
    }
    plain = json.loads((site / "toy/digits/verdicts.json").read_text())
    assert plain["exit_code"] == 1
    assert {path.name for path in site.glob("*.*")} == {"index.html", "cost.png", "cost.svg"}


def test_writing_twice_changes_nothing(judged: Judged, tmp_path: Path) -> None:
    first, second = (
        {
            path.name: path.read_bytes()
            for path in report.write(
                tmp_path / name, judged.suite, judged.judgement, judged.measurements, "", {}
            )
        }
        for name in ("a", "b")
    )
    assert first == second


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (None, False, "–"),
        (-0.001, True, "+0.00"),
        (-0.001, False, "0.00"),
        (-1.239, True, "-1.24"),
        (1.0, True, "+1.00"),
        (3.0, False, "3.00"),
    ],
)
def test_numbers(value: float | None, signed: bool, text: str) -> None:
    assert formatting.format_number(value, signed=signed) == text


def test_letters_and_footnotes() -> None:
    assert [formatting.footnote_letter(place) for place in (0, 25, 26, 27, 52)] == [
        "a",
        "z",
        "aa",
        "ab",
        "ba",
    ]
    notes = formatting.Footnotes()
    assert (notes.marks(["x", "y"]), notes.marks(["y", ""]), notes.marks([])) == ("a,b", "b", "")
    assert notes.lines() == [("a", "x"), ("b", "y")]


def test_a_gain_from_few_pairs_says_its_degrees_of_freedom(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    few, enough = (judge_suite(suite, toy.trials(seeds=range(n))) for n in (3, 5))
    rows = {row.method: formatting.standing_cells(row) for row in few.standings}
    assert rows["margin"][3].endswith("on 2 d.f.")
    assert rows["margin"][5] == "–", "no p value that would call it better"
    rows = {row.method: formatting.standing_cells(row) for row in enough.standings}
    assert "d.f." not in rows["margin"][3]
    assert rows["margin"][5] == "<0.001"


def test_what_was_measured_has_the_error_of_the_test_set(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(noise=0.001))
    text = markdown.render(toy.suite(tmp_path), found)
    (cell,) = [cell for cell in found.cells if (cell.method, cell.labelled) == ("margin", 300)]
    assert cell.low is not None and cell.high is not None
    # 500 test images, 90 %: a standard error of 1.34 points, however little the seeds scatter
    assert cell.high - cell.low == pytest.approx(
        2 * 1.96 * 100 * (0.9 * 0.1 / 500) ** 0.5, rel=0.01
    )
    assert formatting.measured_text(cell) in text
    assert "binomial error of the test set" in text
