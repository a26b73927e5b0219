"""The README's generated part: current, and true with and without committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UsageError
from benchmark.reports.claims import claims_page, state_table
from benchmark.reports.markdown import replace_between
from benchmark.reports.readme import MARKER, main, results_section
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
    assert replace_between(text, MARKER, results_section(ROOT)) == text, "run `make readme`"


def test_the_claims_are_current(tmp_path: Path) -> None:
    for name in ("suites", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    main(tmp_path / "README.md")
    for name in ("README.md", "docs/claims.md"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), "run `make readme`"


def test_claims_are_counted_by_state(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path / "suites", more=toy.claim("margin", "random"))
    none = state_table([suite], {})
    assert "| toy | 9 | 0 | 1 | 0 | 0 | 0 | 0 | 1 |" in none
    assert "| `toy/digits` | C1: " in claims_page([suite], {})
    run = {suite.id: toy.trials()}
    assert "| toy | 9 | 9 | 1 | 1 | 0 | 0 | 0 | 0 |" in state_table([suite], run)
    assert "`results/toy/digits/report.md`" in claims_page([suite], run)
    smoke = {suite.id: toy.trials(profile="smoke")}
    assert state_table([suite], smoke) == none, "only the published protocol decides"


def test_nothing_committed_is_said(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites", more=toy.claim("margin", "random"))
    text = results_section(tmp_path)
    assert "No results are committed yet." in text
    assert "| `toy/*` | 1 | 9 | 1 |" in text


def test_committed_trials_are_judged_and_those_of_smaller_profiles_are_not(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites", more=toy.claim("margin", "random"))
    commit(tmp_path, "toy/digits", [*toy.trials(), *toy.trials(seeds=[0], profile="smoke")])
    text = results_section(tmp_path)
    assert "| `toy/digits` | paper | 15 | 9 reproduced | 1 holds | all matched |" in text
    assert (
        "| `toy/digits` | smoke | 3 | not compared: profile smoke is not the published protocol |"
        in text
    )
    assert text.index("| paper |") < text.index("| smoke |")
    assert "without committed results" not in text


def test_the_quickstart_is_shown_and_compared_with_nothing(tmp_path: Path) -> None:
    made = toy.suite(tmp_path / "suites", [], rule='reference = "records"')
    made.path.parent.rename(tmp_path / "suites" / "quickstart")
    folder = commit(tmp_path, "quickstart/digits", toy.trials(suite="quickstart/digits"))
    assert "![" not in results_section(tmp_path)
    (folder / "gain.png").write_bytes(b"png")
    text = results_section(tmp_path)
    assert "](results/quickstart/digits/gain.png)" in text
    assert [
        line.split("|")[1].strip()
        for line in text.splitlines()
        if line.startswith(("| m", "| e", "| r"))
    ] == [
        "method",
        "margin",
        "entropy",
        "random",
    ]
    assert "| 15 | – | – | the reference for later runs |" in text


def test_markers_are_needed_and_the_rest_stays(tmp_path: Path) -> None:
    toy.suite(tmp_path / "suites")
    readme = tmp_path / "README.md"
    readme.write_text("before\n")
    with pytest.raises(UsageError, match="places"):
        main(readme)
    (tmp_path / "docs").mkdir()
    readme.write_text(
        "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n<!-- claims -->\n<!-- /claims "
        "-->\n"
    )
    main(readme)
    once = readme.read_text()
    assert once.startswith("before\n<!-- results -->\n\n")
    assert "\n\n<!-- /results -->\nafter\n<!-- claims -->\n\n| paper |" in once
    assert "\nold\n" not in once
    main(readme)
    assert readme.read_text() == once
