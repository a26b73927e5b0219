"""A stored selection is bought again: bit for bit with the same network, the same images with
another, and nothing else."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.loop import run
from benchmark.al.session import Session
from benchmark.api.plan import require_same_data
from benchmark.api.replay import read_selection, read_selections
from benchmark.api.selection import select
from benchmark.errors import UsageError
from benchmark.planning.plan import DataStatus
from benchmark.runs.picks import LabelledSet, write_picks
from benchmark.spec.selectors import StoredSelection
from benchmark.spec.suite import Component, Trial
from tests.helpers import trials as kit


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def played(made: Trial, cache: Path, out: Path) -> Session:
    strategy, learner = kit.assembled(made, cache)
    live = kit.session(made, out)
    run(made.protocol, strategy, learner, live)
    return live


def stored(live: Session) -> StoredSelection:
    assert live.pool is not None
    sizes = tuple(result.labelled for result in live.results)
    return StoredSelection("margin", tuple(live.pool.labelled.tolist()), sizes, "d", 0)


def replay(what: StoredSelection, seed: int = 0, sets: dict[str, Any] | None = None) -> Trial:
    return kit.trial("random", seed, sets, strategy=what.method()[1].strategy)


def test_the_same_network_gives_the_same_bits_and_another_the_same_images(
    cache: Path, tmp_path: Path
) -> None:
    first = played(kit.trial("margin"), cache, tmp_path / "first")
    again = played(replay(stored(first)), cache, tmp_path / "again")
    assert [one.weights for one in again.results] == [one.weights for one in first.results]
    assert [one.picks_digest for one in again.results] == [
        one.picks_digest for one in first.results
    ]
    wider = {"protocol.models.0.params": {"width": 6, "heads": 2}}
    other = played(replay(stored(first), sets=wider), cache, tmp_path / "other")
    assert [one.labelled_digest for one in other.results] == [
        one.labelled_digest for one in first.results
    ]
    assert other.results[-1].weights != first.results[-1].weights


@pytest.mark.parametrize(
    ("changes", "seed", "said"),
    [
        ({"protocol.acquisition.budget": 20}, 0, "20 images are to be bought at 40 labels"),
        ({"protocol.acquisition.initial.size": 20}, 0, "40 images are to be bought at 20 labels"),
        ({}, 1, "the labelled images are others than the stored ones"),
        ({"protocol.acquisition.candidates": 45}, 0, "is not among the candidates"),
    ],
)
def test_what_differs_is_refused(
    changes: dict[str, Any], seed: int, said: str, cache: Path, tmp_path: Path
) -> None:
    first = played(kit.trial("margin"), cache, tmp_path / "first")
    with pytest.raises(UsageError, match=said) as refused:
        played(replay(stored(first), seed, changes), cache, tmp_path / "again")
    assert refused.value.where == "replay in cycle 0" and refused.value.remedy


# --------------------------------------------------------------------------------- tables, planning


def table(path: Path, rows: list[tuple[Any, Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("cycle", "index"), *rows])
    return path


def test_a_table_of_indices(tmp_path: Path) -> None:
    found = read_selection(table(tmp_path / "own.csv", [(0, 7), (0, 3), (1, 12), (2, 1), (2, 0)]))
    assert found == StoredSelection("own", (7, 3, 12, 1, 0), (2, 3, 5))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "do not ascend from 0"),
        ([(1, 2)], "do not ascend from 0"),
        ([(0, 2), (2, 3)], "do not ascend from 0"),
        ([(0, 2), (1, 3), (0, 4)], "do not ascend from 0"),
        ([(0, 2), (1, 2)], "there twice"),
        ([(0, -2)], "negative"),
        ([(0, "a")], "is not a table of a selection"),
    ],
)
def test_tables_that_are_none(rows: list[tuple[Any, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read_selection(table(tmp_path / "own.csv", rows))


def test_committed_picks_by_method_and_seed(tmp_path: Path) -> None:
    def made(method: str, seed: int, first: int) -> LabelledSet:
        return LabelledSet("t" * 64, "e" * 64, method, seed, (2, 3), np.array([first, 5, 6]))

    write_picks(
        tmp_path / "picks.csv.gz",
        [made("margin", 0, 1), made("margin", 1, 2), made("tod+cod", 0, 3)],
    )
    place = str(tmp_path / "picks.csv.gz")
    (found,) = read_selections(f"{place}:margin@1")
    assert found == StoredSelection("margin", (2, 5, 6), (2, 3), "", 1)
    assert found.place == f"{place}:margin@1", "the commands that are offered name it again"
    assert [one.seed for one in read_selections(f"{place}:margin")] == [0, 1]
    (other,) = read_selections(f"{place}:tod+cod")
    assert other.labelled == (3, 5, 6)
    with pytest.raises(UsageError, match="no selection of badge") as refused:
        read_selections(f"{place}:badge")
    assert "margin@0, margin@1, tod+cod@0" in refused.value.remedy


def test_a_folder_that_holds_no_trial(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished trial"):
        read_selection(tmp_path)


def five(seed: int | None) -> StoredSelection:
    return StoredSelection(
        "badge", tuple(np.arange(200).tolist()), (40, 80, 120, 160, 200), "d" * 64, seed
    )


def test_planning_takes_the_seed_that_the_selection_comes_from() -> None:
    chosen = select("quickstart/digits", replays=[five(1)]).trials(kit.SUITES)
    assert [(item.trial.method_name, item.trial.seed) for item in chosen] == [("replay(badge)", 1)]
    beside = select(
        "quickstart/digits", methods=["random"], seeds=[0, 1], replays=[five(1)]
    ).trials(kit.SUITES)
    assert [(item.trial.method_name, item.trial.seed) for item in beside] == [
        ("random", 0),
        ("random", 1),
        ("replay(badge)", 1),
    ]
    unknown = select("quickstart/digits", seeds=[0, 2], replays=[five(None)]).trials(kit.SUITES)
    assert [item.trial.seed for item in unknown] == [0, 2]
    assert select("quickstart/digits", seeds=[0], replays=[five(1)]).trials(kit.SUITES) == []


def test_planning_refuses_other_sizes_and_other_data() -> None:
    with pytest.raises(
        UsageError,
        match=r"trains on \[40, 80\] images, and badge was made with \[40, 80, 120, 160, 200\]",
    ):
        select("quickstart/digits", profile="smoke", replays=[five(0)]).trials(kit.SUITES)
    (item,) = select("quickstart/digits", replays=[five(0)]).trials(kit.SUITES)
    data = DataStatus(name="digits", present=True, digest="e" * 64, canonical=True, note="")
    with pytest.raises(
        UsageError, match="belongs to data with the digest dddddddddddd, not eeeeeeeeeeee"
    ):
        require_same_data(item.trial, data)
    require_same_data(item.trial, data.model_copy(update={"digest": "d" * 64}))
    plain = item.trial.model_copy(update={"strategy": Component(name="random")})
    require_same_data(plain, data)


def test_the_selection_is_part_of_the_identity() -> None:
    one, two = (
        replay(what).strategy
        for what in (five(0), replace(five(0), labelled=tuple(range(199, -1, -1))))
    )
    assert one != two
