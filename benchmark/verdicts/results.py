"""What a comparison says: verdicts with everything they were made from, as plain values that
reports and tools can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from benchmark.errors import Exit
from benchmark.spec.suite import OURS, Rule


class VerdictKind(StrEnum):
    """The verdicts there are."""

    REPRODUCED = "reproduced"
    ABOVE = "above"
    BELOW = "below"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not_comparable"
    MISSING = "missing"


class ClaimOutcome(StrEnum):
    """What can be said of a claim."""

    HOLDS = "holds"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTABLE = "not_testable"
    MISSING = "missing"


@dataclass(frozen=True)
class Verdict:
    """A kind and, where it needs one, its reason. Equivalence within the margin and an excess
    beyond it are both shown at level alpha; what shows neither is inconclusive."""

    kind: VerdictKind
    reason: str = ""
    excused: bool = False
    """Nothing could be compared and nothing was asked to be (another profile, no published number):
    not a failure."""

    def __str__(self) -> str:
        return f"{self.kind}({self.reason})" if self.reason else str(self.kind)


def decide_verdict(low: float, high: float, margin: float) -> VerdictKind:
    """Where the interval of a difference lies: inside the margin, wholly beyond it, or neither."""
    if low > margin:
        return VerdictKind.ABOVE
    if high < -margin:
        return VerdictKind.BELOW
    return VerdictKind.REPRODUCED if -margin < low and high < margin else VerdictKind.INCONCLUSIVE


@dataclass(frozen=True)
class Estimate:
    """Ours, theirs, and the difference (ours minus theirs), in the metric's unit. None where it
    cannot be computed."""

    mean: float
    sd: float | None
    n: int
    reference: float | None = None
    reference_sd: float | None = None
    reference_n: int | None = None
    reading_error: float = 0.0
    difference: float | None = None
    low: float | None = None
    """Ends of the (1 - 2 alpha) interval of the difference, reading error included."""
    high: float | None = None
    p_equivalent: float | None = None
    """Two one-sided tests: small means equivalent within the margin."""
    p_beyond: float | None = None
    """One-sided p value for a difference larger than the margin; a small value means that the
    margin is exceeded."""
    p_different: float | None = None
    """Two-sided: small means that there is a difference, however small."""
    mdd: float | None = None
    """Smallest true difference that these trials would detect with power 0.8."""
    needed: int | None = None
    """Trials needed for a verdict with power 0.8; None beyond 1000 or where no number of trials
    decides."""
    correlation: float | None = None
    """Of pairs, where trials are paired by seed."""


@dataclass(frozen=True)
class NumberVerdict:
    """The verdict on one published (or committed) number."""

    method: str
    title: str
    metric: str
    labelled: int | None
    verdict: Verdict
    role: str
    decides: bool
    """Whether it counts for the exit code; the others are shown beside."""
    source: str
    estimate: Estimate | None = None
    note: str = ""
    """What the table says about the number."""
    notes: tuple[str, ...] = ()
    """What must be known about our side: data, unknown values, variant, trials."""


@dataclass(frozen=True)
class CurveVerdict:
    """The verdict on the normalised area under one published curve, over the sizes both sides
    have."""

    method: str
    title: str
    metric: str
    labelled: tuple[int, ...]
    verdict: Verdict
    source: str
    estimate: Estimate | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BudgetTest:
    """Better minus worse at one size: paired by seed, or against a published constant."""

    labelled: int
    n: int
    difference: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """Adjusted over the claim's sizes."""
    correlation: float | None
    mdd: float | None
    needed: int | None
    """Pairs needed to detect a difference of this size with power 0.8."""
    published: float | None = None
    """The same difference in the paper's own numbers, where it printed both."""
    what: str = ""
    """What is compared, where it is not the two sides at this size: `model 3 against cal`."""


@dataclass(frozen=True)
class ClaimVerdict:
    """What our trials say of a published comparison."""

    id: str
    text: str
    source: str
    published: str
    outcome: ClaimOutcome
    reason: str = ""
    budgets: tuple[BudgetTest, ...] = ()
    notes: tuple[str, ...] = ()
    as_printed: bool = False
    """Refuted, but only where the paper's own numbers say the same: its text fails, our numbers
    agree with its numbers."""
    methods: tuple[str, ...] = ()
    """Methods of the suite that are compared."""

    @property
    def is_question(self) -> bool:
        """Whether it is a question of this project and not published: see `Claim.source`."""
        return self.source.startswith(OURS)


@dataclass(frozen=True)
class Cell:
    """Our trials of one method at one size."""

    method: str
    labelled: int
    mean: float
    sd: float | None
    n: int
    low: float | None = None
    """Ends of the 95 % interval of the mean on other test images of the same kind: the error of the
    mean over seeds, and the binomial error of the test set that all seeds share. None for one
    trial, and for metrics that are no share of test images."""
    high: float | None = None


