"""Reported tables: read, refused with file and line, written back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import SuiteError
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.published import COLUMNS, read_reported, write_reported

ROOT = Path(__file__).parents[2] / "suites"
HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("*/*.reported.csv")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_tables_round_trip_byte_for_byte(path: Path) -> None:
    assert write_reported(read_reported(path)) == path.read_text()


@pytest.mark.parametrize(
    "path", list(suite_files(ROOT)), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_targets_are_methods_of_the_suite_at_its_budgets(path: Path) -> None:
    file = load_suite(path, ROOT)
    for row in file.reported:
        if row.role in ("target", "target_weak"):
            assert row.method in file.suite.methods, row
            assert row.labelled in file.suite.protocol.acquisition.labelled(), row


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("random,5000,accuracy,high,,,3,Fig. 1,0.1,target,", "mean is 'high', not a finite number"),
        ("random,5000,accuracy,80,,,3,Fig. 1,0.1,goal,", "role"),
        ("random,5000,accuracy,80,,,3,Fig. 1,0.1", "9 cells instead of 11"),
        (
            "random,5000,accuracy,80,0.5,,3,Fig. 1,0.1,target,",
            "dispersion and dispersion_kind go together",
        ),
        ("random,5000,accuracy,nan,,,3,Fig. 1,0.1,target,", "finite"),
        ("random,5000,accuracy,80,,,0,Fig. 1,0.1,target,", "greater than 0"),
        ('random,5000,accuracy,80,,,3,"Fig. 1,0.1,target,', "unexpected end of data"),
        ("random,5000,accuracy,,,,3,Fig. 1,0.1,target,hidden", "a row without a mean needs"),
        ("random,5000,accuracy,,,,3,Fig. 1,0.1,context,", "a row without a mean needs"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "x.reported.csv"
    path.write_text(f"{HEADER}\nrandom,5000,accuracy,80,,,3,Fig. 1,0.1,target,\n{row}\n")
    with pytest.raises(SuiteError, match=said) as caught:
        read_reported(path)
    assert caught.value.where == f"{path}:3"


def test_a_point_that_cannot_be_read_has_no_mean(tmp_path: Path) -> None:
    path = tmp_path / "x.reported.csv"
    path.write_text(
        f"{HEADER}\nrandom,5000,accuracy,,,,,Fig. 1,0.0,context,hidden by another marker\n"
    )
    (row,) = read_reported(path)
    assert row.mean is None
    with pytest.raises(ValueError, match="no readable mean"):
        _ = row.value
    assert write_reported([row]) == path.read_text()


def test_a_bad_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.reported.csv"
    path.write_text("method,labelled\n")
    with pytest.raises(SuiteError, match="header"):
        read_reported(path)
