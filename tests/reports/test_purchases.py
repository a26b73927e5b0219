"""What a report shows of committed picks: TOD's smoke trials, counted again in the plainest way."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import loading
from benchmark.api import compare
from benchmark.api.compare import UNDECIDED, ComparisonResult, compare_suite
from benchmark.api.purchases import summarize_purchases
from benchmark.api.workspace import Workspace
from benchmark.spec.load import find_suite
from benchmark.spec.selectors import Selection, Selector
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.results import VerdictKind
from tests.helpers import toy_suite as toy

ROOT = Path(__file__).parents[2]
SUITE = "tod/cifar10"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(
        suites=ROOT / "suites", runs=tmp_path_factory.mktemp("runs"), data=ROOT / "no-data"
    )


@pytest.fixture(scope="module")
def item(workspace: Workspace) -> ComparisonResult:
    chosen = Selection([Selector(SUITE)], profile="smoke")
    return compare_suite(workspace, chosen, find_suite(SUITE, ROOT / "suites"), borrow=True)


def committed() -> dict[str, tuple[list[int], list[int]]]:
    """Sizes and indices by method, straight from the file."""
    text = gzip.decompress((ROOT / "results" / SUITE / "picks.csv.gz").read_bytes()).decode()
    csv.field_size_limit(2**26)
    rows = csv.DictReader(text.splitlines())
    return {
        row["method"]: (
            list(map(int, row["sizes"].split())),
            list(map(int, row["labelled"].split())),
        )
        for row in rows
    }


def test_overlap_of_committed_picks(workspace: Workspace, item: ComparisonResult) -> None:
    found, held = summarize_purchases(workspace, item), committed()
    assert found is not None and set(found.methods) == set(held) and len(held) == 8
    assert found.evenness == (), "the data are not here"
    last = found.overlaps[-1]
    for row, first in zip(last.rows, found.methods, strict=True):
        for value, second in zip(row, found.methods, strict=True):
            (sizes, one), (_, other) = held[first], held[second]
            assert last.labelled == sizes[-1]
            shared = set(one[sizes[0] :]) & set(other[sizes[0] :])
            assert value == pytest.approx(100 * len(shared) / (sizes[-1] - sizes[0]))


def test_classes_are_counted_only_on_the_data_of_the_records(
    workspace: Workspace, item: ComparisonResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(50_000) % 10
    data = SimpleNamespace(
        train=SimpleNamespace(labels=labels), digest="right", class_names=tuple(map(str, range(10)))
    )
    monkeypatch.setattr(loading, "load", lambda *_: data)

    def summarize(digest: str) -> Any:
        record = SimpleNamespace(
            data=SimpleNamespace(digest=digest), trial_id="none", env_id="none"
        )
        return summarize_purchases(workspace, replace(item, records=[record]))  # type: ignore[list-item]

    assert summarize("wrong").shares == ()
    found, held = summarize("right"), committed()
    for method, shares in zip(found.methods, found.shares, strict=True):
        sizes, indices = held[method]
        kinds = [one % 10 for one in indices[sizes[0] :]]
        assert shares == pytest.approx([100 * kinds.count(kind) / len(kinds) for kind in range(10)])


def test_conditions_of_committed_trials_are_shown(item: ComparisonResult) -> None:
    assert item.facts["Code"] and "8 trials took" in item.cost_note


def test_more_seeds_are_proposed_where_they_can_decide(
    item: ComparisonResult, tmp_path: Path
) -> None:
    assert UNDECIDED not in item.commands, "a smoke run is compared with nothing"
    for noise, rule, expected in (
        (3.0, "", True),
        (0.01, "", False),
        (3.0, 'reference = "records"', False),
    ):
        suite = toy.suite(tmp_path, rule=rule)
        found = judge_suite(
            suite, toy.trials(noise=noise), references=toy.trials(noise=noise, rng=1)
        )
        assert (VerdictKind.INCONCLUSIVE in found.counts()) is (noise > 1)
        given = compare._next_commands(
            Selection([Selector("toy/digits")]), suite, complete=True, judgement=found
        )
        assert (UNDECIDED in given) is expected
        assert not expected or given[UNDECIDED] == "albench run toy/digits --until-decided"
        seeds = Selection([Selector("toy/digits")], seeds=(0, 1))
        assert UNDECIDED not in compare._next_commands(
            seeds, suite, complete=True, judgement=found
        ), "seeds were chosen"
