"""The plan: a value that is printed, saved, hashed, and then executed unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Literal

from benchmark.planning.workload import Workload, estimate_workload, sum_workloads
from benchmark.runs.events import Environment, Record
from benchmark.runs.store import RunStatus
from benchmark.spec.base import Natural, Spec
from benchmark.spec.data import Data
from benchmark.spec.identity import digest, trial_id
from benchmark.spec.selectors import SelectedTrial
from benchmark.spec.suite import MethodCost, Trial

TrialState = Literal["finished", "resumable", "new", "running", "blocked"]


class DataStatus(Spec):
    """Whether a data set is there, and whether it is the published one."""

    name: str
    present: bool
    digest: str | None
    canonical: bool
    note: str
    """What is missing or differs, in words."""


class PlannedTrial(Spec):
    """One trial of a plan."""

    trial: Trial
    trial_id: str
    state: TrialState
    note: str = ""
    """Why it is blocked, who runs it, how it failed before, or that its data are not canonical."""
    cycles_done: Natural = 0
    work: tuple[Workload, ...]
    """Of each cycle."""
    seconds: float | None
    """Predicted wall seconds of what is left; None where this environment has no finished trial to
    go by."""

    @property
    def total(self) -> Workload:
        """Work of the whole trial."""
        return sum_workloads(self.work)

    @property
    def remaining(self) -> Workload:
        """Work that is left."""
        return (
            Workload() if self.state == "finished" else sum_workloads(self.work[self.cycles_done :])
        )

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the whole trial; FLOPs are twice as many."""
        return self.total.macs or None

    @property
    def runs(self) -> bool:
        """Whether executing the plan executes this trial."""
        return self.state in ("new", "resumable")


class Plan(Spec):
    """Trials in the order they are started, in one environment."""

    format: Literal[1] = 1
    environment: Environment
    data: tuple[DataStatus, ...]
    allow_noncanonical: bool
    fresh: bool = False
    """Finished trials are done again, and nothing is resumed."""
    trials: tuple[PlannedTrial, ...]

    @property
    def digest(self) -> str:
        """sha256 (hex) of the whole plan."""
        return digest(self.model_dump(mode="json"))

    @property
    def todo(self) -> tuple[PlannedTrial, ...]:
        """Trials to execute; two names for one question are executed once."""
        unique: dict[str, PlannedTrial] = {}
        for planned in self.trials:
            if planned.runs:
                unique.setdefault(planned.trial_id, planned)
        return tuple(unique.values())

    @property
    def has_nothing_to_run(self) -> bool:
        """Nothing is planned, or nothing of it can be done and nothing is done."""
        return all(planned.state == "blocked" for planned in self.trials)

    def count(self, state: TrialState) -> int:
        """Trials in a state."""
        return sum(planned.state == state for planned in self.trials)


def make_plan(
    asked: Iterable[SelectedTrial],
    environment: Environment,
    *,
    data: Mapping[str, DataStatus],
    status: Callable[[Trial], RunStatus],
    obstacle: Callable[[Trial], str] = lambda _: "",
    speeds: Mapping[str, float] | None = None,
    allow_noncanonical: bool = False,
    fresh: bool = False,
) -> Plan:
    """Decide what is to be done. `data` is keyed by `data_key`, `speeds` (seconds per forward) by
    `speed_key`.

    `status` gives what the store knows of a trial in this environment, `obstacle` why a trial
    cannot be built.
    """
    planned = []
    for item in asked:
        content = data[data_key(item.trial.protocol.data)]
        trial = item.trial.model_copy(update={"data_digest": content.digest})
        known = RunStatus("new") if not content.present else status(trial)
        state, note = _trial_state(known, fresh)
        if state in ("new", "resumable") and (
            # What is wrong with the question on any machine comes before what this one lacks.
            reason := obstacle(trial) or _explain_blocked(content, allow_noncanonical)
        ):
            state, note = "blocked", reason
        elif not content.canonical:
            note = "; ".join(part for part in (note, f"NOT CANONICAL: {content.note}") if part)
        done = known.cycles if state in ("resumable", "finished", "running") else 0
        parts = estimate_workload(trial.protocol, item.cost, item.price)
        entry = PlannedTrial(
            trial=trial,
            trial_id=trial_id(trial),
            state=state,
            note=note,
            cycles_done=min(done, len(parts)),
            work=parts,
            seconds=None,
        )
        speed = (speeds or {}).get(speed_key(trial))
        if speed is not None:
            entry = entry.model_copy(
                update={"seconds": speed * entry.remaining.forward_equivalents}
            )
        planned.append(entry)
    return Plan(
        environment=environment,
        data=tuple(data.values()),
        allow_noncanonical=allow_noncanonical,
        fresh=fresh,
        trials=tuple(planned),
    )


def data_key(data: Data) -> str:
    """Key of a data set and how it is cut: trials with equal keys are made from the same images."""
    return digest(data)


def speed_key(trial: Trial) -> str:
    """Trials with equal keys take about equally long per forward pass: same networks on same
    images."""
    protocol = trial.protocol
    parts = [part.model_dump(mode="json") for part in (*protocol.models, protocol.views)]
    return digest([protocol.data.name, protocol.training.batch_size, *parts])


def measure_speeds(
    records: Iterable[Record], methods: Mapping[tuple[str, str], MethodCost]
) -> dict[str, float]:
    """Median seconds per forward pass of finished trials, by `speed_key`; `methods` is keyed by
    suite id and method."""
    found: dict[str, list[float]] = {}
    for record in records:
        cost = methods.get((record.trial.suite, record.trial.method_name))
        if cost is not None and record.seconds > 0:
            forwards = sum_workloads(
                estimate_workload(record.trial.protocol, cost)
            ).forward_equivalents
            found.setdefault(speed_key(record.trial), []).append(record.seconds / forwards)
    return {key: median(values) for key, values in found.items()}


def _trial_state(known: RunStatus, fresh: bool) -> tuple[TrialState, str]:
    if known.state == "failed":
        return "new", f"failed before: {known.note}"
    if fresh and known.state in ("finished", "resumable"):
        return "new", "started afresh"
    return known.state, known.note


def _explain_blocked(content: DataStatus, allow_noncanonical: bool) -> str:
    if not content.present:
        return content.note or f"{content.name} is not there"
    if not content.canonical and not allow_noncanonical:
        return (
            f"{content.name} is not the published data: {content.note} (--allow-noncanonical-data)"
        )
    return ""


def name_of(planned: PlannedTrial) -> str:
    """A trial's selector: `tod/cifar10/random@0`."""
    trial = planned.trial
    return f"{trial.suite}/{trial.method_name}@{trial.seed}"
