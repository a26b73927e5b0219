"""The values of the page's figure, the library that draws them, and how large pages become."""

from __future__ import annotations

import hashlib
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmark import reports
from benchmark.reports import curves, figure
from benchmark.reports.curves import Point
from benchmark.spec.load import load_suite
from benchmark.spec.published import COLUMNS
from benchmark.verdicts.judge import judge_suite
from tests.helpers import toy_suite as toy
from tests.reports.conftest import Judged

LARGEST = 1_500_000
"""Bytes of a page at most."""


def test_the_library_is_the_one_that_was_published() -> None:
    assert {path.name for path in figure.LIBRARY.iterdir()} == set(figure.DIGESTS)
    for name, digest in figure.DIGESTS.items():
        assert hashlib.sha256((figure.LIBRARY / name).read_bytes()).hexdigest() == digest
    script = figure.library_script()
    assert "Permission is hereby granted" in script and "Copyright (c) 2022 Leon Sorokin" in script
    assert "(v1.6.32)" in script


def values(judged: Judged, method: str, size: int) -> list[float]:
    return [
        row.metrics["accuracy"]
        for row in judged.measurements
        if (row.method, row.labelled) == (method, size)
    ]


def test_points_are_means_with_half_their_interval(judged: Judged) -> None:
    found = figure.suite_figure(judged.suite, judged.judgement, judged.measurements)
    assert found is not None
    accuracy, gain = found["views"]
    series = {one["name"]: one for one in accuracy["series"]}
    assert list(series) == ["random", "margin", "entropy"]
    assert [(one["colour"], one["marker"]) for one in accuracy["series"]] == list(
        zip(curves.COLOURS[:3], curves.MARKERS[:3], strict=True)
    )
    for method in ("random", "margin"):
        for size, mean, half, n in series[method]["ours"]:
            own = values(judged, method, size)
            assert (n, len(own)) == (5, 5)
            assert mean == pytest.approx(statistics.mean(own), abs=0.0006)
            assert half == pytest.approx(2.776445 * statistics.stdev(own) / 5**0.5, abs=0.0006)
    assert [point[:2] for point in series["margin"]["published"]] == [
        [100, 70.0],
        [200, 81.0],
        [300, 84.0],
    ]
    assert series["entropy"]["ours"] == [] and len(series["entropy"]["published"]) == 3
    (margin,) = [one for one in gain["series"] if one["ours"]]
    assert margin["name"] == "margin"
    assert [point[:2] for point in margin["published"]] == [[100, 0.0], [200, 1.0], [300, -1.0]]
    last = [
        one - other
        for one, other in zip(
            values(judged, "margin", 300), values(judged, "random", 300), strict=True
        )
    ]
    assert margin["ours"][-1][1] == pytest.approx(statistics.mean(last), abs=0.0006)


def test_one_trial_has_no_interval_and_one_size_no_figure(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, [])
    rows = toy.trials(seeds=[0])
    found = figure.suite_figure(suite, judge_suite(suite, rows), rows)
    assert found is not None
    assert all(point[2] is None for one in found["views"][0]["series"] for point in one["ours"])
    first = [row for row in rows if row.labelled == 100]
    assert figure.suite_figure(suite, judge_suite(suite, first), first) is None


def test_values_cannot_leave_their_element() -> None:
    text = figure.values_text({"name": "</script><b>&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": "</script><b>&"}


def test_the_figure_of_a_method_needs_two_suites() -> None:
    points = [Point(10, 1.0, 0.5, 3), Point(20, 2.0, float("nan"), 1)]
    assert figure.gains_figure("one", {"toy/one": points}) is None
    assert figure.gains_figure("one", {"toy/one": points, "toy/two": []}) is None
    found = figure.gains_figure("two", {"toy/one": points, "toy/two": points})
    assert found is not None
    assert found["views"][0]["series"][0]["ours"] == [[10, 1.0, 0.5, 3], [20, 2.0, None, 1]]


@pytest.mark.slow
def test_a_page_stays_small_at_twelve_thousand_measurements(tmp_path: Path) -> None:
    """20 methods at 12 sizes with 50 seeds, and a published number for each method and size."""
    sizes, random = range(100, 1300, 100), np.random.default_rng(0)
    levels = {f"method-{at}": 60 + 2.0 * np.arange(12) + 0.1 * at for at in range(20)}
    methods = [
        f'[methods.{name}]\ntitle = "{name}"\nstrategy = {{ name = "random" }}\n' for name in levels
    ]
    suite = toy.suite(tmp_path, [], more="\n".join(methods))
    text = (
        suite.path.read_text()
        .replace("cycles = 3", "cycles = 12")
        .replace("train_size = 1000", "train_size = 2000")
    )
    suite.path.write_text(text)
    table = ["method,labelled,metric,mean,n,source,reading_error,role"]
    table += [
        f"{name},{size},accuracy,{value:.2f},3,Table 1,0.1,target"
        for name, curve in levels.items()
        for size, value in zip(sizes, curve, strict=True)
    ]
    rows = [dict(zip(table[0].split(","), line.split(","), strict=True)) for line in table[1:]]
    cells = [",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows]
    reported = "\n".join([",".join(COLUMNS), *cells]) + "\n"
    suite.path.with_name("digits.reported.csv").write_text(reported)
    suite = load_suite(suite.path, tmp_path)
    measured = [
        row
        for name, curve in levels.items()
        for seed in range(50)
        for row in toy.trial(name, seed, curve + random.standard_normal(12), sizes=sizes)
    ]
    assert len(measured) == 12_000
    judgement = judge_suite(suite, measured)
    assert len([item for item in judgement.numbers if item.decides]) == 240
    reports.write(tmp_path / "report", suite, judgement, measured, "", {})
    size = (tmp_path / "report/report.html").stat().st_size
    assert 100_000 < size < LARGEST
