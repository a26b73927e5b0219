"""How often group-sequential verdicts err and how many trials they take, by simulation.

`python -m tests.verdicts.simulate_sequence docs/statistics.md` writes the table into the page;
`test_sequential.py` repeats a part of it with other random numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from benchmark.reports.markdown import replace_between
from benchmark.verdicts import stats
from benchmark.verdicts.sequential import planned_looks, student_levels

DRAWS = 20_000
MARGIN, ALPHA = 1.0, 0.05
CASES = ((3, 10, 0.3), (3, 10, 0.6), (3, 20, 0.6), (3, 20, 1.0), (3, 20, 1.5))
"""Least and most trials, and their spread in margins."""
TRUTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
LEADS = (0.0, 0.5, 1.0, 2.0)
"""True leads of one method over another, in standard deviations of a paired difference."""


@dataclass(frozen=True)
class Course:
    """Shares of the ends of many sequences, and the trials they took on average."""

    inside: float
    above: float
    below: float
    trials: float

    @property
    def beyond(self) -> float:
        """Share of both excesses."""
        return self.above + self.below


def course(
    looks: tuple[int, ...], sd: float, true: float, rng: int = 0, draws: int = DRAWS
) -> Course:
    """Sequences of equivalence tests against a number, stopped at the first look that decides."""
    values = true + sd * np.random.default_rng(rng).standard_normal((draws, looks[-1]))
    ended, trials = np.full(draws, "open", dtype="<U6"), np.full(draws, looks[-1], dtype=float)
    for look, level in zip(looks, student_levels(looks, ALPHA), strict=True):
        mean = values[:, :look].mean(axis=1)
        se = values[:, :look].std(axis=1, ddof=1) / np.sqrt(look)
        half = student.isf(level, look - 1) * se
        running = ended == "open"
        for name, found in (
            ("inside", (mean - half > -MARGIN) & (mean + half < MARGIN)),
            ("above", mean - half > MARGIN),
            ("below", mean + half < -MARGIN),
        ):
            ended[running & found], trials[running & found] = name, look
    shares = {name: float(np.mean(ended == name)) for name in ("inside", "above", "below")}
    return Course(**shares, trials=float(trials.mean()))


def leads(looks: tuple[int, ...], lead: float, rng: int = 0, draws: int = DRAWS) -> Course:
    """Sequences of tests for a difference between two methods, from five pairs on; `inside` stays
    0."""
    values = lead + np.random.default_rng(rng).standard_normal((draws, looks[-1]))
    ended, trials = np.zeros(draws), np.full(draws, looks[-1], dtype=float)
    for look, level in zip(looks, student_levels(looks, ALPHA / 2), strict=True):
        if look < 5:
            continue
        score = values[:, :look].mean(axis=1) / (
            values[:, :look].std(axis=1, ddof=1) / np.sqrt(look)
        )
        new = (ended == 0) & (np.abs(score) > student.isf(level, look - 1))
        ended[new], trials[new] = np.sign(score[new]), look
    return Course(0.0, float(np.mean(ended > 0)), float(np.mean(ended < 0)), float(trials.mean()))


def sequence_table() -> Iterator[str]:
    """Reproduced / beyond and mean trials at each truth, and what one look at the most trials
    gives."""
    heads = [f"truth {true:g}" for true in TRUTHS]
    yield (
        f"| looks | spread | {' | '.join(heads)} | one look at the end, truth 0 | fixed n for "
        "power 0.8 at 0 |"
    )
    yield "| --- | --- | " + " | ".join(["---"] * len(TRUTHS)) + " | --- | --- |"
    for least, most, sd in CASES:
        looks = planned_looks(least, most)
        found = [course(looks, sd, true, rng=place) for place, true in enumerate(TRUTHS)]
        cells = [f"{one.inside:.3f} / {one.beyond:.3f}, n {one.trials:.1f}" for one in found]
        fixed = stats.equivalence_power(sd, most, MARGIN, ALPHA)
        needed = stats.needed_trials(sd, MARGIN, ALPHA)
        yield (
            f"| {', '.join(map(str, looks))} | {sd:g} | {' | '.join(cells)} | {fixed:.3f}, n "
            f"{most} | {needed} |"
        )


def lead_table() -> Iterator[str]:
    """Shares of 'better', 'worse' and mean pairs at each true lead."""
    yield "| looks | lead | better | worse | mean pairs |"
    yield "| --- | --- | --- | --- | --- |"
    for most in (10, 20):
        looks = planned_looks(3, most)
        for place, lead in enumerate(LEADS):
            found = leads(looks, lead, rng=place)
            yield (
                f"| {', '.join(map(str, looks))} | {lead:g} | {found.above:.3f} | "
                f"{found.below:.3f} | {found.trials:.1f} |"
            )


def main(path: Path) -> None:
    """Write both tables into the page."""
    text = path.read_text(encoding="utf-8")
    for name, table in (("sequences", sequence_table), ("leads", lead_table)):
        text = replace_between(text, name, "\n".join(table()))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
