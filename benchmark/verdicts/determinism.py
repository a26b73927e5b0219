"""How equal two outcomes of one trial are, and where they part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmark.runs.events import CycleResult, Record
from benchmark.verdicts.measurements import Measurement

CLOSE = 1e-6
"""Metrics this close, relative to their size, are the same number reached in another order of
additions."""


class Level(StrEnum):
    """Levels of determinism, strongest first."""

    BITWISE = "bitwise"
    SELECTION = "selection"
    METRIC = "metric"
    STATISTICAL = "statistical"


@dataclass(frozen=True)
class Divergence:
    """The first cycle and field at which two outcomes differ, and what stood there."""

    cycle: int
    field: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"cycle {self.cycle}: {self.field} is {self.ours}, was {self.theirs}"


def close(ours: float, theirs: float) -> bool:
    """Whether two metrics are equal up to the order of additions."""
    return abs(ours - theirs) <= CLOSE * max(1.0, abs(ours), abs(theirs))


def shared_level(ours: Record, theirs: Record, tolerance: float, metric: str = "accuracy") -> Level:
    """The strongest level that two records reach: all bits; same picks and close metrics; the
    metric within a tolerance."""
    if ours.digest == theirs.digest:
        return Level.BITWISE
    cycles = list(zip(ours.cycles, theirs.cycles, strict=False))
    if len(ours.cycles) != len(theirs.cycles):
        return Level.STATISTICAL
    if all(
        _same_picks(one, other) and _are_close(one.metrics, other.metrics) for one, other in cycles
    ):
        return Level.SELECTION
    pairs = [(one.metrics.get(metric), other.metrics.get(metric)) for one, other in cycles]
    near = all(
        left is not None and right is not None and abs(left - right) <= tolerance
        for left, right in pairs
    )
    return Level.METRIC if near else Level.STATISTICAL


def weakest_levels(
    records: Iterable[Record], tolerance: float, metric: str = "accuracy"
) -> list[Level]:
    """For each trial that was answered in several environments the weakest level that its answers
    reach."""
    answers: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        answers[record.trial.method_name, record.trial.seed].append(record)
    order = tuple(Level)
    return [
        max(
            (shared_level(found[0], other, tolerance, metric) for other in found[1:]),
            key=order.index,
        )
        for found in answers.values()
        if len(found) > 1
    ]


def _same_picks(ours: CycleResult, theirs: CycleResult) -> bool:
    return (ours.labelled_digest, ours.picks_digest) == (
        theirs.labelled_digest,
        theirs.picks_digest,
    )


def _are_close(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    return ours.keys() == theirs.keys() and all(close(ours[name], theirs[name]) for name in ours)


def find_divergence(ours: Record, theirs: Record) -> Divergence | None:
    """Where two records part first, in the order in which a cycle comes about; None where they are
    equal."""
    for one, other in zip(ours.cycles, theirs.cycles, strict=False):
        for (name, left), (_, right) in zip(
            _iterate_fields(one, other), _iterate_fields(other, one), strict=True
        ):
            if left != right:
                return Divergence(one.cycle, name, left, right)
    if len(ours.cycles) != len(theirs.cycles):
        last = min(len(ours.cycles), len(theirs.cycles))
        return Divergence(last, "cycles", str(len(ours.cycles)), str(len(theirs.cycles)))
    return None


def _iterate_fields(result: CycleResult, other: CycleResult) -> Iterator[tuple[str, str]]:
    """Every field of a cycle: what it trained on, what came out, what it picked. Names are the
    union of both sides'."""
    for name in ("cycle", "labelled", "labelled_digest", "weights"):
        yield name, str(getattr(result, name))
    for name in sorted(result.metrics.keys() | other.metrics.keys()):
        yield f"metrics.{name}", repr(result.metrics.get(name))
    for name in sorted(result.diagnostics.keys() | other.diagnostics.keys()):
        yield f"diagnostics.{name}", repr(result.diagnostics.get(name))
    for name in ("per_class", "picks_digest", "acquired"):
        yield name, str(getattr(result, name))


def table_divergence(
    ours: Mapping[int, Measurement], theirs: Mapping[int, Measurement]
) -> Divergence | None:
    """Where two trials part first as far as a committed table shows it; both by cycle. None where
    the tables agree."""
    for cycle in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(cycle), theirs.get(cycle)
        if one is None or other is None:
            return Divergence(
                cycle, "cycle", "there" if one else "absent", "there" if other else "absent"
            )
        if one.labelled != other.labelled:
            return Divergence(cycle, "labelled", str(one.labelled), str(other.labelled))
        if one.labelled_digest != other.labelled_digest:
            return Divergence(cycle, "labelled_digest", one.labelled_digest, other.labelled_digest)
        for name in sorted(one.metrics.keys() | other.metrics.keys()):
            if one.metrics.get(name) != other.metrics.get(name):
                return Divergence(
                    cycle,
                    f"metrics.{name}",
                    repr(one.metrics.get(name)),
                    repr(other.metrics.get(name)),
                )
    return None


def same_selection(ours: Mapping[int, Measurement], theirs: Mapping[int, Measurement]) -> bool:
    """Whether two trials trained on the same ordered labelled sets and, in each cycle, reached
    close metrics."""

    def equal(one: Measurement, other: Measurement) -> bool:
        sets = (one.labelled, one.labelled_digest) == (other.labelled, other.labelled_digest)
        return sets and _are_close(one.metrics, other.metrics)

    return ours.keys() == theirs.keys() and all(equal(ours[cycle], theirs[cycle]) for cycle in ours)
