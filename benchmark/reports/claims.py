"""The state of the claims: for every paper, how many published numbers and claims committed results
have judged, and how.

`python -m benchmark.reports.readme README.md` writes the table into the README and the page
docs/claims.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from benchmark.reports import formatting, markdown
from benchmark.spec.load import SuiteFile
from benchmark.spec.published import TARGETS
from benchmark.spec.suite import OURS
from benchmark.verdicts.judge import judge_suite
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.results import ClaimOutcome, SuiteVerdict, VerdictKind

PAGE = "docs/claims.md"
HEADS = (
    "paper",
    "published numbers",
    "judged",
    "claims",
    "hold",
    "do not hold",
    "undecided",
    "cited only",
    "not yet run",
)
CLAIM_HEADS = ("suite", "claim", "state", "difference at its last size", "seeds", "records")
NOT_RUN, WHOLE = "not yet run", "paper"
WORDS = {
    ClaimOutcome.HOLDS: "holds",
    ClaimOutcome.REFUTED: "does not hold",
    ClaimOutcome.INCONCLUSIVE: "undecided",
    ClaimOutcome.MISSING: NOT_RUN,
    ClaimOutcome.NOT_TESTABLE: "cited only",
}
JUDGED = (VerdictKind.REPRODUCED, VerdictKind.ABOVE, VerdictKind.BELOW, VerdictKind.INCONCLUSIVE)


def state_table(suites: Sequence[SuiteFile], committed: Mapping[str, Sequence[Measurement]]) -> str:
    """Markdown table with a row for each paper: its numbers and claims by state."""
    rows = []
    for paper, own in _by_paper(suites).items():
        states: Counter[str] = Counter()
        numbers = judged = 0
        for suite in own:
            verdicts = _suite_verdicts(suite, committed.get(suite.id, ()))
            states.update(state for _, state, _ in _claim_rows(suite, verdicts.get(WHOLE)))
            numbers += sum(row.role in TARGETS for row in suite.reported)
            judged += len(_judged_numbers(verdicts.values()))
        order = ("holds", "does not hold", "undecided", "cited only", NOT_RUN)
        rows.append(
            (
                paper,
                str(numbers),
                str(judged),
                str(states.total()),
                *(str(states[state]) for state in order),
            )
        )
    return markdown.make_table(HEADS, rows)


def claims_page(suites: Sequence[SuiteFile], committed: Mapping[str, Sequence[Measurement]]) -> str:
    """The page of all claims, by paper, each with its state, what decided it, and where the records
    are."""
    parts = [
        "# State of the claims",
        "One row for each claim of each suite, judged from the records committed under `results/`. "
        "Only the published"
        " protocol, as the official code runs it, can decide a claim; profiles that keep a part of "
        "it count as judged numbers."
        " The tests are described in [statistics](statistics.md)."
        " This page is made by `make readme`.",
        state_table(suites, committed),
    ]
    for paper, own in _by_paper(suites).items():
        rows = []
        for suite in own:
            found = _suite_verdicts(suite, committed.get(suite.id, ()))
            for text, state, evidence in _claim_rows(suite, found.get(WHOLE)):
                rows.append((f"`{suite.id}`", text, state, *evidence))
        if rows:
            parts += [f"## {paper}", markdown.make_table(CLAIM_HEADS, rows)]
    return "\n\n".join(parts) + "\n"


def _by_paper(suites: Sequence[SuiteFile]) -> dict[str, list[SuiteFile]]:
    papers: dict[str, list[SuiteFile]] = {}
    for suite in suites:
        if suite.reported or any(
            not claim.source.startswith(OURS) for claim in suite.suite.claims.values()
        ):
            papers.setdefault(suite.id.partition("/")[0], []).append(suite)
    return papers


def _suite_verdicts(suite: SuiteFile, rows: Sequence[Measurement]) -> dict[str, SuiteVerdict]:
    """Verdicts on committed trials of the published protocol and of profiles that keep a part of
    it, by profile."""
    comparable = {WHOLE} | {name for name, profile in suite.suite.profiles.items() if profile.part}
    kept = {row.profile for row in rows if row.variant == "as_published"} & comparable
    return {
        name: judge_suite(suite, rows, profile=name, variant="as_published")
        for name in sorted(kept)
    }


def _judged_numbers(verdicts: Iterable[SuiteVerdict]) -> set[tuple[str, int | None, str]]:
    """Published numbers with a verdict, each once however many profiles measured it."""
    return {
        (item.method, item.labelled, item.metric)
        for found in verdicts
        for item in found.numbers
        if item.decides and item.verdict.kind in JUDGED
    }


def _claim_rows(
    suite: SuiteFile, found: SuiteVerdict | None
) -> list[tuple[str, str, tuple[str, str, str]]]:
    """Text, state and evidence (difference, seeds, address) of every claim of a suite."""
    if found is None:
        cited = {
            name
            for name, claim in suite.suite.claims.items()
            if claim.better is None or claim.worse is None
        }
        return [
            (f"{name}: {claim.text}", "cited only" if name in cited else NOT_RUN, ("–", "–", "–"))
            for name, claim in suite.suite.claims.items()
        ]
    lines = []
    for claim in found.claims:
        seeds = max((test.n for test in claim.budgets), default=0)
        last = claim.budgets[-1] if claim.budgets else None
        difference = (
            formatting.format_interval(last.difference, last.low, last.high) if last else "–"
        )
        address = f"`results/{suite.id}/report.md`"  # no link: the site of docs/ holds no results
        lines.append(
            (
                f"{claim.id}: {claim.text}",
                WORDS[claim.outcome],
                (difference, str(seeds or "–"), address),
            )
        )
    return lines
