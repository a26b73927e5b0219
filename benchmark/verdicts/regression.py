"""A run against committed records, for CI: bit by bit where the environment is the same, else the
same picks, else the suite's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmark.errors import Exit
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.determinism import Divergence, same_selection, table_divergence
from benchmark.verdicts.judge import comparison_context
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.reference_records import judge_committed
from benchmark.verdicts.results import NumberVerdict, VerdictKind
from benchmark.verdicts.trials import Trials, nearest_answers, select_trials


class RegressionState(StrEnum):
    """How a trial stands to its committed outcome."""

    EQUAL = "bitwise equal"
    LOST = "not equal in the same environment"
    SELECTION = "same picks and close metrics in another environment"
    ELSEWHERE = "another environment"
    MISSING = "missing"
    NEW = "not committed"


@dataclass(frozen=True)
class TrialCheck:
    """One trial against its committed outcome, and where they part first."""

    method: str
    seed: int
    state: RegressionState
    divergence: Divergence | None = None

    def __str__(self) -> str:
        parted = f" ({self.divergence})" if self.divergence else ""
        return f"{self.method} seed {self.seed}: {self.state}{parted}"


@dataclass(frozen=True)
class Regression:
    """Every trial's check, and the statistical verdicts of the methods that ran in other
    environments."""

    suite: str
    profile: str
    variant: str
    trials: tuple[TrialCheck, ...]
    numbers: tuple[NumberVerdict, ...] = ()

    @property
    def exit_code(self) -> Exit:
        """0 unchanged, 1 bits lost or numbers moved, 3 nothing or not everything compared, 4
        inconclusive only."""
        states = {trial.state for trial in self.trials}
        kinds = {number.verdict.kind for number in self.numbers}
        if RegressionState.LOST in states or kinds & {VerdictKind.ABOVE, VerdictKind.BELOW}:
            return Exit.DISCREPANCY
        if (
            states <= {RegressionState.NEW}
            or RegressionState.MISSING in states
            or kinds & {VerdictKind.MISSING, VerdictKind.NOT_COMPARABLE}
        ):
            return Exit.NOT_MEASURED
        return Exit.INCONCLUSIVE if VerdictKind.INCONCLUSIVE in kinds else Exit.OK


def regress(
    suite_file: SuiteFile,
    measurements: Sequence[Measurement],
    committed: Sequence[Measurement],
    *,
    profile: str = "paper",
    variant: str = "as_published",
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Regression:
    """Check a run against committed records. `methods` and `seeds` limit what is asked for (None:
    all that is committed).

    Where a trial was committed from several environments, ours is held against the nearest answer.
    """
    ours = select_trials(measurements, suite_file.id, profile, variant, methods)
    known = [
        row
        for row in committed
        if (row.suite, row.profile, row.variant) == (suite_file.id, profile, variant)
        and (methods is None or row.method in methods)
        and (seeds is None or row.seed in seeds)
    ]
    theirs = select_trials(nearest_answers(known, ours.rows), suite_file.id, profile, variant)
    checks = [
        _check_trial(ours, theirs, *key)
        for key in sorted({(row.method, row.seed) for row in (*ours.rows, *theirs.rows)})
    ]
    moved = tuple(
        dict.fromkeys(check.method for check in checks if check.state is RegressionState.ELSEWHERE)
    )
    case = comparison_context(suite_file, ours, profile, variant, moved)
    numbers = judge_committed(case, theirs, excused=False) if moved else []
    return Regression(suite_file.id, profile, variant, tuple(checks), tuple(numbers))


def _check_trial(ours: Trials, theirs: Trials, method: str, seed: int) -> TrialCheck:
    mine, other = ours.trial(method, seed), theirs.trial(method, seed)
    if not mine or not other:
        return TrialCheck(method, seed, RegressionState.NEW if mine else RegressionState.MISSING)
    one, two = next(iter(mine.values())), next(iter(other.values()))
    if one.record_digest == two.record_digest:
        return TrialCheck(method, seed, RegressionState.EQUAL)
    parted = table_divergence(mine, other)
    if (one.trial_id, one.env_id) == (two.trial_id, two.env_id):
        hidden = Divergence(
            max(mine), "a value outside the table", one.record_digest[:16], two.record_digest[:16]
        )
        return TrialCheck(method, seed, RegressionState.LOST, parted or hidden)
    return TrialCheck(
        method,
        seed,
        RegressionState.SELECTION if same_selection(mine, other) else RegressionState.ELSEWHERE,
        parted,
    )