@dataclass(frozen=True)
class Standing:
    """One method among the others of the suite, over the sizes that all its trials have."""

    method: str
    title: str
    n: int
    area: float
    """Mean normalised area under the budget curve."""
    area_sd: float | None
    control: str = ""
    """Random sampling with the same training, or with plain training where there is none; empty
    where neither was run."""
    gain: float | None = None
    """Difference of areas to the control, paired by seed, with its 95 % interval and Holm-adjusted
    two-sided p."""
    gain_low: float | None = None
    gain_high: float | None = None
    gain_p: float | None = None
    saved: float | None = None
    """Labels saved at the control's final accuracy; None where it is never reached."""
    saved_low: float | None = None
    saved_high: float | None = None
    rank: float | None = None
    rank_low: float | None = None
    rank_high: float | None = None
    first: float | None = None
    """Share of resampled seed sets in which it comes first."""
    guest: bool = False
    """Not a method of the suite: what it gets depends on the suite's methods, what they get never
    on it."""
    areas: tuple[float, ...] = ()
    """Of its trials, by seed."""
    paired: tuple[tuple[float, float], ...] = ()
    """Its area and its control's, by shared seed."""


@dataclass(frozen=True)
class ModelRow:
    """One method over several target models: the spread over models apart from the spread over
    seeds."""

    method: str
    title: str
    models: int
    n: int
    """Trials."""
    mean: float | None
    """Mean over seeds of the one number of the curve (`Rule.curve`) of the mean over models; None
    where nothing was run."""
    over_models: float | None
    """Mean over sizes and seeds of the standard deviation over models (divisor: their number)."""
    over_seeds: float | None
    """Standard deviation over seeds of the number that `mean` is the mean of."""
    published: float | None = None
    published_over_models: float | None = None
    verdict: Verdict | None = None
    """On the curve."""
    wins: int | None = None
    """Single models on which its curve is the best of all methods measured."""
    published_wins: int | None = None
    best: bool = False
    """Whether no other method has a higher mean."""


@dataclass(frozen=True)
class SuiteVerdict:
    """Everything said about one suite under one profile and variant."""

    suite: str
    title: str
    profile: str
    variant: str
    rule: Rule
    numbers: tuple[NumberVerdict, ...] = ()
    curves: tuple[CurveVerdict, ...] = ()
    claims: tuple[ClaimVerdict, ...] = ()
    cells: tuple[Cell, ...] = ()
    standings: tuple[Standing, ...] = ()
    models: tuple[ModelRow, ...] = ()
    """Where the paper has several target models: methods in the order of the suite."""
    penalty_methods: tuple[str, ...] = ()
    penalties: tuple[tuple[float, ...], ...] = ()
    """Share of sizes at which the row's method beats the column's."""
    kendall: tuple[float, float, int] | None = None
    """Agreement of the methods' order with the paper's: tau, p, number of methods."""
    missing: tuple[str, ...] = ()
    """Methods asked for without any measurement."""
    devices: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reference: str = ""
    """Name of other numbers that ours were held to, in place of published or committed ones."""
    measured: bool = field(default=False)
    """Whether there is any measurement at all."""

    def deciding(self) -> Iterator[Verdict]:
        """The verdicts that count for the exit code."""
        yield from (number.verdict for number in self.numbers if number.decides)
        yield from (curve.verdict for curve in self.curves)

    def counts(self) -> dict[VerdictKind, int]:
        """How many deciding numbers got each verdict; kinds without any are left out."""
        found = [number.verdict.kind for number in self.numbers if number.decides]
        return {kind: found.count(kind) for kind in VerdictKind if kind in found}

    def reference_counts(self) -> dict[VerdictKind, int]:
        """The same of those that have a published or committed number: without methods that were
        only measured."""
        found = [
            number.verdict.kind
            for number in self.numbers
            if number.decides and number.role != "none"
        ]
        return {kind: found.count(kind) for kind in VerdictKind if kind in found}

    @property
    def exit_code(self) -> Exit:
        """0 all matched or nothing to compare, 1 a discrepancy or a refuted claim, 3 nothing
        measured or incomplete, 4 inconclusive only.

        A claim that the paper's own numbers refute in the same way is no discrepancy, and neither
        is any answer to a question of this project.
        """
        published = [claim for claim in self.claims if not claim.is_question]
        verdicts, outcomes = list(self.deciding()), {claim.outcome for claim in published}
        kinds = {verdict.kind for verdict in verdicts}
        refuted = any(
            claim.outcome is ClaimOutcome.REFUTED and not claim.as_printed for claim in published
        )
        if kinds & {VerdictKind.ABOVE, VerdictKind.BELOW} or refuted:
            return Exit.DISCREPANCY
        blocked = any(
            verdict.kind is VerdictKind.NOT_COMPARABLE and not verdict.excused
            for verdict in verdicts
        )
        if (
            not self.measured
            or self.missing
            or blocked
            or VerdictKind.MISSING in kinds
            or ClaimOutcome.MISSING in outcomes
        ):
            return Exit.NOT_MEASURED
        if VerdictKind.INCONCLUSIVE in kinds or ClaimOutcome.INCONCLUSIVE in outcomes:
            return Exit.INCONCLUSIVE
        return Exit.OK

    def plain(self) -> dict[str, Any]:
        """Plain JSON values of all of it, with the exit code."""
        values = asdict(self) | {"rule": self.rule.model_dump(mode="json")}
        return values | {"exit_code": int(self.exit_code)}
