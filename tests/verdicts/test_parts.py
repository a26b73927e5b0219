"""Trials of single target models put together into the trial of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from benchmark.api.report import ReportOptions, report
from benchmark.api.workspace import Workspace
from benchmark.reports.readme import _verdict_rows
from benchmark.spec.load import SuiteFile, find_suite
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import (
    Measurement,
    read_results,
    write_committed,
    write_results,
)
from benchmark.verdicts.parts import part_profiles, shown_profiles, with_parts
from benchmark.verdicts.results import VerdictKind

SUITES = Path(__file__).parents[2] / "suites"
PARTS = {f"model{place}": (place,) for place in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10)} | {
    "smallest": (3, 11)
}


@pytest.fixture(scope="module")
def suite() -> SuiteFile:
    return find_suite("diam/mnist", SUITES)


def published(suite: SuiteFile) -> dict[int, float]:
    rows = [row for row in suite.reported if (row.method, row.labelled) == ("random", 3000)]
    return {
        int(row.metric[14:]): row.value for row in rows if row.metric.startswith("accuracy/model")
    }


def part(profile: str, seed: int, values: dict[int, float], **other: object) -> Measurement:
    own = {place: values[place] for place in PARTS[profile]}
    metrics = {f"accuracy/model{place}": value for place, value in own.items()}
    row = Measurement(
        "diam/mnist",
        "random",
        profile,
        "as_published",
        seed,
        0,
        3000,
        metrics
        | {
            "accuracy": fmean(own.values()),
            "loss/last": float(len(own)),
            "spread/models": pstdev(own.values()),
        },
        f"{profile}-{seed}",
        "env-a",
        "cpu-a",
        canonical=True,
        data_note="",
        record_digest=f"{profile}-{seed}",
        labelled_digest="same",
    )
    return replace(row, **other)  # type: ignore[arg-type]


def parts(values: dict[int, float], seed: int = 0) -> list[Measurement]:
    return [part(profile, seed, values) for profile in PARTS]


def test_the_suite_has_parts_for_every_model(suite: SuiteFile) -> None:
    for profile in ("paper", "first"):
        names = part_profiles(suite, profile, "as_published")
        assert set(names) == set(PARTS)
        trained = [suite.resolve(name).protocol.trained() for name in names]
        assert sorted(place for places in trained for place in places) == list(range(12))
    assert part_profiles(suite, "smoke", "as_published") == ()
    assert part_profiles(suite, "model0", "as_published") == ()


def test_all_parts_give_the_trial_of_all_models(suite: SuiteFile) -> None:
    values = published(suite)
    (whole,) = [
        row
        for row in with_parts(suite, parts(values), "first", "as_published")
        if row.profile == "first"
    ]
    assert whole.metrics["accuracy"] == fmean(values[place] for place in range(12))
    assert whole.metrics["spread/models"] == pstdev(values[place] for place in range(12))
    assert whole.metrics["loss/last"] == pytest.approx((10 * 1 + 2 * 2) / 12)
    assert {
        name: whole.metrics[name]
        for name in whole.metrics
        if "/model" in name and "spread" not in name
    } == {f"accuracy/model{place}": value for place, value in values.items()}
    again = with_parts(suite, [*parts(values), whole], "first", "as_published")
    assert sum(row.profile == "first" for row in again) == 1


def test_the_mean_over_all_models_gets_its_verdict(suite: SuiteFile) -> None:
    values = published(suite)
    rows = [
        row
        for seed, shift in enumerate((-0.05, 0.0, 0.05))
        for row in parts({place: value + shift for place, value in values.items()}, seed)
    ]
    found = judge_suite(suite, rows, profile="first")
    (mean,) = [item for item in found.numbers if item.labelled == 3000 and item.decides]
    assert mean.verdict.kind is VerdictKind.REPRODUCED
    assert mean.estimate is not None
    assert mean.estimate.n == 3
    (note,) = [note for note in found.notes if note.startswith("put together")]
    assert "random (seeds 0, 1, 2)" in note
    assert "environments" not in note


def test_parts_of_several_environments_are_said(suite: SuiteFile) -> None:
    values = published(suite)
    rows = [
        replace(row, env_id="env-b", device_model="cpu-b") if row.profile == "smallest" else row
        for seed in range(3)
        for row in parts({place: value + 0.1 * (seed - 1) for place, value in values.items()}, seed)
    ]
    found = judge_suite(suite, rows, profile="first")
    assert any("2 environments, on cpu-a and cpu-b" in note for note in found.notes)
    assert found.environments == ("env-a", "env-b")
    (mean,) = [item for item in found.numbers if item.labelled == 3000 and item.decides]
    assert mean.verdict.kind is VerdictKind.REPRODUCED, (
        "every model ran on the same device in every seed"
    )
    mixed = [
        replace(row, device_model="cpu-b") if row.trial_id == "model0-1" else row for row in rows
    ]
    (mean,) = [
        item
        for item in judge_suite(suite, mixed, profile="first").numbers
        if item.labelled == 3000 and item.decides
    ]
    assert mean.verdict.kind is VerdictKind.NOT_COMPARABLE
    assert "different devices" in mean.verdict.reason


@pytest.mark.parametrize(
    "change",
    [
        {"labelled_digest": "other"},
        {"canonical": False, "data_note": "half of the images"},
        {"seed": 1},
        {"method": "diam"},
        {"variant": "shuffled"},
        {"profile": "smoke"},
    ],
)
def test_what_is_no_part_is_not_put_in(suite: SuiteFile, change: dict[str, object]) -> None:
    rows = parts(published(suite))
    rows[3] = replace(rows[3], **change)  # type: ignore[arg-type]
    assert with_parts(suite, rows, "first", "as_published") == rows


def test_what_is_missing_for_a_whole_is_said(suite: SuiteFile) -> None:
    rows = [
        row
        for seed in (0, 1)
        for row in parts(published(suite), seed)
        if row.profile not in ("model4", "smallest")
    ]
    rows += parts(published(suite), 2)
    found = judge_suite(suite, rows, profile="first")
    assert "not put together: random, seeds 0, 1: no part has models 3, 4, 11" in found.notes
    assert found.environments == ("env-a",)
    assert [item.estimate.n for item in found.numbers if item.decides and item.estimate] == [1]


def test_a_whole_trial_stands_for_itself(suite: SuiteFile) -> None:
    rows = parts(published(suite))
    own = replace(rows[0], profile="first", metrics={"accuracy": 50.0}, trial_id="whole")
    assert with_parts(suite, [*rows, own], "first", "as_published") == [*rows, own]


def test_the_showcase_has_the_whole_instead_of_its_parts(suite: SuiteFile) -> None:
    rows = [row for seed in range(2) for row in parts(published(suite), seed)]
    assert shown_profiles(suite, rows) == [("first", "as_published")]
    (line,) = _verdict_rows(suite, rows)
    assert line[1:3] == ("first", "2")
    assert {profile for profile, _ in shown_profiles(suite, rows[1:11])} == set(PARTS) - {"model0"}


def test_a_committed_table_holds_the_parts(suite: SuiteFile, tmp_path: Path) -> None:
    rows = parts(published(suite))
    whole = [
        row for row in with_parts(suite, rows, "first", "as_published") if row.profile == "first"
    ]
    path = tmp_path / "records.csv"
    path.write_text(write_results(whole))
    assert read_results(path) == sorted(rows, key=lambda row: row.key)
    assert [
        row for row in with_parts(suite, read_results(path), "first", "as_published") if row.parts
    ] == whole


def test_pages_of_parts_give_way_to_the_page_of_the_whole(suite: SuiteFile, tmp_path: Path) -> None:
    rows = parts(published(suite))
    pages = tmp_path / "diam" / "mnist"
    write_committed(pages, rows[:2])
    workspace, options = Workspace(SUITES, results=tmp_path), ReportOptions(republish=True)
    report("diam/mnist", workspace, options)
    assert {page.parent.name for page in pages.rglob("report.html")} == {
        "model0.as_published",
        "model1.as_published",
    }
    write_committed(pages, rows)
    report("diam/mnist", workspace, options)
    assert [page.parent.name for page in pages.rglob("report.*")] == ["first.as_published"] * 2
    assert read_results(pages / "records.csv") == read_results(write_committed(pages, rows))
