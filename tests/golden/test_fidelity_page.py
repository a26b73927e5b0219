"""docs/fidelity.md tells of every recorded run, and its deviations are those that the suites
register."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import fidelity  # noqa: E402


def test_the_page_is_what_suites_and_recorded_runs_make_of_it() -> None:
    """Rows are of the run that made them; all else follows from files: make it again with
    tests/golden/fidelity.py."""
    rows = fidelity.known_rows()
    assert set(rows) == {
        (item, case["name"]) for item, content in fidelity.golden() for case in content["cases"]
    }
    assert fidelity.PAGE.read_text(encoding="utf-8") == fidelity.page(rows)


def test_every_row_says_that_ours_is_the_official_run() -> None:
    for row in fidelity.known_rows().values():
        assert "differs" not in row and "not compared" not in row, row


def test_a_run_that_differs_is_said() -> None:
    content = dict(fidelity.golden())["41_pt4al_trajectory"]
    case = content["cases"][0]
    damaged = case | {"inputs": case["inputs"] | {"sha256_train": "0" * 64}}
    assert "**differs**" in fidelity.row("41_pt4al_trajectory", content | {"cases": [damaged]}, 0)
