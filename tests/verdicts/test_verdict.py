"""Verdicts on suites written from strings, with measurements made to order."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import Exit, SuiteError, UsageError
from benchmark.spec.load import find_suite
from benchmark.spec.suite import Component
from benchmark.verdicts import stats
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import SuiteVerdict, VerdictKind, decide_verdict
from tests.helpers import toy_suite as toy


def kinds(judgement: SuiteVerdict) -> set[VerdictKind]:
    return {number.verdict.kind for number in judgement.numbers if number.decides}


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (-0.9, 0.9, "reproduced"),
        (0.2, 0.9, "reproduced"),
        (-1.0, 0.9, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (1.0, 2.0, "inconclusive"),
        (1.01, 2.0, "above"),
        (-2.0, -1.01, "below"),
        (-5.0, 5.0, "inconclusive"),
    ],
)
def test_where_the_interval_lies(low: float, high: float, kind: str) -> None:
    assert decide_verdict(low, high, 1.0) == kind


@pytest.mark.parametrize(
    ("shift", "kind", "code"),
    [
        (0.0, VerdictKind.REPRODUCED, Exit.OK),
        (2.0, VerdictKind.ABOVE, Exit.DISCREPANCY),
        (-2.0, VerdictKind.BELOW, Exit.DISCREPANCY),
    ],
)
def test_the_papers_numbers_with_noise_and_shifted(
    tmp_path: Path, shift: float, kind: VerdictKind, code: Exit
) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(noise=0.2, shift=shift))
    assert kinds(found) == {kind}
    assert {curve.verdict.kind for curve in found.curves} == {kind}
    assert len(found.numbers) == 9
    assert len(found.curves) == 3
    assert found.exit_code is code


def test_one_trial_is_inconclusive_and_says_how_many_are_needed(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path, toy.reported(sd=0.6, n=10)), toy.trials(seeds=[0]))
    assert kinds(found) == {VerdictKind.INCONCLUSIVE}
    assert found.exit_code is Exit.INCONCLUSIVE
    needed = stats.needed_trials(0.6, 1.0, 0.05, other_se=0.6 / math.sqrt(10), other_df=9)
    assert {number.estimate and number.estimate.needed for number in found.numbers} == {needed}
    assert needed is not None
    assert needed > 3
    assert found.numbers[0].verdict.reason == "1 of at least 3 trials"


def test_needed_without_any_published_spread_is_that_of_the_other_methods(tmp_path: Path) -> None:
    rows = [*toy.trial("random", 0, [70, 80, 85]), *toy.trials({"margin": (70, 83, 90)}, noise=0.9)]
    found = judge_suite(toy.suite(tmp_path), rows, methods=["random", "margin"])
    first = next(number for number in found.numbers if number.method == "random")
    other = next(number for number in found.numbers if number.method == "margin")
    assert first.estimate is not None
    assert other.estimate is not None
    assert (
        first.estimate.needed
        == judge_suite(
            toy.suite(tmp_path, toy.reported(sd=other.estimate.sd)),
            toy.trials(seeds=[0]),
            methods=["random"],
        )
        .numbers[0]
        .estimate.needed
    )  # type: ignore[union-attr]
    alone = judge_suite(toy.suite(tmp_path), toy.trials(seeds=[0]))
    assert alone.numbers[0].estimate is not None
    assert alone.numbers[0].estimate.needed == 3, "with no spread at all, the rule's minimum"


def test_two_perfect_trials_of_three_are_not_enough(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(seeds=[0, 1], noise=0.0))
    assert {str(number.verdict) for number in found.numbers} == {
        "inconclusive(2 of at least 3 trials)"
    }


def test_published_spread_widens_and_reading_error_widens(tmp_path: Path) -> None:
    rows = toy.trials(noise=0.2)
    plain, spread, read = (
        judge_suite(toy.suite(tmp_path, table), rows).numbers[0].estimate
        for table in (toy.reported(), toy.reported(sd=0.5, n=3), toy.reported(error=0.3))
    )
    assert plain and spread and read and plain.low and plain.high
    assert spread.low < plain.low and spread.high > plain.high  # type: ignore[operator]
    assert (read.low, read.high) == pytest.approx((plain.low - 0.3, plain.high + 0.3))
    assert (spread.reference_sd, spread.reference_n) == (0.5, 3)


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({}, "published without a spread"),
        ({"dispersion": 0.5, "dispersion_kind": "undefined"}, "without a definition"),
        ({"dispersion": 0.5, "dispersion_kind": "sd"}, "without a number of trials"),
        ({"dispersion": 0.5, "dispersion_kind": "se"}, "number of published trials unknown"),
        ({"dispersion": 0.5, "dispersion_kind": "se", "n": 4}, None),
        ({"dispersion": 0.5, "dispersion_kind": "ci95", "n": 4}, None),
    ],
)
def test_every_kind_of_published_spread(tmp_path: Path, row: dict, note: str | None) -> None:
    table = [{**toy.reported({"random": (70, 80, 85)})[0], **row}]
    number = judge_suite(toy.suite(tmp_path, table), toy.trials()).numbers[0]
    assert number.estimate is not None
    assert number.estimate.p_equivalent is not None
    published = [text for text in number.notes if "publish" in text]
    assert (len(published) == 1 and note in published[0]) if note else not published
    if row.get("dispersion_kind") == "se" and "n" in row:
        assert number.estimate.reference_sd == pytest.approx(1.0)
    if row.get("dispersion_kind") == "ci95":
        assert number.estimate.reference_sd == pytest.approx(2 * 0.5 / 3.182, rel=1e-3)


def test_a_number_read_worse_than_the_margin_is_never_reproduced(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path, toy.reported(error=1.0)), toy.trials(noise=0.01))
    assert kinds(found) == {VerdictKind.INCONCLUSIVE}
    assert "cannot be read" in found.numbers[0].verdict.reason
    assert found.numbers[0].estimate is not None
    assert found.numbers[0].estimate.needed is None


def test_only_targets_decide(tmp_path: Path) -> None:
    wrong = toy.reported({"random": (10.0, 20.0, 30.0)}, role="context")
    other = toy.reported({"CoreGCN": (70.0, 80.0, 85.0)}, role="external")
    weak = toy.reported({"margin": (70.0, 83.0, 90.0)}, role="target_weak")
    found = judge_suite(toy.suite(tmp_path, [*wrong, *other, *weak]), toy.trials())
    assert {number.method for number in found.numbers} == {"random", "margin", "CoreGCN"}
    assert kinds(found) == {VerdictKind.REPRODUCED}
    beside = [number for number in found.numbers if not number.decides]
    assert {(number.method, str(number.verdict)) for number in beside} == {
        ("random", "above"),
        ("CoreGCN", "not_comparable(no method of this suite)"),
    }
    assert {curve.method for curve in found.curves} == {"margin"}
    assert found.exit_code is Exit.OK


def test_missing_methods_and_cycles(tmp_path: Path) -> None:
    rows = [
        row
        for row in toy.trials({"random": (70, 80, 85), "margin": (70, 83, 90)})
        if row.method == "random" or row.cycle < 2
    ]
    found = judge_suite(toy.suite(tmp_path), rows)
    verdicts = {(number.method, number.labelled): str(number.verdict) for number in found.numbers}
    assert verdicts["entropy", 100] == "missing(no trial)"
    assert verdicts["margin", 300] == "missing(no trial got this far)"
    assert verdicts["margin", 200] == "reproduced"
    assert found.missing == ("entropy",)
    assert found.exit_code is Exit.NOT_MEASURED
    asked = judge_suite(toy.suite(tmp_path), rows, methods=["random"])
    assert (asked.missing, asked.exit_code) == ((), Exit.OK)
    partial = next(curve for curve in found.curves if curve.method == "margin")
    assert partial.labelled == (100, 200)
    assert "2 of 3 published sizes" in partial.notes


def test_a_metric_nobody_measured(tmp_path: Path) -> None:
    table = [{**toy.reported()[0], "metric": "accuracy/top5"}]
    found = judge_suite(toy.suite(tmp_path, table), toy.trials())
    assert str(found.numbers[0].verdict) == "missing(no trial measured 'accuracy/top5')"


def test_nothing_measured(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), [])
    assert kinds(found) == {VerdictKind.MISSING}
    assert found.exit_code is Exit.NOT_MEASURED
    assert "nothing was measured" in found.notes
    empty = judge_suite(toy.suite(tmp_path, []), [])
    assert empty.exit_code is Exit.NOT_MEASURED


def test_a_discrepancy_outweighs_what_is_missing(tmp_path: Path) -> None:
    assert (
        judge_suite(toy.suite(tmp_path), toy.trials({"random": (75, 85, 90)})).exit_code
        is Exit.DISCREPANCY
    )


def test_numbers_that_the_protocol_never_reaches(tmp_path: Path) -> None:
    base = toy.reported()[0]
    found = judge_suite(
        toy.suite(tmp_path, [{**base, "labelled": 5000}, {**base, "labelled": None}, base]),
        toy.trials(),
    )
    reasons = [number.verdict.reason for number in found.numbers]
    assert reasons == [
        "the pinned protocol never has 5000 labels",
        "no number of labels is published with it",
        "",
    ]
    assert found.exit_code is Exit.OK


def test_other_profiles_are_not_compared(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, more=toy.claim("margin", "random"))
    rows = toy.trials(seeds=[0], shift=-30.0, profile="smoke")
    found = judge_suite(suite, rows, profile="smoke")
    assert {str(number.verdict) for number in found.numbers} == {
        "not_comparable(profile smoke is not the published protocol)"
    }
    assert found.claims[0].outcome == "not_testable"
    assert not found.curves
    assert found.exit_code is Exit.OK
    assert any("nothing was compared" in note for note in found.notes)
    assert {cell.method for cell in found.cells} == {"random", "margin", "entropy"}
    assert judge_suite(suite, rows).exit_code is Exit.NOT_MEASURED, (
        "smoke trials never answer for the paper profile"
    )


def test_a_part_of_the_protocol_is_compared_where_it_measured(tmp_path: Path) -> None:
    part = (
        '[profiles.first]\nnote = "one size"\npart = true\nset = { "protocol.acquisition.cycles" = '
        "1 }"
    )
    suite = toy.suite(tmp_path, more=toy.claim("margin", "random") + part)
    rows = [row for row in toy.trials(profile="first") if row.labelled == 100]
    found = judge_suite(suite, rows, profile="first")
    said = {
        number.labelled: str(number.verdict)
        for number in found.numbers
        if number.method == "margin"
    }
    assert (
        said[100] == "reproduced"
        and said[200] == "not_comparable(the pinned protocol never has 200 labels)"
    )
    assert found.claims[0].outcome == "not_testable" and not found.curves and found.kendall is None


def test_a_part_changes_nothing_that_it_measures(tmp_path: Path) -> None:
    part = (
        '[profiles.first]\nnote = "fewer epochs"\npart = true\nset = { "protocol.training.epochs" '
        "= 1 }"
    )
    with pytest.raises(SuiteError, match=r"cannot change protocol\.training\.epochs"):
        toy.suite(tmp_path, more=part)


def test_the_mean_over_a_part_of_the_models_is_not_the_published_mean() -> None:
    suites = Path(__file__).parents[2] / "suites"
    rows = [
        Measurement(
            "diam/mnist",
            "random",
            "smallest",
            "as_published",
            0,
            0,
            3000,
            {"accuracy": 90.0, "accuracy/model3": 84.0, "accuracy/model11": 88.0},
            "t",
            "env",
            "device",
            True,
            "",
            "t",
        )
    ]
    found = judge_suite(find_suite("diam/mnist", suites), rows, profile="smallest")
    beside = {(number.labelled, number.metric) for number in found.numbers if not number.decides}
    assert beside == {(3000, "accuracy/model3"), (3000, "accuracy/model11")}
    said = {number.metric: number.verdict for number in found.numbers if number.labelled == 3000}
    assert str(said["accuracy"]) == "not_comparable(only 2 of 12 models are trained)"
    assert (
        said["accuracy/model3"].kind is said["accuracy/model11"].kind is VerdictKind.INCONCLUSIVE
    ), "one trial decides nothing"


def test_unknown_profiles_and_variants_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no profile"):
        judge_suite(toy.suite(tmp_path), [], profile="huge")
    with pytest.raises(UsageError, match="no variant"):
        judge_suite(toy.suite(tmp_path), [], variant="mine")


def test_another_variant_is_compared_and_said(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(variant="corrected"), variant="corrected")
    assert kinds(found) == {VerdictKind.REPRODUCED}
    assert all(
        any("variant corrected" in note for note in number.notes) for number in found.numbers
    )


def test_an_empty_table_leaves_the_claims(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, [], more=toy.claim("margin", "random"))
    found = judge_suite(suite, toy.trials())
    assert {str(number.verdict) for number in found.numbers} == {
        "not_comparable(no published number)"
    }
    assert {number.estimate and number.estimate.n for number in found.numbers} == {5}
    assert [claim.outcome for claim in found.claims] == ["holds"]
    assert found.exit_code is Exit.OK


def test_devices_are_not_mixed_unless_the_rule_allows_it(tmp_path: Path) -> None:
    rows = [
        replace(row, device_model="gpu-b") if row.seed == 0 and row.method == "margin" else row
        for row in toy.trials()
    ]
    found = judge_suite(toy.suite(tmp_path, more=toy.claim("margin", "random")), rows)
    by_method = {number.method: str(number.verdict) for number in found.numbers}
    assert by_method["margin"] == "not_comparable(trials ran on different devices: cpu-a, gpu-b)"
    assert by_method["random"] == "reproduced"
    assert {curve.method: curve.verdict.kind for curve in found.curves}[
        "margin"
    ] is VerdictKind.NOT_COMPARABLE
    assert found.claims[0].outcome == "not_testable"
    assert found.penalties == ()
    assert all(row.gain is None for row in found.standings)
    assert found.exit_code is Exit.NOT_MEASURED
    mixed = judge_suite(toy.suite(tmp_path, rule="mix_devices = true"), rows)
    assert mixed.exit_code is Exit.OK


def test_other_data_are_said_in_every_line_and_never_mixed(tmp_path: Path) -> None:
    suite = toy.suite(tmp_path, more=toy.claim("margin", "random"))
    found = judge_suite(suite, toy.trials(note="90 of 101 classes"))
    lines = [*found.numbers, *found.curves, *found.claims]
    assert all("not the published data: 90 of 101 classes" in line.notes for line in lines)
    assert kinds(found) == {VerdictKind.REPRODUCED}
    half = judge_suite(
        suite, [*toy.trials(seeds=[0, 1]), *toy.trials(seeds=[2, 3], note="a subset")]
    )
    assert all("different data" in number.verdict.reason for number in half.numbers)
    assert half.exit_code is Exit.NOT_MEASURED


def test_unknown_values_are_said_in_every_line(tmp_path: Path) -> None:
    unknown = '[unknowns]\n"protocol.training.epochs" = "the paper does not say"\n'
    found = judge_suite(
        toy.suite(tmp_path, more=toy.claim("margin", "random") + unknown), toy.trials()
    )
    for line in [*found.numbers, *found.curves, *found.claims]:
        assert "no source establishes protocol.training.epochs" in line.notes


def test_a_trial_answered_twice_counts_once(tmp_path: Path) -> None:
    twice = toy.trials(env="env-a") + [
        row for row in toy.trials(env="env-b", rng=9) if row.seed < 2
    ]
    found = judge_suite(toy.suite(tmp_path), twice)
    once = judge_suite(toy.suite(tmp_path), toy.trials(env="env-a"))
    assert found.numbers == once.numbers
    assert any("each is counted once" in note for note in found.notes)
    assert found.environments == ("env-a",)


def test_other_suites_are_ignored(tmp_path: Path) -> None:
    rows = toy.trials() + toy.trials(shift=9.0, suite="toy/other")
    assert (
        judge_suite(toy.suite(tmp_path), rows).numbers
        == judge_suite(toy.suite(tmp_path), toy.trials()).numbers
    )


def test_fewer_trials_than_planned_are_said(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(seeds=range(4)))
    assert all("4 of 5 planned trials" in number.notes for number in found.numbers)


def test_a_method_of_ones_own_stands_beside_the_papers(tmp_path: Path) -> None:
    rows = toy.trials() + toy.trials({"mine.py:Mine": (70, 84, 91)}, rng=5)
    found = judge_suite(toy.suite(tmp_path), rows)
    assert found.exit_code is Exit.OK
    mine = next(row for row in found.standings if row.method == "mine.py:Mine")
    assert (mine.control, mine.rank) == ("random", 1.0)
    assert mine.gain == pytest.approx(3.5, abs=0.4)
    assert mine.gain_low is not None
    assert mine.gain_low > 2
    assert "mine.py:Mine" in found.penalty_methods


def test_standings_and_agreement(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials())
    assert [row.method for row in found.standings] == ["margin", "entropy", "random"]
    assert [row.control for row in found.standings] == ["random", "random", ""]
    assert found.kendall is not None
    assert found.kendall[0] == pytest.approx(1.0)
    # The method reaches random's final 85 between 200 (83) and 300 (90): at about 229 labels.
    assert found.standings[0].saved == pytest.approx(300 - (200 + 100 * 2 / 7), abs=4)
    reverse = judge_suite(
        toy.suite(tmp_path),
        toy.trials({"random": (72, 88, 93), "margin": (70, 80, 85), "entropy": (70, 83, 88)}),
    )
    assert reverse.kendall is not None
    assert reverse.kendall[0] == pytest.approx(-1.0)


def test_the_judgement_is_plain_json(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path, more=toy.claim("margin", "random")), toy.trials())
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["exit_code"] == 0
    assert plain["numbers"][0]["verdict"]["kind"] == "reproduced"
    assert plain["rule"]["margin"] == 1.0
    assert plain["claims"][0]["outcome"] == "holds"


def test_order_of_measurements_does_not_matter(tmp_path: Path) -> None:
    rows = toy.trials()
    assert judge_suite(toy.suite(tmp_path), rows) == judge_suite(toy.suite(tmp_path), rows[::-1])


def test_what_was_asked_for_still_stands_against_random(tmp_path: Path) -> None:
    found = judge_suite(toy.suite(tmp_path), toy.trials(), methods=["margin"])
    gains = {row.method: (row.control, row.gain) for row in found.standings}
    assert gains["random"] == ("", None)
    assert gains["margin"][0] == "random"
    assert gains["margin"][1] == pytest.approx(
        2.75, abs=0.4
    )  # areas (2 * 83 + 70 + 90) / 4 and (2 * 80 + 70 + 85) / 4
    assert {number.method for number in found.numbers} == {"margin"}
    assert {cell.method for cell in found.cells} == {"margin"}
    assert found.missing == ()


def test_a_guest_is_held_against_random_with_its_own_training(tmp_path: Path) -> None:
    cod = {"name": "cod", "params": {"weight": 0.02}}
    more = (
        '[methods."random+cod"]\ntitle = "Random, COD"\nstrategy = { name = "random" }\n'
        'objective = { name = "cod", params = { weight = 0.02 } }\n'
    )
    suite = toy.suite(tmp_path, [], more=more)
    curves = {
        "random": (70, 80, 85),
        "random+cod": (71, 82, 88),
        "Mine+cod": (71, 84, 90),
        "Mine": (70, 81, 86),
    }
    guests = {"Mine": Component(name="supervised"), "Mine+cod": Component.model_validate(cod)}
    found = judge_suite(suite, toy.trials(curves), methods=["Mine", "Mine+cod"], external=guests)
    assert {row.method: row.control for row in found.standings} == {
        "random": "",
        "random+cod": "",
        "Mine": "random",
        "Mine+cod": "random+cod",
    }
