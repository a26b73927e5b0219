"""Target models as an axis: fed with the authors' own numbers, their table, their figure and their
claims come out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from benchmark.reports import formatting, markdown, plots
from benchmark.reports.html import Page, index_page
from benchmark.reports.leaderboard import make_leaderboard, model_tables
from benchmark.spec.load import SuiteFile, find_suite, load_suite, suite_files
from benchmark.spec.published import TARGETS
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.ranking import curve_area
from benchmark.verdicts.results import ClaimOutcome, SuiteVerdict, VerdictKind

SUITES = Path(__file__).parents[2] / "suites"
DIAM = sorted(path.stem for path in (SUITES / "diam").glob("*mnist*.toml"))


def authors(suite: SuiteFile, seeds: int = 3, scatter: float = 0.0) -> list[Measurement]:
    """The authors' own numbers as trials that scatter over seeds and whose means over seeds are
    those numbers."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in suite.reported:
        if row.labelled is not None and row.mean is not None:
            found.setdefault((row.method, row.labelled), {})[row.metric] = row.mean
    shifts = [scatter * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    sizes = suite.suite.protocol.acquisition.labelled()
    return [
        Measurement(
            suite.id,
            method,
            "paper",
            "as_published",
            seed,
            sizes.index(size),
            size,
            {
                name: value + shift * (1 + (len(name) + 3 * len(method)) % 5 / 10)
                for name, value in metrics.items()
            },
            f"{method}-{seed}",
            "env",
            "cpu",
            canonical=True,
            data_note="",
            record_digest=f"{method}-{seed}",
        )
        for (method, size), metrics in found.items()
        for seed, shift in enumerate(shifts)
        if size in sizes
    ]


@pytest.fixture(scope="module")
def mnist() -> tuple[SuiteFile, SuiteVerdict, list[Measurement]]:
    suite = find_suite("diam/mnist", SUITES)
    rows = authors(suite, seeds=5, scatter=0.02)
    return suite, judge_suite(suite, rows), rows


def published_curve(suite: SuiteFile, method: str, metric: str = "accuracy") -> np.ndarray:
    own = {
        row.labelled: row.value
        for row in suite.reported
        if (row.method, row.metric) == (method, metric)
    }
    return np.array([own[size] for size in suite.suite.protocol.acquisition.labelled()])


RIVALS = ("random", "cal", "margin", "entropy", "least_conf", "coreset")


def trial_means(rows: list[Measurement], method: str, place: int) -> list[float]:
    return [
        float(
            np.mean(
                [
                    row.metrics[f"accuracy/model{place}"]
                    for row in rows
                    if (row.method, row.seed) == (method, seed)
                ]
            )
        )
        for seed in range(5)
    ]


@pytest.mark.parametrize("name", DIAM)
def test_every_headline_is_what_its_rule_gives(name: str) -> None:
    suite = find_suite(f"diam/{name}", SUITES)
    found = re.match(
        r"([\d.]+) % DIAM against ([\d.]+) % random: mean over (\d+) models and (\d+) rounds",
        suite.suite.headline,
    )
    assert found is not None
    sizes = suite.suite.protocol.acquisition.labelled()
    for method, said in (("diam", found[1]), ("random", found[2])):
        one = float(curve_area(sizes, published_curve(suite, method), suite.suite.rule.curve))
        assert f"{one:.2f}" == said
        singles = [
            published_curve(suite, method, f"accuracy/model{place}")
            for place in range(int(found[3]))
        ]
        assert float(np.mean(singles)) == pytest.approx(one, abs=0.005)
    assert int(found[3]) == len(suite.suite.protocol.models)
    assert int(found[4]) == len(sizes)


LABELS = re.compile(r"([\d.]+) % test accuracy at ([\d,]+) labels")
WITHOUT = (
    "none: compared with our own",
    "none: compares methods with each other",
    "no number is in the abstract, ",
)


@pytest.mark.parametrize(
    "path", list(suite_files(SUITES)), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_other_headline_is_a_published_number(path: Path) -> None:
    suite = load_suite(path, SUITES)
    headline = suite.suite.headline
    if suite.id.startswith("diam/") or headline.startswith(WITHOUT):
        return
    found = LABELS.match(headline)
    assert found is not None, headline
    digits = len(found[1].partition(".")[2])
    values = [
        row.value
        for row in suite.reported
        if row.labelled == int(found[2].replace(",", "")) and row.mean is not None
    ]
    assert found[1] in {f"{value:.{digits}f}" for value in values}


def test_the_authors_numbers_are_all_reproduced_with_their_headline(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    _, found, _ = mnist
    assert set(found.counts()) == {VerdictKind.REPRODUCED}
    assert {curve.verdict.kind for curve in found.curves} == {VerdictKind.REPRODUCED}
    rows = {row.method: row for row in found.models}
    assert [f"{rows[name].mean:.2f}" for name in ("diam", "random")] == ["97.34", "97.03"]
    assert {standing.method: round(standing.area, 2) for standing in found.standings}[
        "diam"
    ] == 97.34
    assert [row.method for row in found.models if row.best] == ["diam"]
    assert rows["diam"].wins == rows["diam"].published_wins == 12


def test_spread_over_models_is_kept_apart_from_spread_over_seeds(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    suite, found, rows = mnist
    grid = np.array(
        [published_curve(suite, "diam", f"accuracy/model{place}") for place in range(12)]
    )
    # the official table script: per round the population s.d. over models, then the mean over
    # rounds
    by_hand = np.mean([np.sqrt(np.mean((column - column.mean()) ** 2)) for column in grid.T])
    (row,) = [row for row in found.models if row.method == "diam"]
    assert row.over_models == pytest.approx(by_hand)
    assert row.published_over_models == pytest.approx(by_hand)
    by_seed = [
        np.mean(
            [one.metrics["accuracy"] for one in rows if (one.method, one.seed) == ("diam", seed)]
        )
        for seed in range(5)
    ]
    assert row.over_seeds == pytest.approx(np.std(by_seed, ddof=1))
    assert row.over_seeds < 0.1 < row.over_models


def test_claims_on_labels_and_on_every_model_are_judged(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    suite, found, rows = mnist
    claims = {claim.id: claim for claim in found.claims}
    (reach,) = claims["C3"].budgets
    gap = published_curve(suite, "diam")[6] - published_curve(suite, "random")[10]
    assert (reach.labelled, reach.difference, reach.published) == (
        12_000,
        pytest.approx(gap),
        pytest.approx(gap),
    )
    assert claims["C4"].outcome is ClaimOutcome.HOLDS
    assert claims["C4"].reason == "significant at all 12 models"
    for test in claims["C4"].budgets:
        place, rival = re.fullmatch(r"model (\d+) against (\S+)", test.what).groups()  # type: ignore[union-attr]
        ours = trial_means(rows, "diam", place)
        theirs = {name: trial_means(rows, name, place) for name in RIVALS}
        least = min(RIVALS, key=lambda name: ttest_rel(ours, theirs[name]).statistic)
        assert rival == least
        assert test.difference == pytest.approx(np.mean(ours) - np.mean(theirs[least]))
        assert test.p == pytest.approx(ttest_rel(ours, theirs[least]).pvalue)
        printed = published_curve(suite, "diam", f"accuracy/model{place}")
        assert test.published == pytest.approx(
            (printed - published_curve(suite, rival, f"accuracy/model{place}")).mean()
        )
    worse = [
        Measurement(
            **(vars(row) | {"metrics": dict(row.metrics) | {"accuracy/model5": 50.0 + row.seed}})
        )
        if row.method == "diam"
        else row
        for row in rows
    ]
    broken = {claim.id: claim for claim in judge_suite(suite, worse).claims}["C4"]
    assert broken.outcome is ClaimOutcome.REFUTED
    assert "model 5 against" in broken.reason


def test_a_claim_about_every_model_needs_all_its_rivals(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    suite, _, rows = mnist
    found = judge_suite(suite, [row for row in rows if row.method != "cal"])
    (claim,) = [claim for claim in found.claims if claim.id == "C4"]
    assert claim.outcome is ClaimOutcome.MISSING
    assert "cal" in claim.reason


def test_single_models_are_one_line_per_method(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    suite, found, rows = mnist
    lines = formatting.single_rows(found)
    assert [line[0] for line in lines] == list(dict.fromkeys(item.method for item in found.numbers))
    assert {line[3] for line in lines} == {"132"}
    text = markdown.render(suite, found)
    assert "accuracy/model" not in text
    assert len(text.splitlines()) < 300
    without = judge_suite(
        suite, [row for row in rows if row.method == "random" and row.labelled == 3000]
    )
    assert [line[0] for line in formatting.single_rows(without)] == ["random"]
    assert formatting.single_rows(judge_suite(suite, [])) == []


def test_the_official_table_has_a_column_per_number_of_models() -> None:
    found = []
    for name in ("mnist", "mnist-2"):
        suite = find_suite(f"diam/{name}", SUITES)
        found.append(judge_suite(suite, authors(suite, scatter=0.02)))
    (table,) = model_tables(found)
    assert table.heads == ("method", "2 models", "12 models")
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["diam"][0].startswith("98.16 ± ")
    assert cells["diam"][1].startswith("97.34 ± ")
    assert all("★ ✓" in cell for cell in cells["diam"])
    assert not any("★" in cell for cell in cells["random"])
    assert all("(97." in cell for cell in cells["random"])
    page = index_page([Page(one, "mnist") for one in found], make_leaderboard(found))
    assert page.count('<th scope="row">diam</th>') >= 1
    assert f'<td class="number">{cells["diam"][1]}</td>' in page


def test_the_figure_has_the_spread_over_models(
    mnist: tuple[SuiteFile, SuiteVerdict, list[Measurement]],
) -> None:
    suite, found, rows = mnist
    pictures = {picture.name: picture for picture in plots.draw_pictures(suite, found, rows)}
    assert set(pictures) == {"curves", "gain", "models"}
    assert b"mean accuracy over 12 models" in pictures["models"].svg
    assert b"mean accuracy over 12 models" in pictures["curves"].svg


def test_two_numbers_of_a_row_are_means_over_the_same_models() -> None:
    """Of a part with two models: the published mean over these two, not the printed one over
    twelve."""
    suite = find_suite("diam/mnist", SUITES)
    rows = [
        replace(
            row,
            profile="smallest",
            metrics={
                name: row.metrics[name] for name in row.metrics if name[14:] in ("3", "11", "")
            },
        )
        for row in authors(suite)
        if (row.method, row.labelled) == ("random", 3000)
    ]
    rows = [replace(row, metrics={**row.metrics, "accuracy": (84.56 + 88.17) / 2}) for row in rows]
    (row,) = judge_suite(suite, rows, profile="smallest").models
    singles = [published_curve(suite, "random", f"accuracy/model{place}")[0] for place in (3, 11)]
    assert row.models == 2
    assert row.published == pytest.approx(np.mean(singles))
    assert row.published_over_models == pytest.approx(np.std(singles))


def test_published_target_rows_are_means_over_models() -> None:
    suite = find_suite("diam/mnist", SUITES)
    assert {row.metric for row in suite.reported if row.role in TARGETS} == {"accuracy"}
