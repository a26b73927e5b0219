"""The first screen: counts, differences and what is missing are those of the verdicts, cell by
cell."""

from __future__ import annotations

from dataclasses import replace

from benchmark.reports import html, overview
from benchmark.spec.suite import OURS
from benchmark.verdicts.results import SuiteVerdict, VerdictKind
from tests.reports.conftest import Judged


def test_tiles_count_every_verdict_once(judged: Judged) -> None:
    groups = overview.verdict_tiles(judged.judgement)
    numbers = [item.verdict.kind for item in judged.judgement.numbers if item.decides]
    outcomes = [claim.outcome for claim in judged.judgement.claims]
    assert list(groups) == [f"{len(numbers)} published numbers", f"{len(outcomes)} claims"]
    for tiles, kinds in zip(groups.values(), (numbers, outcomes), strict=True):
        counted = {tile.kind: tile.count for tile in tiles}
        assert counted == {str(kind).replace("_", " "): kinds.count(kind) for kind in set(kinds)}


def test_questions_of_this_project_are_no_claims(judged: Judged) -> None:
    first, second = judged.judgement.claims
    asked = replace(judged.judgement, claims=(first, replace(second, source=f"{OURS}: a question")))
    groups = overview.verdict_tiles(asked)
    assert list(groups) == ["9 published numbers", "1 claim", "1 question of this project"]
    assert [(tile.kind, tile.count) for tile in groups["1 claim"]] == [
        (str(first.outcome).replace("_", " "), 1)
    ]
    (row,) = [
        row for row in html.claim_rows([html.Page(asked, "digits")]) if row["id"] == second.id
    ]
    assert row["text"] == f"{second.text} (a question of this project)"


def test_claims_with_the_same_verdict_stand_together_and_each_once(judged: Judged) -> None:
    claims = judged.judgement.claims
    twice = [*claims, *claims]
    groups = overview.claim_groups(twice)
    assert len(groups) == len({(claim.outcome, claim.reason) for claim in claims})
    assert sorted(index for held in groups.values() for index, _ in held) == list(
        range(1, len(twice) + 1)
    )
    for (kind, text), held in groups.items():
        assert all(str(claim.outcome) == kind and claim.reason in text for _, claim in held)
        assert all(claim is twice[index - 1] for index, claim in held)


def test_cells_hold_differences_where_there_is_something_to_compare(judged: Judged) -> None:
    matrix = overview.verdict_matrix(judged.judgement)
    rows = dict(matrix.rows)
    assert matrix.compared and matrix.sizes == (100, 200, 300)
    for item in judged.judgement.numbers:
        if not item.decides:
            continue
        cell = rows[item.method][matrix.sizes.index(item.labelled or 0)]
        assert cell.kind == str(item.verdict.kind).replace("_", " ")
        if item.estimate is not None and item.estimate.difference is not None:
            assert float(cell.text) == round(item.estimate.difference, 1)
            assert cell.sign and f"n={item.estimate.n}" in cell.title
        else:
            assert cell.text == ""


def test_means_stand_where_nothing_is_compared(judged: Judged) -> None:
    bare = replace(judged.judgement, numbers=(), curves=(), claims=())
    matrix = overview.verdict_matrix(bare)
    assert not matrix.compared
    means = {(cell.method, cell.labelled): cell.mean for cell in bare.cells}
    for method, cells in matrix.rows:
        for size, cell in zip(matrix.sizes, cells, strict=True):
            assert float(cell.text) == round(means[method, size], 2)
    assert overview.verdict_tiles(bare) == {}


def test_what_is_missing_comes_with_the_command_that_fills_it(judged: Judged) -> None:
    text, command = overview.missing_text(
        judged.judgement, {"Run what is missing": "albench run toy/digits"}
    )
    assert "Missing: 3 published numbers without a measurement; no trial of entropy." in text
    assert command == "albench run toy/digits"
    whole = _without(judged.judgement, VerdictKind.MISSING, VerdictKind.INCONCLUSIVE)
    assert overview.missing_text(whole, {"Compare": "albench compare toy/digits"}) == ("", "")


def _without(judgement: SuiteVerdict, *kinds: VerdictKind) -> SuiteVerdict:
    kept = tuple(item for item in judgement.numbers if item.verdict.kind not in kinds)
    return replace(judgement, numbers=kept, missing=())
