"""A part of the mutation campaign, and that it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import SuiteError
from tests.properties import mutations
from tests.properties.mutations import Wrong, campaign, judge_csv

EDITS = 330


def test_edited_suites_are_refused_with_a_place_or_mean_what_they_say() -> None:
    tallies = campaign(EDITS, seed=7)
    assert [failure for tally in tallies.values() for failure in tally.failures] == []
    assert sum(tally.accepted + tally.refused for tally in tallies.values()) == EDITS
    assert sum(tally.accepted for tally in tallies.values()) > 50
    assert sum(tally.refused for tally in tallies.values()) > 100


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SuiteError("no", where="{path}:3"), "without a remedy"),
        (SuiteError("no", where="{path}", remedy="mend"), "without a line"),
        (SuiteError("no", remedy="mend"), "without the file"),
    ],
)
def test_an_unhelpful_refusal_is_a_failure(
    error: SuiteError, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.reported.csv"
    error.where = error.where.format(path=path)

    def refuse(_: Path) -> None:
        raise error

    monkeypatch.setattr(mutations, "read_reported", refuse)
    with pytest.raises(Wrong, match=said):
        judge_csv(path)
