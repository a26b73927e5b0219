"""Verdicts on a table of somebody's own numbers. Needs no run, no data, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.api.compare import committed_rows
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.spec.load import SuiteFile, find_suite

if TYPE_CHECKING:
    from benchmark.errors import Exit
    from benchmark.verdicts.measurements import Measurement
    from benchmark.verdicts.results import SuiteVerdict


@dataclass(frozen=True)
class JudgeResult:
    """What a table says of a suite."""

    suite: SuiteFile
    judgement: SuiteVerdict
    measurements: Sequence[Measurement]
    """The numbers of the table."""

    @property
    def exit_code(self) -> Exit:
        """0 all matched or nothing to compare, 1 a discrepancy, 4 inconclusive only."""
        return self.judgement.exit_code


def judge(
    numbers: str | Path,
    suite: str,
    workspace: Workspace | None = None,
    *,
    against: str | Path | None = None,
    by_seed: bool = False,
    variant: str = "as_published",
) -> JudgeResult:
    """A verdict for each published number, curve and claim of a suite that a table of per-seed
    numbers has trials for.

    numbers: a CSV file with the columns method, seed, labelled, value (accuracy in percent) and,
    for other metrics, metric. against: another such table that takes the place of the published
    numbers; `by_seed` then compares pairs of equal seeds. Raises UsageError with file and line for
    a fault of a table, and for a suite that does not exist.
    """
    from benchmark.verdicts.own_numbers import judge_own, read_own

    if by_seed and against is None:
        raise UsageError(
            "pairs by seed need two tables", remedy="give the other one with --against"
        )
    workspace = workspace or Workspace()
    found = find_suite(suite, workspace.suites)
    own = read_own(Path(numbers), found, variant)
    others = [] if against is None else read_own(Path(against), found, variant)
    judgement = judge_own(
        found,
        own,
        variant=variant,
        against=others,
        against_name="" if against is None else Path(against).name,
        by_seed=by_seed,
        references=committed_rows(workspace, found),
    )
    return JudgeResult(found, judgement, own)
