"""What a plan would judge for its cost: published numbers by method, the cheapest for each number
first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.planning.plan import Plan, PlannedTrial
from benchmark.spec.published import TARGETS, ReportedResult


@dataclass(frozen=True)
class MethodValue:
    """One method of one suite in a plan."""

    suite: str
    method: str
    trials: int
    """Trials to execute, one for each seed."""
    numbers: int
    """Published numbers that decide (roles `target`, `target_weak`) at amounts of labels that the
    trials train on."""
    macs: int
    """Multiply-accumulates that are left. A first training that several methods share is counted
    for each of them."""
    seconds: float | None
    """Predicted wall seconds that are left; None where nothing was measured."""

    @property
    def selector(self) -> str:
        """What to give to `albench run`."""
        return f"{self.suite}/{self.method}"

    @property
    def macs_per_number(self) -> float:
        """Infinite for a method of which nothing was published."""
        return self.macs / self.numbers if self.numbers else float("inf")


def rank_by_value(
    plan: Plan, published: Mapping[str, Sequence[ReportedResult]]
) -> list[MethodValue]:
    """Methods with trials to execute, by multiply-accumulates for each published number, the least
    first.

    `published` has the reported numbers of every suite of the plan, by suite id.
    """
    groups: dict[tuple[str, str], list[PlannedTrial]] = defaultdict(list)
    for planned in plan.todo:
        groups[planned.trial.suite, planned.trial.method_name].append(planned)
    values = [
        _method_value(suite, method, items, published.get(suite, ()))
        for (suite, method), items in groups.items()
    ]
    return sorted(values, key=lambda value: (value.macs_per_number, value.selector))


def _method_value(
    suite: str, method: str, items: list[PlannedTrial], published: Sequence[ReportedResult]
) -> MethodValue:
    trained = {
        labels for planned in items for labels in planned.trial.protocol.acquisition.labelled()
    }
    seconds = [planned.seconds for planned in items]
    return MethodValue(
        suite,
        method,
        trials=len(items),
        numbers=sum(
            row.method == method and row.role in TARGETS and row.labelled in trained
            for row in published
        ),
        macs=sum(planned.remaining.macs for planned in items),
        seconds=None if None in seconds else sum(value or 0 for value in seconds),
    )
