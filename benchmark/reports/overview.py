"""The answer of a report on one screen: counts of verdicts, methods by budgets, claims, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.reports import formatting
from benchmark.verdicts.results import ClaimOutcome, NumberVerdict, SuiteVerdict, VerdictKind

WORDS = {
    VerdictKind.REPRODUCED: "equal to the published number within the margin",
    VerdictKind.ABOVE: "above the published number by more than the margin",
    VerdictKind.BELOW: "below the published number by more than the margin",
    VerdictKind.INCONCLUSIVE: "too few trials for a verdict",
    VerdictKind.NOT_COMPARABLE: "measured, but not comparable",
    VerdictKind.MISSING: "not measured",
}
CLAIM_WORDS = {
    ClaimOutcome.HOLDS: "claims that hold",
    ClaimOutcome.REFUTED: "claims that do not hold",
    ClaimOutcome.INCONCLUSIVE: "claims with too few trials",
    ClaimOutcome.NOT_TESTABLE: "claims that this run cannot test",
    ClaimOutcome.MISSING: "claims not measured",
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
    """Our mean minus the published one in points, or our mean where nothing is compared; empty where nothing was measured."""
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


def verdict_tiles(judgement: SuiteVerdict) -> list[Tile]:
    """Numbers that decide by verdict, then claims by outcome; kinds without any are left out."""
    counts = judgement.counts()
    found = [Tile(count, _name(kind), formatting.SIGNS[kind], WORDS[kind]) for kind, count in counts.items()]
    outcomes = [claim.outcome for claim in judgement.claims]
    return found + [
        Tile(outcomes.count(outcome), _name(outcome), formatting.SIGNS[outcome], words)
        for outcome, words in CLAIM_WORDS.items()
        if outcome in outcomes
    ]


def verdict_matrix(judgement: SuiteVerdict) -> Matrix:
    """Every method at every number of labels that was measured or published: the difference with its verdict, else our mean.

    Only the suite's own metric counts; single target models and other metrics have tables of their own.
    """
    compared = {
        (item.method, item.labelled): item
        for item in judgement.numbers
        if item.decides and item.labelled is not None and item.metric == _metric(judgement)
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
                cells.append(_compared(item))
            elif cell is not None:
                cells.append(MatrixCell(formatting.number(cell.mean), title=formatting.measured_text(cell)))
            else:
                cells.append(MatrixCell(""))
        rows.append((method, tuple(cells)))
    return Matrix(tuple(sizes), tuple(rows), any(cell.kind for _, cells in rows for cell in cells))


def missing_text(judgement: SuiteVerdict, commands: Mapping[str, str]) -> tuple[str, str]:
    """What is missing in a sentence, and the command that fills it; both empty where nothing is."""
    numbers = judgement.counts().get(VerdictKind.MISSING, 0)
    parts = [f"{numbers} published number{'s' * (numbers != 1)} without a measurement"] if numbers else []
    if judgement.missing:
        parts.append(f"no trial of {', '.join(judgement.missing)}")
    undecided = judgement.counts().get(VerdictKind.INCONCLUSIVE, 0)
    if undecided:
        most = [item.estimate.needed for item in judgement.numbers if item.decides and item.estimate is not None
                and item.verdict.kind is VerdictKind.INCONCLUSIVE]  # fmt: skip
        known = [needed for needed in most if needed is not None]
        needed = (
            f"up to {max(known)} trials" if len(known) == len(most) and known else "more than 1,000 trials for some"
        )
        parts.append(f"{undecided} undecided: {needed} needed")
    return "; ".join(parts), next(iter(commands.values()), "") if parts else ""


def _metric(judgement: SuiteVerdict) -> str:
    """The metric of most of the numbers that decide: the one that the paper reports."""
    metrics = [item.metric for item in judgement.numbers if item.decides]
    return max(set(metrics), key=lambda metric: (metrics.count(metric), metric)) if metrics else judgement.rule.metric


def _compared(item: NumberVerdict) -> MatrixCell:
    kind, found = item.verdict.kind, item.estimate
    if found is None or found.difference is None:
        return MatrixCell("", _name(kind), formatting.SIGNS[kind], f"{_name(kind)} {item.verdict.reason}".strip())
    title = (
        f"{_name(kind)}: ours {formatting.mean_sd(found.mean, found.sd, found.n)}, reference "
        f"{formatting.mean_sd(found.reference, found.reference_sd, found.reference_n)}, difference "
        f"{formatting.interval(found.difference, found.low, found.high)}"
    )
    return MatrixCell(formatting.number(found.difference, 1, signed=True), _name(kind), formatting.SIGNS[kind], title)


def _name(kind: VerdictKind | ClaimOutcome) -> str:
    return str(kind).replace("_", " ")
