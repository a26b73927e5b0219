"""Which measurements stand in a comparison: one suite, profile and variant, and one answer per
trial."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmark.verdicts.measurements import Measurement

OTHER_DATA = "not the published data"
"""How every note about the data begins."""


@dataclass(frozen=True)
class Trials:
    """Measurements in which every (method, seed) has one answer, and how many answers were left out
    for that."""

    rows: tuple[Measurement, ...]
    repeated: int = 0
    """Trials that were also answered in other environments; counting those would count a trial
    twice."""

    @cached_property
    def _index(self) -> dict[str, dict[int, dict[int, Measurement]]]:
        index: dict[str, dict[int, dict[int, Measurement]]] = defaultdict(lambda: defaultdict(dict))
        for row in self.rows:
            index[row.method][row.labelled][row.seed] = row
        return index

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with any measurement, in order of appearance."""
        return tuple(self._index)

    def sizes(self, method: str) -> tuple[int, ...]:
        """Labelled sizes that a method was measured at, ascending."""
        return tuple(sorted(self._index[method])) if method in self._index else ()

    def at(self, method: str, labelled: int) -> dict[int, Measurement]:
        """Measurements of a method at a size, by seed."""
        return dict(self._index[method].get(labelled, {})) if method in self._index else {}

    def trial(self, method: str, seed: int) -> dict[int, Measurement]:
        """Measurements of one trial, by cycle."""
        return {row.cycle: row for row in self.rows if (row.method, row.seed) == (method, seed)}

    def values(self, method: str, labelled: int, metric: str) -> dict[int, float]:
        """Values of a metric, by seed, ascending."""
        found = self.at(method, labelled)
        return {
            seed: found[seed].metrics[metric]
            for seed in sorted(found)
            if metric in found[seed].metrics
        }

    def curves(self, method: str, labelled: Sequence[int], metric: str) -> dict[int, list[float]]:
        """Values at all the given sizes, by seed, for the seeds that have every one of them."""
        columns = [self.values(method, size, metric) for size in labelled]
        seeds = sorted(set.intersection(*map(set, columns))) if columns else []
        return {seed: [column[seed] for column in columns] for seed in seeds}


def select_trials(
    measurements: Iterable[Measurement],
    suite: str,
    profile: str,
    variant: str,
    methods: Iterable[str] | None = None,
    own: Collection[str] = (),
) -> Trials:
    """The measurements of a comparison. Where a trial was answered more than once, the answer from
    the device and the environment that answered most of the others is kept, so that comparisons mix
    as little as possible. Where `own` names the methods of the suite, only those count for that."""
    wanted = set(methods) if methods is not None else None
    rows = [
        row
        for row in measurements
        if (row.suite, row.profile, row.variant) == (suite, profile, variant)
        and (wanted is None or row.method in wanted)
    ]
    counted = [row for row in rows if row.method in own] or rows
    devices = Counter(row.device_model for row in counted)
    environments = Counter(row.env_id for row in counted)
    answers: dict[tuple[str, int], dict[tuple[str, str], list[Measurement]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        answers[row.method, row.seed][row.trial_id, row.env_id].append(row)

    def weight(answer: list[Measurement]) -> tuple[int, int, int, str, str]:
        one = answer[0]
        return (
            devices[one.device_model],
            environments[one.env_id],
            len(answer),
            one.env_id,
            one.trial_id,
        )

    kept = [max(found.values(), key=weight) for found in answers.values()]
    repeated = sum(len(found) > 1 for found in answers.values())
    return Trials(
        tuple(sorted((row for answer in kept for row in answer), key=lambda row: row.key)), repeated
    )


def nearest_answers(
    committed: Iterable[Measurement], ours: Iterable[Measurement]
) -> list[Measurement]:
    """Of trials that were committed from several environments, the answer to hold ours against: the
    one with our record, else the one from our environment. Every answer stays where neither is
    there."""
    records: set[tuple[str, int, str]] = set()
    environments: set[tuple[str, int, tuple[str, str]]] = set()
    for row in ours:
        records.add((row.method, row.seed, row.record_digest))
        environments.add((row.method, row.seed, (row.trial_id, row.env_id)))
    answers: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    for row in committed:
        answers[row.method, row.seed].append(row)
    kept: list[Measurement] = []
    for (method, seed), rows in answers.items():
        equal = [row for row in rows if (method, seed, row.record_digest) in records]
        here = [row for row in rows if (method, seed, (row.trial_id, row.env_id)) in environments]
        kept += equal or here or rows
    return kept


def comparison_blocker(rows: Iterable[Measurement], mix_devices: bool) -> str:
    """Why these measurements must not stand in one comparison; empty when they may."""
    found = list(rows)
    devices = sorted({row.device_model for row in found})
    if len(devices) > 1 and not mix_devices:
        return f"trials ran on different devices: {', '.join(devices)}"
    data = sorted({row.data_note or "the published data" for row in found})
    if len(data) > 1:
        return f"trials used different data: {'; '.join(data)}"
    return ""


def data_notes(rows: Iterable[Measurement]) -> tuple[str, ...]:
    """What is to be said of the data in every line made from these measurements."""
    return tuple(sorted({f"{OTHER_DATA}: {row.data_note}" for row in rows if not row.canonical}))
