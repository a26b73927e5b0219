"""The answer of a report on one screen: counts of verdicts, methods by budgets, claims, what is
missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.reports import formatting
from benchmark.verdicts.results import (
    ClaimOutcome,
    ClaimVerdict,
    NumberVerdict,
    SuiteVerdict,
    VerdictKind,
)

WORDS = {
    VerdictKind.REPRODUCED: "equal within the margin",
    VerdictKind.ABOVE: "above by more than the margin",
    VerdictKind.BELOW: "below by more than the margin",
    VerdictKind.INCONCLUSIVE: "too few trials for a verdict",
    VerdictKind.NOT_COMPARABLE: "measured, but not comparable",
    VerdictKind.MISSING: "not measured",
}
CLAIM_WORDS = {
    ClaimOutcome.HOLDS: "shown by our trials",
    ClaimOutcome.REFUTED: "our trials show the contrary",
    ClaimOutcome.INCONCLUSIVE: "too few trials to say",
    ClaimOutcome.MISSING: "not measured",
    ClaimOutcome.NOT_TESTABLE: "this run cannot test it",
}


@dataclass(frozen=True)
class Tile:
    """How many numbers or claims got one verdict."""

    count: int
    kind: str
    sign: str
    words: str


@dataclass(frozen=True)
class MatrixCell:
    """One method at one number of labels."""

    text: str
    """Our mean minus the published one in points, or our mean where nothing is compared; empty
    where nothing was measured."""
    kind: str = ""
    """The verdict; empty where there is none."""
    sign: str = ""
    title: str = ""
    """The whole comparison in words."""


@dataclass(frozen=True)
class Matrix:
    """Methods by numbers of labels."""

    sizes: tuple[int, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]
    """Method, and a cell for each size."""
    compared: bool
    """Whether any cell holds a difference; otherwise all hold means."""


def verdict_tiles(judgement: SuiteVerdict) -> dict[str, list[Tile]]:
    """Numbers that decide by verdict, claims and questions of this project by outcome, under a
    heading each; kinds without any are left out."""
    counts = judgement.reference_counts()
    numbers = [
        Tile(count, _kind_name(kind), formatting.SIGNS[kind], WORDS[kind])
        for kind, count in counts.items()
    ]
    published = [claim.outcome for claim in judgement.claims if not claim.is_question]
    asked = [claim.outcome for claim in judgement.claims if claim.is_question]
    heads = {
        _count_noun(
            sum(counts.values()), f"{formatting.reference_head(judgement)} number"
        ): numbers,
        _count_noun(len(published), "claim"): _claim_tiles(published),
        f"{_count_noun(len(asked), 'question')} of this project": _claim_tiles(asked),
    }
    return {head: tiles for head, tiles in heads.items() if tiles}


def _claim_tiles(outcomes: Sequence[ClaimOutcome]) -> list[Tile]:
    return [
        Tile(outcomes.count(outcome), _kind_name(outcome), formatting.SIGNS[outcome], words)
        for outcome, words in CLAIM_WORDS.items()
        if outcome in outcomes
    ]


def claim_groups(
    claims: Iterable[ClaimVerdict],
) -> dict[tuple[str, str], list[tuple[int, ClaimVerdict]]]:
    """Claims with their index from 1, by outcome and the text of their verdict: what is the same
    for several is written once. What was decided stands first."""
    order = list(CLAIM_WORDS)
    numbered = sorted(enumerate(claims, start=1), key=lambda item: order.index(item[1].outcome))
    found: dict[tuple[str, str], list[tuple[int, ClaimVerdict]]] = {}
    for index, claim in numbered:
        found.setdefault((str(claim.outcome), formatting.claim_text(claim)), []).append(
            (index, claim)
        )
    return found


def _count_noun(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def verdict_matrix(judgement: SuiteVerdict) -> Matrix:
    """Every method at every number of labels that was measured or published: the difference with
    its verdict, else our mean.

    Only the suite's own metric counts; single target models and other metrics have tables of their
    own.
    """
    metric = _main_metric(judgement)
    compared = {
        (item.method, item.labelled): item
        for item in judgement.numbers
        if item.decides and item.labelled is not None and item.metric == metric
    }
    measured = {(cell.method, cell.labelled): cell for cell in judgement.cells}
    places = [*compared, *measured]
    sizes = sorted({size for _, size in places if size is not None})
    methods = dict.fromkeys(method for method, _ in places)
    rows = []
    for method in methods:
        cells = []
        for size in sizes:
            item, cell = compared.get((method, size)), measured.get((method, size))
            if item is not None and item.verdict.kind is not VerdictKind.NOT_COMPARABLE:
                cells.append(_matrix_cell(item))
            elif cell is not None:
                cells.append(
                    MatrixCell(
                        formatting.format_number(cell.mean), title=formatting.measured_text(cell)
                    )
                )
            else:
                cells.append(MatrixCell(""))
        rows.append((method, tuple(cells)))
    return Matrix(tuple(sizes), tuple(rows), any(cell.kind for _, cells in rows for cell in cells))


def missing_text(judgement: SuiteVerdict, commands: Mapping[str, str]) -> tuple[str, str]:
    """What is missing or undecided in sentences, and the command that runs it; empty where nothing
    is, or where no command does."""
    numbers = judgement.counts().get(VerdictKind.MISSING, 0)
    parts = [f"{_count_noun(numbers, 'published number')} without a measurement"] if numbers else []
    if judgement.missing:
        parts.append(f"no trial of {', '.join(judgement.missing)}")
    sentences = [f"Missing: {'; '.join(parts)}."] if parts else []
    undecided = judgement.counts().get(VerdictKind.INCONCLUSIVE, 0)
    if undecided:
        most = [
            item.estimate.needed
            for item in judgement.numbers
            if item.decides
            and item.estimate is not None
            and item.verdict.kind is VerdictKind.INCONCLUSIVE
        ]
        known = [needed for needed in most if needed is not None]
        whole = len(known) == len(most) and known
        needed = f"up to {max(known):,} trials" if whole else "more than 1,000 trials for some"
        sentences.append(
            f"Undecided: {_count_noun(undecided, 'number')}, which need {needed} of a method."
        )
    runs = [command for command in commands.values() if command.startswith("albench run ")]
    return " ".join(sentences), runs[0] if sentences and runs else ""


def _main_metric(judgement: SuiteVerdict) -> str:
    """The metric of most of the numbers that decide: the one that the paper reports."""
    metrics = Counter(item.metric for item in judgement.numbers if item.decides)
    return (
        max(metrics, key=lambda metric: (metrics[metric], metric))
        if metrics
        else judgement.rule.metric
    )


def _matrix_cell(item: NumberVerdict) -> MatrixCell:
    kind, found = item.verdict.kind, item.estimate
    if found is None or found.difference is None:
        return MatrixCell(
            "",
            _kind_name(kind),
            formatting.SIGNS[kind],
            f"{_kind_name(kind)} {item.verdict.reason}".strip(),
        )
    title = (
        f"{_kind_name(kind)}: ours {formatting.mean_sd(found.mean, found.sd, found.n)}, reference "
        f"{formatting.mean_sd(found.reference, found.reference_sd, found.reference_n)}, difference "
        f"{formatting.format_interval(found.difference, found.low, found.high)}"
    )
    return MatrixCell(
        formatting.format_number(found.difference, 1, signed=True),
        _kind_name(kind),
        formatting.SIGNS[kind],
        title,
    )


def _kind_name(kind: VerdictKind | ClaimOutcome) -> str:
    return str(kind).replace("_", " ")
