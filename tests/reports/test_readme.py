"""The README's generated part: current, and true with and without committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UsageError
from benchmark.reports.markdown import between
from benchmark.reports.readme import MARKER, main, showcase
from benchmark.verdicts.measurements import write_results
from tests.helpers import toy_suite as toy

ROOT = Path(__file__).parents[2]


def commit(root: Path, name: str, rows: list) -> Path:
    folder = root / "results" / name
    folder.mkdir(parents=True)
    (folder / "records.csv").write_text(write_results(rows))
    return folder


def test_the_readme_is_current() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(text, MARKER, showcase(ROOT)) == text, "run `make readme`"


def test_nothing_committed_is_said(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites", more=toy.claim("margin", "random"))
    text = showcase(tmp_path)
    assert "No results are committed yet." in text
    assert "| `toy/*` | 1 | 9 | 1 |" in text


def test_committed_trials_are_judged_and_those_of_smaller_profiles_are_not(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites", more=toy.claim("margin", "random"))
    commit(tmp_path, "toy/digits", [*toy.trials(), *toy.trials(seeds=[0], profile="smoke")])
    text = showcase(tmp_path)
    assert "| `toy/digits` | paper | 15 | 9 reproduced | 1 holds | all matched |" in text
    assert "| `toy/digits` | smoke | 3 | not compared: profile smoke is not the published protocol |" in text
    assert text.index("| paper |") < text.index("| smoke |")
    assert "without committed results" not in text


def test_the_quickstart_is_shown_and_compared_with_nothing(tmp_path: Path) -> None:
    made = toy.suite(tmp_path / "suites", [], rule='reference = "records"')
    made.path.parent.rename(tmp_path / "suites" / "quickstart")
    folder = commit(tmp_path, "quickstart/digits", toy.trials(suite="quickstart/digits"))
    assert "![" not in showcase(tmp_path)
    (folder / "gain.png").write_bytes(b"png")
    text = showcase(tmp_path)
    assert "](results/quickstart/digits/gain.png)" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith(("| m", "| e", "| r"))] == [
        "method", "margin", "entropy", "random",
    ]  # fmt: skip
    assert "| 15 | – | – | the reference for later runs |" in text


def test_markers_are_needed_and_the_rest_stays(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites")
    readme = tmp_path / "README.md"
    readme.write_text("before\n")
    with pytest.raises(UsageError, match="places"):
        main(readme)
    readme.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    main(readme)
    once = readme.read_text()
    assert once.startswith("before\n<!-- results -->\n\n")
    assert once.endswith("\n\n<!-- /results -->\nafter\n")
    assert "old" not in once
    main(readme)
    assert readme.read_text() == once
