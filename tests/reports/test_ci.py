"""JUnit, annotations, step summary: what a continuous integration reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmark.reports import github, junit
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.regression import regress
from tests.helpers import toy_suite as toy
from tests.reports.conftest import Judged


def results(text: str) -> dict[tuple[str, str], str]:
    root = ElementTree.fromstring(text)
    found = {}
    for suite in root:
        cases = list(suite)
        kinds = [child.tag for case in cases for child in case if child.tag != "system-out"]
        assert int(suite.attrib["tests"]) == len(cases)
        for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == kinds.count(kind)
        for case in cases:
            child = next((child.tag for child in case if child.tag != "system-out"), "passed")
            found[case.attrib["classname"], case.attrib["name"]] = child
    return found


def test_junit_of_a_judgement(judged: Judged) -> None:
    found = results(junit.render([judged.judgement]))
    assert found["toy/digits.random", "accuracy at 200 (Table 1)"] == "passed"
    assert found["toy/digits.margin", "accuracy at 300 (Table 1)"] == "failure"
    assert found["toy/digits.entropy", "accuracy at 100 (Table 1)"] == "error"
    assert found["toy/digits.claims", "C1: margin beats random"] == "passed"
    assert (
        found["toy/digits.claims", "C2: random beats margin"] == "skipped"
        if judged.judgement.claims[1].as_printed
        else "failure"
    )
    assert sum("area" in name for _, name in found) == 3
    failure = next(
        node for node in ElementTree.fromstring(junit.render([judged.judgement])).iter("failure")
    )
    assert "above" in failure.attrib["message"]
    assert "published" in (failure.text or "")


def test_junit_of_what_was_not_asked(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    smoke = judge_suite(suite, toy.trials(profile="smoke", seeds=[0]), profile="smoke")
    assert set(results(junit.render([smoke])).values()) == {"skipped"}
    one = judge_suite(suite, toy.trials(seeds=[0]))
    assert set(results(junit.render([one])).values()) == {"skipped"}, (
        "inconclusive is neither passed nor failed"
    )
    empty = judge_suite(toy.suite(tmp_path, []), [])
    assert set(results(junit.render([empty])).values()) == {"error"}, (
        "nothing measured never looks like success"
    )


def test_junit_holds_any_text(tmp_path: Path) -> None:
    rows = toy.trials({"random": (70, 80, 85)}, note="bell \x07 & <tag>")
    text = junit.render([judge_suite(toy.suite(tmp_path), rows)])
    assert "bell ? &amp; &lt;tag&gt;" in text
    ElementTree.fromstring(text)


def test_junit_of_a_regression(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials()
    mine = [
        replace(row, record_digest="x", metrics={"accuracy": 1.0})
        if row.seed == 1 and row.method == "margin"
        else row
        for row in rows
    ]
    found = results(junit.render([], [regress(suite, [row for row in mine if row.seed < 4], rows)]))
    assert found["toy/digits.margin", "seed 1"] == "failure"
    assert found["toy/digits.margin", "seed 4"] == "error"
    assert found["toy/digits.margin", "seed 0"] == "passed"


def test_annotations_point_at_the_published_number(judged: Judged) -> None:
    root = judged.suite.path.parents[1]
    found = github.annotate(judged.suite, judged.judgement, root)
    lines = judged.suite.path.with_name("digits.reported.csv").read_text().splitlines()
    errors = [
        line for line in found if line.startswith("::error file=toy/digits.reported.csv,line=")
    ]
    assert len(errors) == sum(
        n.verdict.kind in ("above", "below") for n in judged.judgement.numbers if n.decides
    )
    for error in errors:
        at = int(error.partition("line=")[2].partition(",")[0])
        assert lines[at - 1].startswith("margin,")
        assert "(Table 1)" in error
    warnings = [line for line in found if line.startswith("::warning") and "missing" in line]
    assert len(warnings) == 3
    assert not any("\n" in line for line in found)


def test_annotations_of_claims_point_at_the_claim(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, [], more=toy.claim("random", "margin"))
    (found,) = github.annotate(suite, judge_suite(suite, toy.trials()), tmp_path)
    at = int(found.partition("line=")[2].partition(",")[0])
    assert found.startswith("::error file=toy/digits.toml")
    assert suite.text.splitlines()[at - 1] == "[claims.C1]"


def test_annotations_are_escaped(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    found = judge_suite(suite, toy.trials(shift=5.0))
    wild = replace(
        found,
        suite="toy/a:b,c",
        numbers=(replace(found.numbers[0], source="100 %\nnext ::error::"),),
    )
    (line,) = github.annotate(suite, wild, tmp_path)
    assert "title=toy/a%3Ab%2Cc::" in line
    assert "100 %25%0Anext ::error::" in line


def test_nothing_to_annotate(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path)
    assert github.annotate(suite, judge_suite(suite, toy.trials()), tmp_path) == []


def test_annotations_of_a_regression(tmp_path: Path) -> None:
    suite, rows = toy.suite(tmp_path), toy.trials()
    mine = [
        replace(row, record_digest="x") if row.seed == 1 and row.method == "margin" else row
        for row in rows
        if row.seed != 2
    ]
    found = github.annotate_regression(suite, regress(suite, mine, rows), tmp_path)
    assert sum(line.startswith("::error") for line in found) == 1
    assert sum(line.startswith("::warning") for line in found) == 3
    at = int(found[0].partition("line=")[2].partition(",")[0])
    assert suite.text.splitlines()[at - 1].startswith("[methods.")


def test_step_summary(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    regression = regress(judged.suite, judged.measurements, judged.measurements)
    text = github.step_summary([judged.judgement], [regression])
    assert "| `toy/digits` | paper |" in text
    assert "## toy/digits against committed records: all matched" in text
    monkeypatch.setattr(github, "LIMIT", 500)
    cut = github.step_summary([judged.judgement], [regression])
    assert len(cut.encode()) < 600
    assert cut.endswith("Cut: the whole report is in its files.\n")
