"""How often verdicts come when the truth is known. Writes the figures of docs/statistics.md between
their markers:

python -m tests.verdicts.simulate docs/statistics.md
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.reports.markdown import replace_between
from benchmark.verdicts import stats
from benchmark.verdicts.claims import judge_claims
from benchmark.verdicts.judge import comparison_context
from benchmark.verdicts.results import ClaimOutcome, VerdictKind, decide_verdict
from benchmark.verdicts.trials import select_trials
from tests.helpers import toy_suite as toy

DRAWS, FEW = 10_000, 1_000
"""Simulated comparisons of a number, and of a claim."""
MARGIN, ALPHA = 1.0, 0.05
TRUTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""True differences, in margins."""
CASES = (
    # trials, their spread, published trials (None: a constant), reading error; spreads and errors
    # in margins
    (3, 0.3, None, 0.0),
    (5, 0.3, None, 0.0),
    (5, 0.6, None, 0.0),
    (10, 0.6, None, 0.0),
    (10, 1.0, None, 0.0),
    (5, 0.3, 3, 0.0),
    (5, 0.6, 3, 0.0),
    (5, 0.6, 10, 0.0),
    (5, 0.3, None, 0.3),
)
GAPS = (-1.0, 0.0, 0.5, 1.0, 2.0)
"""True leads of a claim's better side, in standard deviations of a paired difference."""


def rates(
    n: int,
    sd: float,
    true: float,
    error: float = 0.0,
    other_n: int | None = None,
    rng: int = 0,
    draws: int = DRAWS,
) -> dict[VerdictKind, float]:
    """Share of each verdict over simulated comparisons with a published mean of 90."""
    draw = np.random.default_rng(rng)
    other_se = 0.0 if other_n is None else sd / math.sqrt(other_n)
    found: Counter[VerdictKind] = Counter()
    for _ in range(draws):
        published = 90.0 + other_se * draw.standard_normal() + error * draw.uniform(-1, 1)
        spread, df = 0.0, math.inf
        if other_n is not None:
            df = other_n - 1
            spread = other_se * math.sqrt(draw.chisquare(df) / df)
        ours = 90.0 + true + sd * draw.standard_normal(n)
        test = stats.against_mean(ours, published, MARGIN, ALPHA, error, spread, df)
        found[decide_verdict(test.low, test.high, MARGIN)] += 1
    return {kind: found[kind] / draws for kind in VerdictKind}


def claims(n: int, gap: float, rng: int = 0, draws: int = FEW) -> dict[ClaimOutcome, float]:
    """Share of each outcome of a claim at two sizes (Holm), when the better side leads by `gap`
    paired standard deviations at both. Seeds shift both sides alike: only pairing takes that
    out."""
    draw, found = np.random.default_rng(rng), Counter[ClaimOutcome]()
    with tempfile.TemporaryDirectory() as folder:
        suite = toy.suite(Path(folder), [], more=toy.claim("margin", "random"))
        for _ in range(draws):
            rows = []
            for seed in range(n):
                shared = 80.0 + 2.0 * draw.standard_normal(3)
                own = draw.standard_normal(3)
                rows += toy.trial("random", seed, shared) + toy.trial(
                    "margin", seed, shared + gap + own
                )
            trials = select_trials(rows, suite.id, "paper", "as_published")
            (claim,) = judge_claims(comparison_context(suite, trials, "paper", "as_published"), ())
            found[claim.outcome] += 1
    return {outcome: found[outcome] / draws for outcome in ClaimOutcome}


def number_table() -> Iterator[str]:
    """Rates of verdicts on numbers, a row per case: reproduced / beyond / inconclusive at each true
    difference."""
    heads = [f"truth {true:g}" for true in TRUTHS]
    yield f"| trials | spread | published as | {' | '.join(heads)} | promised at 0 |"
    yield "| --- | --- | --- | " + " | ".join(["---"] * len(TRUTHS)) + " | --- |"
    for n, sd, other_n, error in CASES:
        known = "a number" if other_n is None else f"mean of {other_n}, with s.d."
        known += f", read to ±{error:g}" if error else ""
        cells = []
        for place, true in enumerate(TRUTHS):
            found = rates(n, sd, true, error, other_n, rng=place)
            beyond = found[VerdictKind.ABOVE] + found[VerdictKind.BELOW]
            cells.append(f"{found[VerdictKind.REPRODUCED]:.3f} / {beyond:.3f}")
        power = (
            f"{stats.equivalence_power(sd, n, MARGIN - error, ALPHA):.3f}"
            if other_n is None
            else "–"
        )
        promised = f"at most {power}" if error else power
        yield f"| {n} | {sd:g} | {known} | {' | '.join(cells)} | {promised} |"


def claim_table() -> Iterator[str]:
    """Rates of outcomes of a claim."""
    yield "| pairs | lead | holds | refuted | inconclusive |"
    yield "| --- | --- | --- | --- | --- |"
    for n in (5, 10):
        for place, gap in enumerate(GAPS):
            found = claims(n, gap, rng=place)
            shares = [
                found[one]
                for one in (ClaimOutcome.HOLDS, ClaimOutcome.REFUTED, ClaimOutcome.INCONCLUSIVE)
            ]
            yield f"| {n} | {gap:g} | {' | '.join(f'{share:.3f}' for share in shares)} |"


def main(path: Path) -> None:
    """Write both tables into the page."""
    text = path.read_text(encoding="utf-8")
    for name, table in (("numbers", number_table), ("claims", claim_table)):
        text = replace_between(text, name, "\n".join(table()))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
